"""The periodic tasks of this app: reading waiting imports, deleting old files."""

from __future__ import annotations

from campaigns import background
from campaigns.services import imports
from core.periodic import periodic_task


@periodic_task(every_seconds=2)
def read_waiting_imports() -> int:
    return background.start_import_reader()


@periodic_task(every_seconds=3600)
def forget_feed_files() -> int:
    return imports.release_old_files()
