"""Bounded threads for slow work, beside the periodic tasks. They end with the process; the database has the work."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable

import structlog
from django.db import connections

log = structlog.get_logger(__name__)


class ThreadPool:
    """A pool that runs at most `size` pieces of work at a time; each has a tag, such as the requested host."""

    def __init__(self, name: str, size: int) -> None:
        self.name, self.size = name, size
        self._changed = threading.Condition()
        self._tags: Counter[str] = Counter()
        self._ended = 0

    def has_free_thread(self) -> bool:
        with self._changed:
            return self._tags.total() < self.size

    def count_by_tag(self) -> Counter[str]:
        """Return tag -> number of running pieces of work."""
        with self._changed:
            return +self._tags

    def start(self, work: Callable[[], object], *, tag: str = "") -> None:
        """Run `work` in a new thread; its exceptions are logged. The caller must have checked `has_free_thread`."""
        with self._changed:
            self._tags[tag] += 1
        threading.Thread(target=self._run, args=(work, tag), name=self.name, daemon=True).start()

    def wait(self, seconds: float) -> int:
        """Wait until a piece of work ends, at most `seconds`; return how many ended since the last call."""
        with self._changed:
            self._changed.wait_for(lambda: self._ended > 0 or not self._tags.total(), timeout=max(0.0, seconds))
            ended, self._ended = self._ended, 0
            return ended

    def finish(self, seconds: float) -> int:
        """Wait until all work has ended, at most `seconds`; return how many pieces ended."""
        end, ended = time.monotonic() + seconds, 0
        while self.count_by_tag() and time.monotonic() < end:
            ended += self.wait(end - time.monotonic())
        return ended + self.wait(0)

    def _run(self, work: Callable[[], object], tag: str) -> None:
        try:
            work()
        except Exception:
            log.exception("crew.failed", crew=self.name, tag=tag)
        finally:
            connections.close_all()
            with self._changed:
                self._tags[tag] -= 1
                self._ended += 1
                self._changed.notify_all()
