"""Work that several threads ask for and one does."""

from __future__ import annotations

import threading
from collections.abc import Callable


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
