"""Calls that several threads make at the same moment."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import TypeVar

from django.db import connections

T = TypeVar("T")
LIMIT_SECONDS = 120


def race(*calls: Callable[[], T]) -> list[T | BaseException]:
    """Make all calls at the same moment, each in its own thread with its own database connection.

    Return the result of each call, or the exception that it raised, in the order of the calls.
    """
    barrier = threading.Barrier(len(calls))
    results: dict[int, T | BaseException] = {}

    def work(number: int, call: Callable[[], T]) -> None:
        try:
            barrier.wait(LIMIT_SECONDS)
            results[number] = call()
        except BaseException as error:
            results[number] = error
        finally:
            connections.close_all()

    # Daemons, so that a call that never ends fails its test and does not keep the process alive.
    threads = [threading.Thread(target=work, args=item, daemon=True) for item in enumerate(calls)]
    for thread in threads:
        thread.start()
    deadline = time.monotonic() + LIMIT_SECONDS
    for thread in threads:
        thread.join(max(0.0, deadline - time.monotonic()))
    running = [number for number, thread in enumerate(threads) if thread.is_alive()]
    assert not running, f"The calls {running} of {len(calls)} did not end within {LIMIT_SECONDS} s."
    return [results[number] for number in range(len(calls))]


def race_without_errors(*calls: Callable[[], T]) -> list[T]:
    """Make all calls at the same moment and return their results; raise the first exception, if there is any."""
    results: list[T] = []
    for result in race(*calls):
        if isinstance(result, BaseException):
            raise result
        results.append(result)
    return results
