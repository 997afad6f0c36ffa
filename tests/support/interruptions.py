"""Attempts of a delivery that end or stop in the middle, as the process of a worker does by SIGKILL or SIGSTOP.

An attempt runs in a thread with a connection of its own to the database. Its boundaries are the places at which a
process could die: before and after it sends to a socket, after it receives, before and after it writes or commits in
the database or changes a file, and the crash points of the journal.
"""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from django.db import connection
from django.db.backends.base.base import BaseDatabaseWrapper

from core import crash_points
from review.services import deliveries

FILE_CHANGES = ("replace", "rename", "link", "unlink", "remove", "fsync", "mkdir")
CHANGES = ("INSERT", "UPDATE", "DELETE")
MAX_SECONDS = 120.0


class Death(BaseException):
    """The end of a process at a boundary."""


class Attempt(threading.Thread):
    """One call of `deliveries.attempt_due`. stop_at: the number of the boundary, from 1, at which it dies or pauses.

    is_paused: it stops there, outside any transaction, until `resume`, instead of dying. Afterwards `passed` has the
    boundaries, and `tried` the number of deliveries that were tried, None if it died.
    """

    def __init__(self, stop_at: int = 0, *, pauses: bool = False, limit: int = 1) -> None:
        super().__init__(name="attempt", daemon=True)
        self.stop_at, self.pauses, self.limit = stop_at, pauses, limit
        self.passed: list[str] = []
        self.tried: int | None = None
        self.error: BaseException | None = None
        self.stopped = threading.Event()
        self._resumed = threading.Event()
        self._is_dead = False

    @property
    def was_stopped(self) -> bool:
        return self.stopped.is_set()

    def run(self) -> None:
        try:
            with connection.execute_wrapper(self._execute):
                self.tried = deliveries.attempt_due(limit=self.limit)
        except Death:
            pass
        except BaseException as error:
            self.error = None if self._is_dead else error
        finally:
            self._close()

    def start_and_wait(self) -> Attempt:
        """Run it until it has ended or is paused. Raises what an attempt must never raise."""
        self.start()
        self.wait()
        return self

    def wait(self, seconds: float = MAX_SECONDS) -> bool:
        """Wait until it has ended or is paused; return whether it has."""
        for _ in range(int(seconds / 0.005)):
            self.join(0.005)
            if not self.is_alive() or (self.pauses and self.was_stopped and not self._resumed.is_set()):
                break
        if self.error is not None:
            raise self.error
        return not self.is_alive() or self.was_stopped

    def resume(self) -> None:
        """Let it go on, and wait until it has ended."""
        self._resumed.set()
        self.join(MAX_SECONDS)
        assert not self.is_alive(), f"it hangs after {self.passed[-5:]}"
        if self.error is not None:
            raise self.error

    def reach(self, boundary: str) -> None:
        if self._is_dead:
            raise Death(boundary)  # the clean-up of a dead process does not happen either
        self.passed.append(boundary)
        if not self.stop_at or len(self.passed) < self.stop_at or self.was_stopped:
            return
        if not self.pauses:
            self._is_dead = True
            self.stopped.set()
            raise Death(boundary)
        if not connection.in_atomic_block and boundary != "before commit":
            self.stopped.set()
            self._resumed.wait(MAX_SECONDS)

    def _execute(self, execute: Callable[..., Any], statement: Any, values: Any, many: bool, context: Any) -> Any:
        if not str(statement).lstrip().startswith(CHANGES):
            return execute(statement, values, many, context)
        self.reach("before a write")
        result = execute(statement, values, many, context)
        self.reach("after a write")
        return result

    def _close(self) -> None:
        """Close the connection as the end of a process does: what was not committed is rolled back."""
        if connection.connection is not None:
            connection.connection.close()


def _reach(boundary: str) -> None:
    thread = threading.current_thread()
    if isinstance(thread, Attempt):
        thread.reach(boundary)


@contextmanager
def watching() -> Iterator[None]:
    """Make the boundaries of attempts known while the block runs."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("send", "sendall"):
            patch.setattr(socket.socket, name, _around(getattr(socket.socket, name), name), raising=False)
        for name in ("recv", "recv_into"):
            patch.setattr(socket.socket, name, _around(getattr(socket.socket, name), name, is_before=False))
        for name in FILE_CHANGES:
            patch.setattr(os, name, _around(getattr(os, name), name))
        patch.setattr(BaseDatabaseWrapper, "_commit", _around(BaseDatabaseWrapper._commit, "commit"))
        patch.setattr(crash_points, "point", _reach)
        yield


def _around(function: Callable[..., Any], name: str, *, is_before: bool = True) -> Callable[..., Any]:
    def call(*arguments: Any, **options: Any) -> Any:
        is_local = isinstance(arguments[0], socket.socket) and arguments[0].family == socket.AF_UNIX  # Redis
        if is_before and not is_local:
            _reach(f"before {name}")
        result = function(*arguments, **options)
        if not is_local:
            _reach(f"after {name}")
        return result

    return call
