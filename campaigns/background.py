"""Reads waiting imports in a thread, because other work of the process (sealing events) must not wait for a feed."""

from __future__ import annotations

import threading

import structlog
from django.db import connection

from campaigns.services import imports

log = structlog.get_logger(__name__)

_reader: threading.Thread | None = None


def start_import_reader() -> int:
    """Start a thread that reads waiting imports, unless one is running; return how many imports wait.

    The thread ends with the process. The next process takes up the unfinished imports.
    """
    global _reader
    waiting = imports.waiting_ids()
    if waiting and (_reader is None or not _reader.is_alive()):
        _reader = threading.Thread(target=read_waiting_imports, name="imports", daemon=True)
        _reader.start()
    return len(waiting)


def read_waiting_imports() -> int:
    """Read every waiting import that no other process is reading; return how many. Closes the thread's connection."""
    count = 0
    try:
        for import_id in imports.waiting_ids():
            try:
                count += imports.process_waiting(import_id)
            except Exception:
                # The next pass retries it; after a few attempts it is refused.
                log.exception("import.failed", feed_import=import_id)
    finally:
        connection.close()
    return count
