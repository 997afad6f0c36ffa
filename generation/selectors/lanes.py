"""Read which lanes have live workers."""

from __future__ import annotations

from datetime import timedelta

from django.utils import timezone

from generation.models import Worker

SILENT_AFTER_SECONDS = 60


def live_workers(lane: str) -> int:
    """Return how many workers of the lane sent a heartbeat in the last minute."""
    since = timezone.now() - timedelta(seconds=SILENT_AFTER_SECONDS)
    return Worker.objects.filter(seen_at__gte=since, lanes__contains=[lane]).count()
