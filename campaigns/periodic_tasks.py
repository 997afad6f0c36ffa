"""The periodic task of this app: releasing the files of old imports."""

from __future__ import annotations

from campaigns.services import imports
from core.periodic_tasks import periodic_task


@periodic_task(every_seconds=3600)
def forget_feed_files() -> int:
    return imports.release_old_files()
