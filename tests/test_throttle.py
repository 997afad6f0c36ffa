"""Orders of an endpoint keep their distance, whichever worker sends them and however late one of them leaves."""

from __future__ import annotations

import threading
import time
from typing import Any

import pytest

from generation.choices import Lane
from generation.models import Endpoint
from generation.services import throttle
from generation.workers.departures import Departures, OneAtATime
from tests import queued

pytestmark = pytest.mark.django_db


def an_endpoint(**limits: float) -> Endpoint:
    made = queued.endpoint(engine="wire", lane=Lane.CLOUD, url="http://127.0.0.1:9")
    for name, value in limits.items():
        setattr(made, name, value)
    made.save()
    return made


def order(endpoint: Endpoint, seconds: float = 0.0) -> float:
    """Order something that takes so long to leave; when it left."""
    turn = throttle.wait(endpoint)
    assert turn is not None
    throttle.come(turn)
    time.sleep(seconds)
    left = time.monotonic()
    throttle.sent(endpoint, turn)
    return left


def test_an_order_that_leaves_late_keeps_those_behind_it_at_their_distance(clean_redis: Any) -> None:
    endpoint = an_endpoint(max_per_second=4)
    left = [order(endpoint, seconds=0.4 if number == 0 else 0.0) for number in range(9)]
    assert all(later - earlier >= 1.0 for earlier, later in zip(left, left[4:], strict=False))


def test_threads_together_keep_to_the_limit(clean_redis: Any) -> None:
    endpoint = an_endpoint(max_per_second=8)
    left: list[float] = []
    threads = [threading.Thread(target=lambda: left.append(order(endpoint))) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    left.sort()
    assert len(left) == 20
    # Each notes its time at most a switch of threads away from what Redis counted.
    assert all(later - earlier >= 0.95 for earlier, later in zip(left, left[8:], strict=False))


def test_nothing_more_leaves_while_the_service_asks_for_patience(clean_redis: Any) -> None:
    endpoint = an_endpoint(max_per_second=4)
    throttle.pause(endpoint, 30)
    assert throttle.wait(endpoint) is None
    assert throttle.used(endpoint) == (0, 0)
    throttle.pause(endpoint, 0.01)  # a shorter one does not shorten it
    assert throttle.wait(endpoint) is None


def test_orders_are_counted_where_no_limit_is_known_too(clean_redis: Any) -> None:
    endpoint = an_endpoint()
    for _ in range(3):
        order(endpoint)
    assert throttle.used(endpoint) == (3, 3)
    assert throttle.room(endpoint).orders is None


def test_pictures_wait_until_orders_have_left_and_not_for_ever() -> None:
    departures, seen = Departures(), []
    departures.expect(2)

    def bring_home() -> None:
        departures.wait()
        seen.append("home")

    thread = threading.Thread(target=bring_home)
    thread.start()
    with departures.one() as left:
        left()
        left()  # said twice, it has still left once
        seen.append("first")
    with departures.one():
        seen.append("second")
    thread.join(5)
    assert seen == ["first", "second", "home"]
    departures.expect(1)
    departures.wait()


def test_work_that_many_ask_for_is_done_once_more_for_all_of_them() -> None:
    one_at_a_time, begun, go_on = OneAtATime(), threading.Semaphore(0), threading.Event()
    done: list[int] = []

    def work() -> None:
        begun.release()
        go_on.wait(5)
        done.append(1)

    first = threading.Thread(target=lambda: one_at_a_time.run(1, work))
    first.start()
    begun.acquire()
    for _ in range(7):
        one_at_a_time.run(1, work)  # each returns at once
    go_on.set()
    first.join(5)
    assert len(done) == 2
    with pytest.raises(ZeroDivisionError):
        one_at_a_time.run(1, lambda: 1 / 0)
    one_at_a_time.run(1, lambda: done.append(1))
    assert len(done) == 3
