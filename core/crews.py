"""Slow work beside the housekeeping of a process, which must go on: a bounded number of threads per errand.

The threads die with the process. Whoever starts one leaves a mark in the rows first that lets another take over.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable

import structlog
from django.db import connections

log = structlog.get_logger(__name__)


class Crew:
    """At most `size` pieces of work at a time; each runs under a tag, such as the host that it asks."""

    def __init__(self, name: str, size: int) -> None:
        self.name, self.size = name, size
        self._changed = threading.Condition()
        self._tags: Counter[str] = Counter()
        self._ended = 0

    def has_room(self) -> bool:
        with self._changed:
            return self._tags.total() < self.size

    def busy(self) -> Counter[str]:
        """Tag -> how many pieces of work run under it."""
        with self._changed:
            return +self._tags

    def start(self, work: Callable[[], object], *, tag: str = "") -> None:
        """Run `work` on a thread of its own; what it raises is logged. The caller has looked at `has_room`."""
        with self._changed:
            self._tags[tag] += 1
        threading.Thread(target=self._run, args=(work, tag), name=self.name, daemon=True).start()

    def wait(self, seconds: float) -> int:
        """Until something ends, at most so long; returns how many ended since the last call."""
        with self._changed:
            self._changed.wait_for(lambda: self._ended > 0 or not self._tags.total(), timeout=max(0.0, seconds))
            ended, self._ended = self._ended, 0
            return ended

    def finish(self, seconds: float) -> int:
        """Until nothing runs any more, at most so long; returns how many ended."""
        end, ended = time.monotonic() + seconds, 0
        while self.busy() and time.monotonic() < end:
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
