"""The `io` lane: threads that wait for other servers, such as fetching photos and feeds and sending mail.

Each kind of work has its own threads, so that slow feeds do not hold up photos. Processes share the leased rows.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass

import structlog
from django.db import Error as DatabaseError
from django.db import connections

log = structlog.get_logger(__name__)

LOOK_SECONDS = 2.0


@dataclass(frozen=True)
class Kind:
    """A kind of work. run_next: works on one due row; False if none is due. threads: rows at a time in one process."""

    name: str
    run_next: Callable[[], bool]
    threads: int = 1


_kinds: list[Kind] = []


def io_work(*, threads: int = 1) -> Callable[[Callable[[], bool]], Callable[[], bool]]:
    """Decorator: let the threads of the io lane call the function as long as it returns True."""

    def register(run_next: Callable[[], bool]) -> Callable[[], bool]:
        _kinds.append(Kind(f"{run_next.__module__}.{run_next.__qualname__}", run_next, threads))
        return run_next

    return register


class IoLane:
    """One process's share of the lane."""

    def __init__(self) -> None:
        self._is_stopping = threading.Event()
        self._awake = threading.Condition()
        self._wakes = 0
        self._threads = [
            threading.Thread(target=self._serve, args=(kind,), name=f"io {kind.name}")
            for kind in _kinds
            for _ in range(kind.threads)
        ]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def wake(self) -> None:
        """Let idle threads look for work at once."""
        with self._awake:
            self._wakes += 1
            self._awake.notify_all()

    def stop(self) -> None:
        """Claim nothing more, and wait until what is running has ended."""
        self._is_stopping.set()
        self.wake()
        for thread in self._threads:
            thread.join()

    def _serve(self, kind: Kind) -> None:
        seen = self._wakes
        while not self._is_stopping.is_set():
            if self._run_next(kind):
                continue
            with self._awake:
                if self._wakes == seen:
                    self._awake.wait(LOOK_SECONDS)
                seen = self._wakes
        connections.close_all()

    def _run_next(self, kind: Kind) -> bool:
        try:
            return kind.run_next()
        except DatabaseError as error:
            log.warning("io.database_away", kind=kind.name, error=str(error))
            connections.close_all()
        except Exception:
            log.exception("io.failed", kind=kind.name)
        return False
