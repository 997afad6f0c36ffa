"""The last part of a remote picture's way: a few threads check and store what has come, while others order."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from time import monotonic, sleep

from generation.engines.base import Result
from generation.workers.context import disconnect, reported

AT_ONCE = 4
"""More are not done sooner, and an order that is due would wait behind all of them for the interpreter."""
GRACE_SECONDS = 0.1
"""How long a picture waits at least: what came with it has left places free, and those are filled first."""
MOST_BYTES = 256 * 1024 * 1024
"""Pixels that may wait here before no more is ordered: about 85 pictures of 1024 by 1024."""


class Finishing:
    """Pictures that wait for their turn hold no thread and no connection, only their pixels."""

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(AT_ONCE, "finish")
        self._guard = threading.Lock()
        self._bytes = 0

    @property
    def is_full(self) -> bool:
        return self._bytes >= MOST_BYTES

    def take(self, picture: Result, work: Callable[[], None]) -> None:
        """Have `work` done, which finishes `picture` and sees to its own errors."""
        size = 0 if picture.pixels is None else picture.pixels.nbytes
        self._add(size)
        due = monotonic() + GRACE_SECONDS

        def run() -> None:
            try:
                sleep(max(0.0, due - monotonic()))
                with reported("remote.finish_failed"):
                    work()
            finally:
                self._add(-size)

        self._pool.submit(run)

    def stop(self) -> None:
        """Finish what is here."""
        disconnect(self._pool, AT_ONCE)
        self._pool.shutdown(wait=True)

    def _add(self, size: int) -> None:
        with self._guard:
            self._bytes += size
