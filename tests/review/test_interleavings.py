"""Random interleavings of two to five reviewers with real transactions: what must hold, holds after each of them.

Each example is a brand with one to three stages, two images, a short random program for each person, and a random list
of turns: who runs how many database statements before the next one goes on (tests/support/turns.py). A failure is
shrunk to the shortest programs and turns that still fail, and printed.

INTERLEAVINGS is the number of examples, 500 by default. `make interleavings` runs 10,000.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import partial

import pytest
from hypothesis import HealthCheck, given, note, settings
from hypothesis import strategies as st

from core import counts
from core.errors import DomainError
from core.models import Brand
from core.services import audit
from generation.choices import AssetState
from generation.selectors import inputs
from review import pins
from review.choices import DecisionKind, TaskState
from review.models import Decision, ReviewTask
from review.services.queue import MAX_CLAIMS
from tests.support import sealing
from tests.support.review_programs import IMAGES, LEAD, OWNER, PEOPLE, ReviewScene, Step, refusing_taken_claims
from tests.support.turns import Player, Turn, play, playing

pytestmark = pytest.mark.django_db(transaction=True)

INTERLEAVINGS = int(os.environ.get("INTERLEAVINGS", "500"))

MOST_STATEMENTS = 40  # of one step

# In these states the approvals that fill a slot count.
COUNTING = {AssetState.IN_REVIEW, AssetState.STALE, AssetState.APPROVED}

Programs = Mapping[str, Sequence[Step]]

# How often each step is drawn, compared with the others.
WEIGHTS = {"approve": 5, "undo": 3, "edit": 3, "claim": 4} | dict.fromkeys(
    ("reject", "request_revision", "renew", "release", "skip", "revoke", "reopen", "carry_out", "fold", "seal"), 1
)
STEPS = [name for name, weight in WEIGHTS.items() for _ in range(weight)]

steps = st.builds(Step, st.sampled_from(STEPS), st.sampled_from(IMAGES), st.integers(0, 3))
programs_by_person = st.dictionaries(
    st.sampled_from(PEOPLE), st.lists(steps, min_size=1, max_size=3), min_size=2, max_size=len(PEOPLE)
)
slots_by_stage = st.lists(st.integers(1, 2), min_size=1, max_size=3)
lists_of_turns = st.lists(st.tuples(st.integers(0, len(PEOPLE) - 1), st.integers(1, 30)), max_size=20)


def test_whatever_people_do_at_the_same_time_the_review_stays_consistent(brand: Brand) -> None:
    scene = ReviewScene(brand)
    with refusing_taken_claims(), playing(PEOPLE) as players:

        @settings(max_examples=INTERLEAVINGS, deadline=None, database=None, suppress_health_check=list(HealthCheck))
        @given(slots_by_stage, st.integers(0, 4), programs_by_person, lists_of_turns)
        def interleave(slots: list[int], approved: int, programs: Programs, turns: list[Turn]) -> None:
            note(f"slots={slots!r}, approved={approved!r}, programs={programs!r}, turns={turns!r}")
            scene.reset(slots)
            scene.approve_first(approved)
            run_together(scene, players, programs, turns)
            check(scene)

        interleave()


@pytest.mark.parametrize(
    ("step", "other"), [("claim", "claim"), ("approve", "approve"), ("approve", "edit"), ("undo", "approve")]
)
def test_one_person_acts_between_any_two_statements_of_another(brand: Brand, step: str, other: str) -> None:
    scene = ReviewScene(brand)
    programs = {LEAD: [Step(step)], OWNER: [Step(other, variant=1)]}
    owner, lead = 0, 1
    with refusing_taken_claims(), playing([OWNER, LEAD]) as players:
        for statements in range(MOST_STATEMENTS):
            scene.reset([2])
            scene.approve_first(1)
            run_together(scene, players, programs, [(lead, statements), (owner, MOST_STATEMENTS)])
            check(scene)


def run_together(scene: ReviewScene, players: Sequence[Player], programs: Programs, turns: Sequence[Turn]) -> None:
    taking_part = [player for player in players if player.name in programs]
    calls = [partial(run_program, scene, player.name, programs[player.name]) for player in taking_part]
    play(taking_part, calls, turns)
    for player in taking_part:
        if player.error is not None:
            raise player.error  # it is no refusal


def run_program(scene: ReviewScene, person: str, program: Sequence[Step]) -> None:
    """Do the steps one after the other. A step that is refused changes nothing; the next one follows."""
    for step in program:
        with suppress(DomainError):
            scene.do(person, step)


# -- what must hold -------------------------------------------------------------------------------------------------


def check(scene: ReviewScene) -> None:
    tasks = list(
        ReviewTask.objects.filter(brand=scene.brand)
        .select_related("asset", "checklist_version__checklist")
        .prefetch_related("slots__decision__version__master")
        .order_by("checklist_version__checklist__position")
    )
    for task in tasks:
        check_slots(task, scene)
        check_claim(task)
    for image in scene.images:
        check_stages([task for task in tasks if task.asset_id == image.pk])
    check_approvals(tasks)
    check_claims(tasks)
    for model in counts.list_models():
        assert counts.find_differences(model) == []
    sealing.seal()
    assert audit.verify(scene.brand).is_intact


def filled(task: ReviewTask) -> list[Decision]:
    return [slot.decision for slot in task.slots.all() if slot.decision is not None]


def check_slots(task: ReviewTask, scene: ReviewScene) -> None:
    """One standing decision of this task fills a slot, each by another person; `deciders` lists these people."""
    made = filled(task)
    people = [decision.decided_by_id for decision in made]
    assert [decision.task_id for decision in made] == [task.pk] * len(made)
    assert len(set(people)) == len(people), f"one person fills two slots of stage {task.stage}"
    assert task.deciders == sorted(people)
    assert task.slots.count() == task.checklist_version.checklist.slots
    standing = Decision.objects.standing().filter(pk__in=[decision.pk for decision in made])
    assert standing.count() == len(made), "a decision that was taken back fills a slot"
    if task.state == TaskState.DECIDED and all(decision.kind == DecisionKind.APPROVED for decision in made):
        assert people != [scene.people[OWNER].pk], "the owner of the campaign alone has approved"


def check_claim(task: ReviewTask) -> None:
    assert (task.claimed_by_id is None) == (task.claimed_until is None)
    assert task.claimed_by_id is None or task.state == TaskState.OPEN
    assert task.claimed_by_id not in task.deciders, "a person has claimed what they decided already"


def check_stages(tasks: Sequence[ReviewTask]) -> None:
    """The state of an image is that of its tasks, which lie in the order of the stages."""
    asset = tasks[0].asset
    kinds = [[decision.kind for decision in filled(task)] for task in tasks]
    open_stages = [number for number, task in enumerate(tasks) if task.state == TaskState.OPEN]
    whole = [made == [DecisionKind.APPROVED] * task.slots.count() for task, made in zip(tasks, kinds, strict=True)]
    if asset.state == AssetState.APPROVED:
        assert open_stages == [] and all(whole), "approved, and a stage is not"
    elif asset.state in {AssetState.IN_REVIEW, AssetState.STALE}:
        assert len(open_stages) == 1
        assert all(whole[: open_stages[0]]), "a stage is open whose earlier stages are not approved"
        assert not whole[open_stages[0]], "a stage is open that has all its approvals"
        assert not any(kinds[open_stages[0] + 1 :]), "a later stage than the open one has decisions"
    else:
        assert open_stages == []
    ends = {AssetState.REJECTED: DecisionKind.REJECTED, AssetState.REVISING: DecisionKind.NEEDS_REVISION}
    expected = [ends[asset.state]] if asset.state in ends else []
    assert [kind for made in kinds for kind in made if kind != DecisionKind.APPROVED] == expected


def check_approvals(tasks: Sequence[ReviewTask]) -> None:
    """No approval that counts is of another master, other files or other inputs than those of now."""
    counting = [task for task in tasks if task.asset.state in COUNTING]
    versions = {(task.asset, decision.version_id) for task in counting for decision in filled(task)}
    assert len(versions) == len({asset for asset, _version in versions}), "two versions of an image are approved"
    for asset, version in versions:
        assert asset.state != AssetState.APPROVED or asset.current_version_id == version
    changed = inputs.find_changes(task.asset.cell_id for task in counting)
    for task in counting:
        for decision in filled(task):
            assert task.asset.cell_id not in changed, "an approval stands on an input that has changed"
            now = pins.current_state(decision.version, task, moved=[]).to_json()
            assert {**decision.pinned, "inputs": None} == {**now, "inputs": None}


def check_claims(tasks: Sequence[ReviewTask]) -> None:
    claimed = [task.claimed_by_id for task in tasks if task.claimed_by_id is not None]
    assert all(claimed.count(person) <= MAX_CLAIMS for person in claimed)
