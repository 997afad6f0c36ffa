"""Slow work in a web process: large files, and questions to destinations. Half of the threads stay free for pages."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from functools import cache

from django.conf import settings
from django.utils.translation import gettext as _

from core.errors import Busy


@cache
def _slots() -> threading.BoundedSemaphore:
    return threading.BoundedSemaphore(max(1, settings.PROOFLINE["web_threads"] // 2))


@contextmanager
def slot() -> Iterator[None]:
    """Hold a slot while another server is asked something, which may take its time. Raises Busy if there is none."""
    if not _slots().acquire(blocking=False):
        raise Busy(_("Too many slow requests are under way just now. Try again in a minute."))
    try:
        yield
    finally:
        _slots().release()


class SlottedChunks(Iterator[bytes]):
    """The chunks of a large file, which hold a slot until they end, fail, are closed or are thrown away unread."""

    def __init__(self, chunks: Generator[bytes, None, None]) -> None:
        """Take a slot. Raises Busy if there is none."""
        if not _slots().acquire(blocking=False):
            raise Busy(_("Other large files are being downloaded just now. Try again in a few minutes."))
        self._chunks = chunks
        self._release = weakref.finalize(self, _slots().release)

    def __next__(self) -> bytes:
        try:
            return next(self._chunks)
        except BaseException:  # StopIteration too
            self.close()
            raise

    def close(self) -> None:
        self._chunks.close()
        self._release()
