"""Read which lanes have live workers."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta

from django.utils import timezone

from generation.models import Endpoint, Worker

SILENT_AFTER_SECONDS = 60


def live_workers(lane: str) -> int:
    """Return how many workers of the lane sent a heartbeat in the last minute."""
    since = timezone.now() - timedelta(seconds=SILENT_AFTER_SECONDS)
    return Worker.objects.filter(seen_at__gte=since, lanes__contains=[lane]).count()


def live_workers_by_lane(endpoints: Iterable[Endpoint]) -> dict[str, int]:
    """Return the numbers of live workers of the endpoints' lanes. One query per lane."""
    return {lane: live_workers(lane) for lane in {endpoint.lane for endpoint in endpoints}}
