"""Waiting times at endpoints, and whether the endpoints work at all."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from django.db.models import Count, QuerySet
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from core.choices import Lane
from generation.choices import Breaker, HoldReason, JobState
from generation.models import Endpoint, Job, Run
from generation.selectors import endpoint_limits, lanes

NOTICED_SECONDS = 5.0


@dataclass(frozen=True)
class Wait:
    """The wait at one endpoint. queued: jobs that wait for it. per_second: about how many it finishes. down: why it
    makes nothing now, "" while it works."""

    endpoint: Endpoint
    queued: int
    per_second: float
    down: str = ""

    @property
    def seconds(self) -> float:
        """Return the seconds until a job that is queued now would begin."""
        return self.queued / self.per_second

    def within(self, seconds: float) -> int:
        """Return how many jobs the endpoint finishes in this time."""
        return int(seconds * self.per_second)


def load_waits(endpoint_ids: Iterable[int]) -> dict[int, Wait]:
    """Return the waits by endpoint id. Four queries for any number of endpoints, and one per local lane."""
    endpoints = Endpoint.objects.select_related("status").filter(pk__in=set(endpoint_ids))
    jobs = Job.objects.filter(endpoint__in=[endpoint.pk for endpoint in endpoints])
    queued = count_by_endpoint(jobs.filter(status=JobState.QUEUED))
    unpaid = count_by_endpoint(jobs.filter(status=JobState.HELD, hold_reason=HoldReason.QUOTA))
    alive = lanes.live_workers_by_lane(endpoints)
    waits = {}
    for endpoint in endpoints:
        down, _next_step = _down_reason(endpoint, alive, unpaid)
        per_second = _per_second(endpoint, alive[endpoint.lane])
        waits[endpoint.pk] = Wait(endpoint, queued.get(endpoint.pk, 0), per_second, down)
    return waits


def list_reasons(run: Run) -> list[str]:
    """Return why queued jobs of a run are not being made, a sentence for each endpoint that makes nothing now. Two
    queries and one per lane; one if nothing is queued."""
    queued = count_by_endpoint(Job.objects.filter(run=run, status=JobState.QUEUED))
    if not queued:
        return []
    endpoints = list(Endpoint.objects.select_related("status").filter(pk__in=queued).order_by("name"))
    alive = lanes.live_workers_by_lane(endpoints)
    sentences = []
    for endpoint in endpoints:
        reason, next_step = _down_reason(endpoint, alive, {})  # what waits for an empty account is held, not queued
        if reason := reason or _pause_reason(endpoint):
            sentence = ngettext(
                "%(n)d image waits for %(endpoint)s, which %(reason)s.",
                "%(n)d images wait for %(endpoint)s, which %(reason)s.",
                queued[endpoint.pk],
            )
            words = {"n": queued[endpoint.pk], "endpoint": endpoint.name, "reason": reason}
            sentences.append(f"{sentence % words} {next_step}".strip())
    return sentences


def count_by_endpoint(rows: QuerySet[Any]) -> dict[int, int]:
    """Return the numbers of jobs or attempts by endpoint id. One query."""
    return dict(rows.values_list("endpoint_id").annotate(Count("pk")).order_by())


def _per_second(endpoint: Endpoint, workers: int) -> float:
    seconds = max(endpoint.seconds_per_image, 0.001)
    if endpoint.lane != Lane.CLOUD:
        return max(workers, 1) / seconds
    rates = [
        endpoint_limits.concurrency_limit(endpoint, getattr(endpoint, "status", None)) / seconds,
        endpoint_limits.per_second(endpoint),
        (endpoint_limits.per_minute(endpoint) or 0) / 60,
    ]
    return max(min(filter(None, rates)), 1e-6)


def _down_reason(endpoint: Endpoint, alive: dict[str, int], unpaid: dict[int, int]) -> tuple[str, str]:
    """Return (why the endpoint makes nothing now, what will happen or has to be done); empty texts while it works."""
    status = getattr(endpoint, "status", None)
    now = timezone.now()
    if not endpoint.is_enabled:
        return _("is switched off"), _("Somebody has to switch it on.")
    if not alive[endpoint.lane]:
        return _("has no worker on its lane %(lane)s") % {"lane": endpoint.lane}, _("The operator has to start one.")
    if unpaid.get(endpoint.pk):
        return _("has an empty account, or its credentials were refused"), _("The operator has to see to it.")
    if status is not None and status.breaker != Breaker.CLOSED:
        if status.open_until is not None and status.open_until > now:
            reason = _("rests after %(n)d failures in a row") % {"n": status.failures}
            return reason, _("It is asked every few seconds and goes on by itself when it answers.")
        return _("is only just tried again"), _("It goes on by itself when that works.")
    return "", ""


def _pause_reason(endpoint: Endpoint) -> str:
    """Return that the service asked to slow down, if for longer than NOTICED_SECONDS; "" otherwise."""
    resume_at = getattr(getattr(endpoint, "status", None), "resume_at", None)
    if resume_at is None or (resume_at - timezone.now()).total_seconds() < NOTICED_SECONDS:
        return ""
    return _("asked to slow down until %(time)s") % {"time": f"{timezone.localtime(resume_at):%H:%M:%S}"}
