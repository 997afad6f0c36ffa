"""Reading lanes: who works on them."""

from __future__ import annotations

from datetime import timedelta

from django.utils import timezone

from generation.models import Worker

SILENT_AFTER_SECONDS = 60


def live_workers(lane: str) -> int:
    """Workers of the lane that were heard of in the last minute."""
    since = timezone.now() - timedelta(seconds=SILENT_AFTER_SECONDS)
    return Worker.objects.filter(seen_at__gte=since, lanes__contains=[lane]).count()
