"""Orders on their way out go before pictures on their way home: while a picture is decoded and checked here, a place at
its service stands empty."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

LONGEST_WAIT_SECONDS = 0.25
"""An order may wait for its turn among those of a second; pictures are not held up for that."""


class Departures:
    """Used by every thread of a remote lane."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._on_their_way = 0

    def expect(self, orders: int) -> None:
        """So many are about to be handed over."""
        with self._changed:
            self._on_their_way += orders

    @contextmanager
    def one(self) -> Iterator[Callable[[], None]]:
        """One of them: it has left when the function is called, or when the block ends without that."""
        has_left = False

        def left() -> None:
            nonlocal has_left
            if not has_left:
                has_left = True
                with self._changed:
                    self._on_their_way -= 1
                    self._changed.notify_all()

        try:
            yield left
        finally:
            left()

    def wait(self) -> None:
        """Return when all have left, or after LONGEST_WAIT_SECONDS."""
        with self._changed:
            self._changed.wait_for(lambda: not self._on_their_way, timeout=LONGEST_WAIT_SECONDS)


class OneAtATime:
    """The same work asked for by several threads: one does it, and once more for all who asked meanwhile."""

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._at_work: set[int] = set()
        self._wanted: set[int] = set()

    def run(self, key: int, work: Callable[[], object]) -> None:
        """Have `work` begin after this call; returns at once where another thread will see to it."""
        with self._guard:
            self._wanted.add(key)
            if key in self._at_work:
                return
            self._at_work.add(key)
        try:
            while self._take(key):
                work()
        except BaseException:
            with self._guard:
                self._at_work.discard(key)
            raise

    def _take(self, key: int) -> bool:
        with self._guard:
            is_wanted = key in self._wanted
            self._wanted.discard(key)
            if not is_wanted:
                self._at_work.discard(key)
            return is_wanted
