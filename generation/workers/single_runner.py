"""Work that several threads request and one thread does."""

from __future__ import annotations

import threading
from collections.abc import Callable


class SingleRunner:
    """Let one of several threads do the same work, and do it once more for all requests that came meanwhile."""

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._at_work: set[int] = set()
        self._wanted: set[int] = set()

    def run(self, key: int, work: Callable[[], object]) -> None:
        """Ensure that `work` begins after this call; returns at once if another thread will do it."""
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
