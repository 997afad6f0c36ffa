"""Check and store the images of services on a few threads, while other threads submit jobs."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from time import monotonic, sleep

from generation.engines.base import Result
from generation.workers.context import close_connections, task_errors_logged

THREADS = 4
"""More threads are not faster, and a submission that is due would wait for all of them for the interpreter lock."""
GRACE_SECONDS = 0.1
"""The least time that an image waits: the service has free places for more jobs, and these are filled first."""
MAX_QUEUED_BYTES = 256 * 1024 * 1024
"""Bytes of pixels that may wait here before submission stops: about 85 images of 1024 by 1024."""


class FinishingQueue:
    """A queue of images to store; a waiting image holds no thread and no connection, only its pixels."""

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(THREADS, "finish")
        self._guard = threading.Lock()
        self._bytes = 0

    @property
    def is_full(self) -> bool:
        return self._bytes >= MAX_QUEUED_BYTES

    def submit(self, image: Result, work: Callable[[], None]) -> None:
        """Queue `work`, which stores `image` and handles its own errors."""
        size = 0 if image.pixels is None else image.pixels.nbytes
        self._add(size)
        due_at = monotonic() + GRACE_SECONDS

        def run() -> None:
            try:
                sleep(max(0.0, due_at - monotonic()))
                with task_errors_logged("remote.finish_failed"):
                    work()
            finally:
                self._add(-size)

        self._pool.submit(run)

    def stop(self) -> None:
        close_connections(self._pool, THREADS)
        self._pool.shutdown(wait=True)

    def _add(self, size: int) -> None:
        with self._guard:
            self._bytes += size
