"""Tests of leased work: claims, leases that end, retries, and the threads of the io lane. The work is photos."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection, transaction
from django.utils import timezone

from campaigns.models import FeedImport, ReferencePhoto
from core import io_lane
from core.io_lane import IoLane, io_work
from core.models import LeasedRow, Notice, RetryPolicy
from core.services import leases
from review.models import Delivery
from tests.support import factories
from tests.support.processes import wait_until
from tests.support.racing import race_without_errors

POLICY = RetryPolicy(waits_seconds=(10, 100))


def due_photos(count: int = 1) -> list[ReferencePhoto]:
    """Return photos that are due, the one that has been due longest first."""
    now = timezone.now()
    return [
        factories.ReferencePhotoFactory(due_at=now - timedelta(seconds=100 - number), storage_key="")
        for number in range(count)
    ]


def claim(policy: RetryPolicy = POLICY) -> ReferencePhoto:
    claimed = leases.claim(ReferencePhoto.objects.all(), policy)
    assert claimed is not None
    return claimed


def end(claimed: ReferencePhoto, how: Callable[[ReferencePhoto], Any]) -> ReferencePhoto:
    """End an attempt as its worker does; return the row."""
    with transaction.atomic():
        row = leases.lock(claimed)
        assert row is not None
        how(row)
        row.save()
    return row


# -- claims ------------------------------------------------------------------------------------------------------------


@pytest.mark.django_db
@pytest.mark.parametrize("model", [Delivery, FeedImport, Notice, ReferencePhoto])
def test_an_index_has_the_rows_in_the_order_in_which_they_are_claimed(model: type[LeasedRow]) -> None:
    """Else a claim sorts all rows that became due at the same moment, thousands after "Send what is missing"."""
    with connection.cursor() as cursor:
        cursor.execute("SET LOCAL enable_seqscan = off; SET LOCAL enable_bitmapscan = off")
    assert "Sort" not in leases.due(model._default_manager.all())[:1].explain()


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("due", [0, 1, 3])
def test_of_several_callers_each_gets_another_row(due: int) -> None:
    rows = due_photos(due)
    calls = [lambda: leases.claim(ReferencePhoto.objects.all(), POLICY)] * 4
    assert sorted(row.pk for row in race_without_errors(*calls) if row) == [row.pk for row in rows]


def test_the_row_that_has_been_due_longest_comes_first(db: None) -> None:
    first, second = due_photos(2)
    ReferencePhoto.objects.filter(pk=first.pk).update(due_at=timezone.now())
    assert [claim(), claim()] == [second, first]


def test_only_rows_that_are_due_are_claimed(db: None) -> None:
    factories.ReferencePhotoFactory(due_at=None)
    factories.ReferencePhotoFactory(due_at=timezone.now() + timedelta(seconds=30))
    assert leases.claim(ReferencePhoto.objects.all(), POLICY) is None


def test_an_attempt_is_counted_and_is_a_dead_one_until_it_ends(db: None) -> None:
    due_photos()
    claimed = claim()
    row = ReferencePhoto.objects.get()
    assert row.is_leased and row.lease_token == claimed.lease_token
    assert (row.attempts, row.deaths) == (claimed.attempts, claimed.deaths) == (1, 1)
    assert row.due_at is not None
    assert timedelta(minutes=4) < row.due_at - timezone.now() <= POLICY.lease


def test_a_lease_that_ended_is_taken_over_and_the_first_claimer_can_change_nothing(db: None) -> None:
    due_photos()
    first = claim()
    ReferencePhoto.objects.update(due_at=timezone.now())
    second = claim()
    assert (second.attempts, second.deaths) == (2, 2)
    with transaction.atomic():
        assert leases.lock(first) is None
        assert leases.lock(second) == second
    assert not leases.renew(first, POLICY.lease)


def test_a_row_that_was_deleted_or_requested_again_is_lost_to_its_claimer(db: None) -> None:
    due_photos(2)
    deleted, requested = claim(), claim()
    ReferencePhoto.objects.filter(pk=deleted.pk).delete()
    assert leases.request(ReferencePhoto.objects.filter(pk=requested.pk), notes=["again"]) == 1
    with transaction.atomic():
        assert leases.lock(deleted) is None and leases.lock(requested) is None
    again = claim()
    assert again == requested
    assert (again.attempts, again.deaths, again.notes) == (1, 1, ["again"])


def test_an_attempt_that_has_ended_in_memory_has_no_lease_to_renew(db: None) -> None:
    due_photos()
    claimed = claim()
    end(claimed, lambda row: row.succeed())
    claimed.succeed()
    assert not leases.renew(claimed, POLICY.lease)
    with transaction.atomic():
        assert leases.lock(claimed) is None
    assert ReferencePhoto.objects.get().due_at is None


def test_deaths_grow_until_the_policy_gives_the_work_up(db: None) -> None:
    due_photos()
    tried = 0
    while claim().deaths <= POLICY.max_deaths:
        tried += 1
        ReferencePhoto.objects.update(due_at=timezone.now())
    assert tried == 3


@pytest.mark.django_db(transaction=True)
def test_the_lease_of_long_work_is_renewed_until_it_ends() -> None:
    due_photos()
    policy = RetryPolicy(waits_seconds=(), lease=timedelta(seconds=0.6))
    claimed = claim(policy)
    with leases.renewing(claimed, policy):
        for _ in range(6):
            time.sleep(0.2)
            assert leases.claim(ReferencePhoto.objects.all(), policy) is None
    wait_until(
        lambda: leases.claim(ReferencePhoto.objects.all(), policy) is not None, seconds=5, what="the end of the lease"
    )


# -- ends of attempts --------------------------------------------------------------------------------------------------


def test_work_that_succeeded_is_not_due_and_starts_to_count_again(db: None) -> None:
    due_photos()
    row = end(claim(), lambda row: row.succeed())
    assert (row.due_at, row.lease_token, row.attempts, row.deaths) == (None, None, 0, 0)


def test_work_that_is_given_up_keeps_its_number_of_attempts(db: None) -> None:
    due_photos()
    row = end(claim(), lambda row: row.give_up())
    assert (row.due_at, row.lease_token, row.attempts, row.deaths) == (None, None, 1, 0)


def test_failed_work_is_retried_after_the_waits_of_its_policy_and_then_given_up(db: None) -> None:
    due_photos()
    waits = []
    for _ in POLICY.waits_seconds:
        row = end(claim(), lambda row: row.retry(POLICY))
        assert not row.is_leased and row.deaths == 0 and row.due_at is not None
        waits.append((row.due_at - timezone.now()).total_seconds())
        ReferencePhoto.objects.update(due_at=timezone.now())
    assert 7 < waits[0] <= 12 and 79 < waits[1] <= 120
    row = end(claim(), lambda row: row.retry(POLICY))
    assert (row.due_at, row.attempts) == (None, 3)


def test_a_wait_is_at_least_what_the_server_asked_for() -> None:
    assert POLICY.wait(1, 60) == timedelta(seconds=60)
    longer = POLICY.wait(2, 60)
    assert longer is not None and longer >= timedelta(seconds=80)
    assert POLICY.wait(3, 60) is None


def test_postponed_work_does_not_count_its_attempt(db: None) -> None:
    due_photos()
    ReferencePhoto.objects.update(attempts=1, deaths=1)
    row = end(claim(), lambda row: row.postpone(timedelta(minutes=5)))
    assert (row.is_leased, row.attempts, row.deaths) == (False, 1, 1)
    assert row.due_at is not None and row.due_at > timezone.now() + timedelta(minutes=4)


# -- the io lane -------------------------------------------------------------------------------------------------------


@pytest.fixture
def kinds(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the lane know only the work of the test, and look for it only when it is woken."""
    monkeypatch.setattr(io_lane, "_kinds", [])
    monkeypatch.setattr(io_lane, "LOOK_SECONDS", 60.0)


@pytest.fixture
def start() -> Iterator[Callable[[], IoLane]]:
    """Return a function that starts a lane, which is stopped at the end of the test."""
    lanes: list[IoLane] = []

    def start_lane() -> IoLane:
        lanes.append(IoLane())
        lanes[-1].start()
        return lanes[-1]

    yield start_lane
    for lane in lanes:
        lane.stop()


def test_a_lane_works_until_nothing_is_due_and_again_when_it_is_woken(kinds: None, start: Any) -> None:
    due, done = ["a", "b"], []

    @io_work()
    def work() -> bool:
        if due:
            done.append(due.pop())
            return True
        return False

    lane = start()
    wait_until(lambda: len(done) == 2, seconds=5, what="the work that was due")
    time.sleep(0.1)
    due.append("c")
    time.sleep(0.1)
    assert len(done) == 2, "nobody has woken the lane"
    lane.wake()
    wait_until(lambda: len(done) == 3, seconds=5, what="the work that came later")


def test_each_kind_has_threads_of_its_own_and_stopping_waits_for_what_runs(kinds: None, start: Any) -> None:
    go, lock = threading.Event(), threading.Lock()
    slow = {"due": 5, "running": 0, "most": 0, "done": 0}
    quick = ["a"]

    @io_work(threads=2)
    def be_slow() -> bool:
        with lock:
            if not slow["due"]:
                return False
            slow["due"] -= 1
            slow["running"] += 1
            slow["most"] = max(slow["most"], slow["running"])
        go.wait(20)
        with lock:
            slow["running"] -= 1
            slow["done"] += 1
        return True

    @io_work()
    def be_quick() -> bool:
        return bool(quick and quick.pop())

    lane = start()
    wait_until(lambda: not quick and slow["running"] == 2, seconds=5, what="the quick work beside two slow ones")
    stopping = threading.Thread(target=lane.stop)
    stopping.start()
    time.sleep(0.2)
    assert stopping.is_alive() and slow["done"] == 0
    go.set()
    stopping.join(10)
    assert not stopping.is_alive()
    assert slow == {"due": 3, "running": 0, "most": 2, "done": 2}, "it claims nothing more"


def test_work_that_raises_an_error_does_not_end_its_thread(kinds: None, start: Any) -> None:
    outcomes = iter([RuntimeError("a mistake of ours"), True])
    done = []

    @io_work()
    def work() -> bool:
        outcome = next(outcomes, False)
        if isinstance(outcome, Exception):
            done.append("error")
            raise outcome
        done.append(outcome)
        return bool(outcome)

    lane = start()
    wait_until(lambda: done == ["error"], seconds=5, what="the error")
    lane.wake()
    wait_until(lambda: done == ["error", True, False], seconds=5, what="the work after the error")
