"""Reads waiting imports beside the housekeeping of its process, which must go on: sealing cannot wait for a feed."""

from __future__ import annotations

import threading

import structlog
from django.db import connection

from campaigns.services import imports

log = structlog.get_logger(__name__)

_reader: threading.Thread | None = None


def start_reading() -> int:
    """Have a thread read what waits, unless one is at it; returns how many imports wait.

    The thread dies with the process: whatever it had not finished waits on and is taken up by the next.
    """
    global _reader
    waiting = imports.waiting_ids()
    if waiting and (_reader is None or not _reader.is_alive()):
        _reader = threading.Thread(target=read_waiting, name="imports", daemon=True)
        _reader.start()
    return len(waiting)


def read_waiting() -> int:
    """Read every waiting import that nobody else is reading; returns how many. Closes the thread's connection."""
    done = 0
    try:
        for import_id in imports.waiting_ids():
            try:
                done += imports.take(import_id)
            except Exception:
                # The next pass takes it up again; after a few attempts it is refused.
                log.exception("import.failed", feed_import=import_id)
    finally:
        connection.close()
    return done
