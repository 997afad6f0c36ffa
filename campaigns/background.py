"""Reads waiting imports in a thread, because other work of the process (sealing events) must not wait for a feed."""

from __future__ import annotations

import structlog

from campaigns.services import imports
from core.thread_pools import ThreadPool

log = structlog.get_logger(__name__)

_pool = ThreadPool("imports", 1)


def start_import_reader() -> int:
    """Start a thread that reads waiting imports, unless one is running; return how many imports wait.

    The thread ends with the process. The next process takes up the unfinished imports.
    """
    waiting = imports.waiting_ids()
    if waiting and _pool.has_free_thread():
        _pool.start(read_waiting_imports)
    return len(waiting)


def read_waiting_imports() -> int:
    """Read every waiting import that no other process is reading; return how many."""
    count = 0
    for import_id in imports.waiting_ids():
        try:
            count += imports.process_waiting(import_id)
        except Exception:
            # The next pass retries it; after a few attempts it is refused.
            log.exception("import.failed", feed_import=import_id)
    return count
