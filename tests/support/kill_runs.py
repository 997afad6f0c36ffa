"""The runs at one destination: random cases, each boundary, two workers at one product, workers that are killed."""

from __future__ import annotations

import time

from core.choices import Lane
from core.services import wake_ups
from review.models import DeliveryAttempt
from tests.support import processes
from tests.support.delivery_kills import Case, Deliveries, make_due

STEPS = 6
"""Of a random case, after its first delivery."""
KILL_WITHIN_SECONDS = 0.4


# -- kill points in process --------------------------------------------------------------------------------------------


def run_random_case(made: Deliveries) -> None:
    """Deliver, replace, recall, restore and send again one image, each with random interruptions.

    Most steps are finished and checked before the next one; some follow while the last one is cut off.
    """
    chance = made.chance
    case = made.create_case(files=chance.choice((1, 1, 2)))
    made.approve(case, 1)
    made.interrupt("push")
    for _ in range(STEPS):
        if chance.random() < 0.8:
            made.settle()
            made.check(case)
        made.interrupt(_take_next_step(made, case))
    if case.wanted is not None:
        made.ask(case, "restore")
    made.settle()
    made.check(case)
    made.scene.remove_product(case.key)
    made.tally.cases += 1


def _take_next_step(made: Deliveries, case: Case) -> str:
    """Ask for another state of the delivery; return the name of what has to be done."""
    delivery = case.rows().get()
    is_settled = delivery.due_at is None and delivery.error == ""
    if case.wanted is None:
        if is_settled:
            case.before = made.scene.shown(case.key)  # the next delivery begins here
        made.ask(case, "push")
        return "push"
    if case.approved == 1 and made.chance.random() < 0.2:
        made.approve(case, 2)
        return "replacement"
    step = made.chance.choice(("recall", "restore"))
    if step == "restore" and is_settled:
        made.scene.disturb(case.key, made.chance)
        made.ask(case, step)
        made.interrupt(step)
        made.settle()
        made.check(case)
        made.ask(case, "push")
        return "push"
    made.ask(case, step)
    return step


def kill_at_each_boundary(made: Deliveries, phase: str, pauses: bool = False) -> int:
    """Run one step of a case for each of its boundaries, killed or paused there; return how many there are."""
    for number in range(1, 1000):
        case = made.create_case()
        made.approve(case, 1)
        if phase != "push":
            made.settle()
        if phase == "replacement":
            made.approve(case, 2)
        elif phase != "push":
            made.ask(case, phase)
        attempt = made.pause_at(number) if pauses else made.kill_at(number)
        made.settle()
        made.check(case)
        if case.wanted is not None:
            made.ask(case, "restore")
            made.settle()
            made.check(case)
        made.scene.remove_product(case.key)
        if not attempt.was_stopped:
            return number - 1
    raise AssertionError("it has no end")


def pause_beside_another(made: Deliveries, number: int) -> bool:
    """Stop a worker at a boundary while another one changes the same product for another image; return whether it was.

    Both images are to be there, or gone, and the product's own ones stay.
    """
    first = made.create_case()
    second = made.create_case(beside=first)
    was_stopped = False
    for step in ("push", "recall"):
        for case in (first, second):
            made.approve(case, 1) if step == "push" else made.ask(case, step)
        was_stopped |= made.pause_at(number).was_stopped
        made.settle()
        made.check_together(first, second)
    made.scene.remove_product(first.key)
    return was_stopped


# -- killed workers ----------------------------------------------------------------------------------------------------


def kill_workers(made: Deliveries, number: int, environment: dict[str, str]) -> None:
    """Kill so many workers with SIGKILL, most of them in the middle of a delivery; check what there is at the end."""
    cases = list[Case]()
    for round_ in range(number):
        if round_ % 2 == 0:
            _approve_two(made, cases)
        else:
            for case in cases[-2:]:
                made.ask(case, made.chance.choice(("recall", "restore")))
        made.tally.hits += _kill_one(made, environment)
        made.tally.kills += 1
    made.settle()
    made.check(*cases)
    for case in cases:
        if case.wanted is not None:
            made.ask(case, "restore")
    made.settle()
    made.check(*cases)
    for case in cases:
        made.scene.remove_product(case.key)


def _approve_two(made: Deliveries, cases: list[Case]) -> None:
    for _ in range(2):
        case = made.create_case(files=made.chance.choice((1, 2)))
        cases.append(case)
        made.approve(case, 1)


def _kill_one(made: Deliveries, environment: dict[str, str]) -> bool:
    """Start a worker and kill it a moment after it has begun; return whether that was in the middle of a delivery."""
    make_due()
    known, others = DeliveryAttempt.objects.count(), processes.connections()
    wake_ups.clear_pending(Lane.DELIVERY)
    wake_ups.send(Lane.DELIVERY)
    worker = processes.start("worker", "delivery", **environment)
    until = time.monotonic() + 60
    while DeliveryAttempt.objects.count() == known and time.monotonic() < until:
        time.sleep(0.005)
    assert DeliveryAttempt.objects.count() > known, "the worker did nothing"
    time.sleep(made.chance.uniform(0, KILL_WITHIN_SECONDS))
    worker.kill()
    processes.wait_until(lambda: processes.connections() <= others, seconds=60, what="its last statement ends")
    return DeliveryAttempt.objects.filter(ended_at=None).exists()
