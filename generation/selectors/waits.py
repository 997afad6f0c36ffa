"""How long an endpoint would keep a job waiting, and whether it works at all."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from django.db.models import Count, QuerySet
from django.utils import timezone

from generation.choices import Breaker, HoldReason, JobState, Lane
from generation.models import Endpoint, Job
from generation.selectors import lanes
from generation.services import pacing, throttle


@dataclass(frozen=True)
class Wait:
    """queued: jobs that wait for the endpoint. per_second: how many it ends, about. down: why it makes nothing now, in
    words; "" while it works."""

    endpoint: Endpoint
    queued: int
    per_second: float
    down: str = ""

    @property
    def seconds(self) -> float:
        """Until a job that is queued now would be begun."""
        return self.queued / self.per_second

    def within(self, seconds: float) -> int:
        """How many jobs it ends in so many seconds."""
        return int(seconds * self.per_second)


def waits(endpoint_ids: Iterable[int]) -> dict[int, Wait]:
    """Endpoint id -> Wait. Four queries, whatever their number, and one per local lane."""
    endpoints = Endpoint.objects.select_related("standing").filter(pk__in=set(endpoint_ids))
    jobs = Job.objects.filter(endpoint__in=[one.pk for one in endpoints])
    queued = _counted(jobs.filter(status=JobState.QUEUED))
    unpaid = _counted(jobs.filter(status=JobState.HELD, hold_reason=HoldReason.QUOTA))
    alive = {lane: lanes.live_workers(lane) for lane in {one.lane for one in endpoints}}
    return {
        one.pk: Wait(one, queued.get(one.pk, 0), _per_second(one, alive[one.lane]), _down(one, alive, unpaid))
        for one in endpoints
    }


def _counted(jobs: QuerySet[Any]) -> dict[int, int]:
    return dict(jobs.values_list("endpoint_id").annotate(Count("pk")).order_by())


def _per_second(endpoint: Endpoint, workers: int) -> float:
    seconds = max(endpoint.seconds_per_image, 0.001)
    if endpoint.lane != Lane.CLOUD:
        return max(workers, 1) / seconds
    rates = [pacing.at_once(endpoint, getattr(endpoint, "standing", None)) / seconds]
    rates += [orders for orders in (throttle.per_second(endpoint),) if orders]
    rates += [orders / 60 for orders in (throttle.per_minute(endpoint),) if orders]
    return max(min(rates), 1e-6)


def _down(endpoint: Endpoint, alive: dict[str, int], unpaid: dict[int, int]) -> str:
    standing = getattr(endpoint, "standing", None)
    if not endpoint.is_enabled:
        return "is switched off"
    if not alive[endpoint.lane]:
        return f"has no worker on its lane {endpoint.lane}"
    if unpaid.get(endpoint.pk):
        return "has an empty account, or its credentials were refused"
    if standing is not None and standing.breaker != Breaker.CLOSED:
        rests = standing.open_until is not None and standing.open_until > timezone.now()
        return f"rests after {standing.failures} failures in a row" if rests else "is only just tried again"
    return ""
