"""Test the throttle: submissions to an endpoint keep their distance, whichever worker sends them, even late ones."""

from __future__ import annotations

import threading
import time
from functools import partial
from typing import Any

import pytest

from core.choices import Lane
from generation.engines.base import EngineError
from generation.models import Endpoint
from generation.selectors import endpoint_limits
from generation.services.remote import throttle
from generation.workers.remote import SingleRunner
from tests.support import queued_runs
from tests.support.racing import race_without_errors

pytestmark = pytest.mark.django_db


def create_endpoint(**limits: float) -> Endpoint:
    made = queued_runs.create_endpoint(engine="wire", lane=Lane.CLOUD, url="http://127.0.0.1:9")
    for name, value in limits.items():
        setattr(made, name, value)
    made.save()
    return made


def submission(endpoint: Endpoint, seconds: float = 0.0) -> float:
    """Submit something that takes this long to be sent; return when it was sent."""
    turn = throttle.wait_for_turn(endpoint)
    assert turn is not None
    turn.wait_until_allowed()
    time.sleep(seconds)
    left = time.monotonic()
    turn.record_sent()
    return left


def test_a_submission_that_leaves_late_keeps_those_behind_it_at_their_distance(clean_redis: Any) -> None:
    endpoint = create_endpoint(max_per_second=4)
    left = [submission(endpoint, seconds=0.4 if number == 0 else 0.0) for number in range(9)]
    assert all(later - earlier >= 1.0 for earlier, later in zip(left, left[4:], strict=False))


def test_threads_together_keep_to_the_limit(clean_redis: Any) -> None:
    endpoint = create_endpoint(max_per_second=8)
    left = sorted(race_without_errors(*[partial(submission, endpoint)] * 20))
    # Each thread notes its time at most one thread switch after Redis counted it.
    assert all(later - earlier >= 0.95 for earlier, later in zip(left, left[8:], strict=False))


def test_a_free_turn_is_had_at_once_and_the_next_one_when_it_is_free(clean_redis: Any) -> None:
    endpoint = create_endpoint(max_per_second=1)
    first, second = throttle.wait_for_turn(endpoint), throttle.wait_for_turn(endpoint)
    assert first is not None
    assert second is not None
    assert first.at <= time.monotonic()
    assert throttle.SECOND_MS <= second.at_ms - first.at_ms < 2 * throttle.SECOND_MS


def test_nothing_more_leaves_while_the_service_asks_for_patience(clean_redis: Any) -> None:
    endpoint = create_endpoint(max_per_second=4)
    throttle.pause(endpoint, 30)
    assert throttle.wait_for_turn(endpoint) is None
    assert endpoint_limits.count_recent_submissions(endpoint) == (0, 0)
    throttle.pause(endpoint, 0.01)  # a shorter one does not shorten it
    assert throttle.wait_for_turn(endpoint) is None


def test_a_submission_whose_turn_has_come_waits_too_if_the_service_asks_for_patience(clean_redis: Any) -> None:
    endpoint = create_endpoint(max_per_second=4)
    turn = throttle.wait_for_turn(endpoint)
    assert turn is not None
    throttle.pause(endpoint, 30)
    with pytest.raises(EngineError, match="slow down"):
        turn.wait_until_allowed()
    assert turn.is_called_back
    assert endpoint_limits.count_recent_submissions(endpoint) == (0, 0)


def test_submissions_are_also_counted_where_no_limit_is_known(clean_redis: Any) -> None:
    endpoint = create_endpoint()
    for _ in range(3):
        submission(endpoint)
    assert endpoint_limits.count_recent_submissions(endpoint) == (3, 3)
    assert throttle.get_allowance(endpoint).submissions is None


def test_as_many_are_claimed_as_have_their_turn_soon(clean_redis: Any) -> None:
    endpoint = create_endpoint(max_per_second=2)
    assert throttle.get_allowance(endpoint).submissions == 4, "now, in half a second, in one second, in one and a half"
    submission(endpoint)
    assert throttle.get_allowance(endpoint).submissions == 3
    scarce = create_endpoint(max_per_minute=2)
    for left in (2, 1):
        assert throttle.get_allowance(scarce).submissions == left
        submission(scarce)
    allowance = throttle.get_allowance(scarce)
    assert allowance.submissions == 0
    assert 50 < allowance.wait_seconds < 60


def test_work_that_many_ask_for_is_done_once_more_for_all_of_them() -> None:
    one_at_a_time, begun, go_on = SingleRunner(), threading.Semaphore(0), threading.Event()
    done: list[int] = []

    def work() -> None:
        begun.release()
        go_on.wait(60)
        done.append(1)

    first = threading.Thread(target=lambda: one_at_a_time.run(1, work))
    first.start()
    begun.acquire()
    for _ in range(7):
        one_at_a_time.run(1, work)  # each returns at once
    go_on.set()
    first.join(60)
    assert len(done) == 2
    with pytest.raises(ZeroDivisionError):
        one_at_a_time.run(1, lambda: 1 / 0)
    one_at_a_time.run(1, lambda: done.append(1))
    assert len(done) == 3
