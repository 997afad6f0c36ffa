"""The pace of an endpoint: its circuit breaker, the pauses that it asked for, its concurrent calls.

Limits are set by the operator, or learnt from refusals (rate_limits.py): the number of concurrent calls grows fast
until one is refused, and then slowly. throttle.py limits the rate of submissions.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, NamedTuple

import structlog
from django.db import transaction
from django.db.models import Count, Exists, F, Max, OuterRef, Q, Value
from django.db.models.functions import Greatest
from django.utils import timezone

from core import sql
from core.choices import Lane
from generation import rate_limits
from generation.choices import Breaker, JobState
from generation.engines.base import EngineError, ErrorKind
from generation.models import Attempt, Endpoint, EndpointStatus, Job
from generation.selectors import endpoint_limits
from generation.services.remote import throttle

log = structlog.get_logger(__name__)

FAILURES_TO_OPEN = 5
FIRST_REST_SECONDS = 15.0
LONGEST_REST_SECONDS = 600.0
LONGEST_OPEN = timedelta(minutes=15)  # submissions older than this are ignored when a refusal is evaluated
SETTLE_SECONDS = 0.3
"""Delay before a refusal is evaluated, until it is known which submissions of that moment were refused as well."""
IN_USE = 0.75  # the used share of a limit above which it is considered the bottleneck
TAKEN_SECONDS = 1.0  # time after which a submission counts as accepted: a service that refuses does so at once
REFUSED_PAUSE_SECONDS = 1.0  # pause of an endpoint that asks to slow down and does not say for how long

# While nothing was refused, the window is the number of accepted submissions at an answer, plus one for each answer.
# After a refusal it grows only while it is the bottleneck: near the size of the latest refusal by a twentieth of a
# call, and by one again when it is at least two above that size. Limits that were learnt while the endpoint failed,
# since its last success, come from the failure: the success that ends the failures removes them. By hand, as is
# _FAILED: many threads count at once, so a row is inserted or changed by what it holds in one statement.
_SUCCEEDED = """
INSERT INTO generation_endpointstatus AS s
    (endpoint_id, breaker, failures, trips, "window", last_error, last_error_kind, last_success_at)
VALUES (%(endpoint)s, 'closed', 0, 0, %(first)s, '', '', %(now)s)
ON CONFLICT (endpoint_id) DO UPDATE SET
    breaker = 'closed', failures = 0, trips = 0, open_until = NULL, notified_at = NULL, last_success_at = %(now)s,
    window_peak = CASE WHEN {is_of_failure} THEN NULL ELSE s.window_peak END,
    window_cut_at = CASE WHEN {is_of_failure} THEN NULL ELSE s.window_cut_at END,
    rates = CASE WHEN s.breaker = 'closed' THEN s.rates ELSE (
        SELECT coalesce(jsonb_object_agg(rate.key, rate.value), '{}') FROM jsonb_each(s.rates) AS rate
        WHERE (rate.value ->> 'changed_at')::timestamptz <= coalesce(s.last_success_at, '-infinity')
    ) END,
    "window" = least(%(most)s, CASE
        WHEN {is_of_failure} OR s."window" IS NULL THEN %(first)s
        WHEN s.window_peak IS NULL AND s."window" < %(taken)s THEN %(taken)s
        WHEN %(in_use)s < s."window" * %(share)s THEN s."window"
        WHEN s.window_peak IS NULL OR s."window" >= s.window_peak + 2 THEN s."window" + 1
        ELSE s."window" + 0.05 / s."window"
    END)
""".replace("{is_of_failure}", "(s.breaker <> 'closed' AND s.window_cut_at > coalesce(s.last_success_at, '-infinity'))")

# One SELECT for each of the two indexes of open jobs: "status IN (...)" uses neither, and there are many ended jobs. By
# hand, because the lane asks this before each submission, and the ORM would need two statements.
_UNDER_WAY = """
SELECT endpoint_id, sum(running)::int, sum(waiting)::int, sum(taken)::int
FROM (
    SELECT j.endpoint_id, j.lane, 1 AS running, 0 AS waiting, coalesce(a.submitted_at < %(before)s, false)::int AS taken
    FROM generation_job j LEFT JOIN generation_attempt a ON a.job_id = j.id AND a.number = j.attempts
    WHERE j.status = 'running' AND j.remote_id = ''
    UNION ALL
    SELECT endpoint_id, lane, 0, 1, 0 FROM generation_job WHERE status = 'waiting'
) AS open
WHERE endpoint_id = ANY(%(endpoints)s) AND lane = %(lane)s
GROUP BY endpoint_id
"""

_FAILED = """
INSERT INTO generation_endpointstatus AS s
    (endpoint_id, breaker, failures, trips, last_error, last_error_kind, last_error_at)
VALUES (%(endpoint)s, 'closed', 1, 0, %(error)s, %(kind)s, %(now)s)
ON CONFLICT (endpoint_id) DO UPDATE SET
    failures = s.failures + 1,
    breaker = CASE WHEN {opens} THEN 'open' ELSE s.breaker END,
    trips = s.trips + CASE WHEN {opens} THEN 1 ELSE 0 END,
    open_until = CASE WHEN {opens}
                      THEN %(now)s + least(%(longest)s, %(first)s * power(2, s.trips)) * interval '1 second'
                      ELSE s.open_until END,
    last_error = %(error)s, last_error_kind = %(kind)s, last_error_at = %(now)s
RETURNING breaker, open_until, failures
""".format(opens="(s.breaker = 'half_open' OR (s.breaker = 'closed' AND s.failures + 1 >= %(to_open)s))")


class OpenJobs(NamedTuple):
    """An endpoint's open jobs. running: submissions on their way to it; taken: those of them that are old enough to
    count as accepted; waiting: jobs that it is making."""

    running: int = 0
    waiting: int = 0
    taken: int = 0


@dataclass(frozen=True)
class EndpointLoad:
    """One remote endpoint as the lane sees it. running: submissions on their way to it; waiting: jobs that it makes.
    submissions: how many more it may get now; wait_seconds: until it may get more."""

    endpoint: Endpoint
    status: EndpointStatus | None
    running: int
    waiting: int
    has_queued: bool
    submissions: int
    wait_seconds: float

    @property
    def is_resting(self) -> bool:
        return self.status is not None and self.status.breaker == Breaker.OPEN

    @property
    def in_use(self) -> int:
        return self.running + self.waiting


def list_loads() -> list[EndpointLoad]:
    """Return the load of every enabled remote endpoint. Two queries."""
    queued = Job.objects.filter(endpoint=OuterRef("pk"), lane=Lane.CLOUD, status=JobState.QUEUED)
    claimable = queued.filter(Q(not_before=None) | Q(not_before__lte=timezone.now()))
    remote = Endpoint.objects.filter(lane=Lane.CLOUD, is_enabled=True).annotate(has_queued=Exists(claimable))
    endpoints = list(remote.select_related("status").order_by("pk"))
    under_way = _count_open_jobs([endpoint.pk for endpoint in endpoints])
    return [_load(endpoint, under_way[endpoint.pk]) for endpoint in endpoints]


def _count_open_jobs(endpoints: list[int]) -> dict[int, OpenJobs]:
    before = timezone.now() - timedelta(seconds=TAKEN_SECONDS)
    rows = sql.rows(_UNDER_WAY, {"endpoints": endpoints, "lane": Lane.CLOUD, "before": before})
    return dict.fromkeys(endpoints, OpenJobs()) | {endpoint: OpenJobs(*counts) for endpoint, *counts in rows}


def _load(endpoint: Endpoint, open_jobs: OpenJobs) -> EndpointLoad:
    status = getattr(endpoint, "status", None)
    submissions, wait_seconds = _room(endpoint, status, open_jobs)
    has_queued = bool(getattr(endpoint, "has_queued", True))
    return EndpointLoad(endpoint, status, open_jobs.running, open_jobs.waiting, has_queued, submissions, wait_seconds)


def _room(endpoint: Endpoint, status: EndpointStatus | None, open_jobs: OpenJobs) -> tuple[int, float]:
    """Return (submissions that may be sent now, seconds until the next check is worthwhile)."""
    now = timezone.now()
    until = (status.resume_at, status.open_until if status.breaker == Breaker.OPEN else None) if status else ()
    if (pause := max(((moment - now).total_seconds() for moment in until if moment), default=0.0)) > 0:
        return 0, pause
    if status is not None and status.breaker != Breaker.CLOSED:
        return max(0, 1 - open_jobs.running), 0.5
    limit = endpoint_limits.concurrency_limit(endpoint, status, open_jobs.taken)
    return max(0, limit - open_jobs.running - open_jobs.waiting), 0.5


def count_unsent(endpoint_id: int) -> int:
    """Return how many claimed jobs have not been submitted yet."""
    jobs = Job.objects.filter(endpoint_id=endpoint_id, lane=Lane.CLOUD, status=JobState.RUNNING, remote_id="")
    return Attempt.objects.filter(job__in=jobs, number=F("job__attempts"), submitted_at=None).count()


@transaction.atomic
def lock_load(endpoint_id: int) -> EndpointLoad:
    """Return the endpoint's load under a lock: until the transaction ends nobody else counts it or claims for it.
    Call it inside the transaction that claims. A circuit breaker whose rest is over becomes half open here."""
    sql.lock("proofline.endpoint", endpoint_id)
    endpoint = Endpoint.objects.select_related("status").get(pk=endpoint_id)
    load = _load(endpoint, _count_open_jobs([endpoint_id])[endpoint_id])
    if load.status and load.status.breaker == Breaker.OPEN and load.submissions:
        EndpointStatus.objects.filter(pk=endpoint_id, breaker=Breaker.OPEN).update(breaker=Breaker.HALF_OPEN)
    return load


def record_success(endpoint: Endpoint, *, in_use: int) -> None:
    """Record that the service accepted a submission. in_use: how many it had, including this one."""
    now = timezone.now()
    status = getattr(endpoint, "status", None)
    taken = 0
    if endpoint_limits.is_concurrency_unknown(endpoint, status):
        taken = _count_open_jobs([endpoint.pk])[endpoint.pk].taken + 1
    first = None if endpoint.most_at_once else max(endpoint_limits.FIRST_WINDOW, taken)
    values = {"endpoint": endpoint.pk, "in_use": in_use, "share": IN_USE, "first": first, "taken": taken, "now": now}
    sql.execute(_SUCCEEDED, {**values, "most": endpoint.most_at_once or endpoint_limits.MAX_CONCURRENT})
    if any(rate.can_grow(now) for rate in endpoint_limits.learnt_rates(status).values()):
        _grow(endpoint, now=now)


def record_failure(endpoint: Endpoint, error: EngineError, *, submitted_at: datetime | None = None) -> None:
    """Record that the service refused a submission or poll, or did not answer; errors of single images do not count."""
    now = timezone.now()
    if error.kind == ErrorKind.RATE:
        pause = REFUSED_PAUSE_SECONDS if error.retry_after_seconds is None else error.retry_after_seconds
        throttle.pause(endpoint, pause)
        resume = now + timedelta(seconds=pause)
        _note(endpoint, error, now, resume_at=Greatest("resume_at", Value(resume)))
        # If both limits are set, a refusal only means that two submissions arrived closer together than they were sent.
        knows_limits = endpoint.most_at_once and (endpoint.max_per_second or endpoint.max_per_minute)
        if submitted_at is not None and not knows_limits:
            time.sleep(min(pause, SETTLE_SECONDS))
            _learn(endpoint, submitted_at=submitted_at, resume_at=resume, pause_seconds=error.retry_after_seconds)
    elif error.kind in (ErrorKind.TRANSIENT, ErrorKind.UNCERTAIN):
        values = {"endpoint": endpoint.pk, "error": error.message[:500], "kind": error.kind, "now": now}
        values |= {"to_open": FAILURES_TO_OPEN, "first": FIRST_REST_SECONDS, "longest": LONGEST_REST_SECONDS}
        breaker, until, failures = sql.rows(_FAILED, values)[0]
        if breaker == Breaker.OPEN and failures >= FAILURES_TO_OPEN:
            log.warning("endpoint.resting", endpoint=endpoint.slug, until=str(until), error=error.message)
    elif error.kind in (ErrorKind.QUOTA, ErrorKind.ENDPOINT):
        _note(endpoint, error, now)


def _note(endpoint: Endpoint, error: EngineError, now: datetime, **changes: Any) -> None:
    """Record the error as the endpoint's last one, with other changes of its status."""
    EndpointStatus.objects.get_or_create(endpoint=endpoint)
    EndpointStatus.objects.filter(endpoint=endpoint).update(
        last_error=error.message[:500], last_error_kind=error.kind, last_error_at=now, **changes
    )


def record_recovery(endpoint_id: int) -> bool:
    """Record that a resting endpoint answers again, so that its next job is submitted now. True if it was resting."""
    resting = EndpointStatus.objects.filter(pk=endpoint_id, breaker=Breaker.OPEN)
    return bool(resting.update(open_until=timezone.now()))


@transaction.atomic
def _learn(endpoint: Endpoint, *, submitted_at: datetime, resume_at: datetime, pause_seconds: float | None) -> None:
    status = EndpointStatus.objects.select_for_update().get(pk=endpoint.pk)
    taken = _count_accepted(endpoint, submitted_at)
    limits = rate_limits.LearntLimits(
        status.window, status.window_peak, status.window_cut_at, endpoint_limits.learnt_rates(status)
    )
    learned = limits.after_refusal(taken, submitted_at=submitted_at, resume_at=resume_at, pause_seconds=pause_seconds)
    status.window, status.window_peak, status.window_cut_at = learned.window, learned.peak, learned.cut_at
    status.rates = {name: rate.to_json() for name, rate in learned.rates.items()}
    status.save(update_fields=["window", "window_peak", "window_cut_at", "rates"])
    log.info("endpoint.refused", endpoint=endpoint.slug, taken=taken, window=learned.window, rates=status.rates)


def _count_accepted(endpoint: Endpoint, at: datetime) -> rate_limits.AcceptedSubmissions:
    """Return the submissions that the service had accepted at a time."""
    is_open = Q(answered_at=None) | Q(answered_at__gt=at), Q(ended_at=None) | Q(ended_at__gt=at)
    second, minute = timedelta(milliseconds=throttle.SECOND_MS), timedelta(milliseconds=throttle.MINUTE_MS)
    counts = Attempt.objects.filter(endpoint=endpoint, submitted_at__gt=at - LONGEST_OPEN).aggregate(
        open=Count("pk", filter=Q(*is_open, submitted_at__lte=at)),
        second=Count("pk", filter=Q(submitted_at__gt=at - second)),
        minute=Count("pk", filter=Q(submitted_at__gt=at - minute)),
        latest=Max("submitted_at", filter=Q(submitted_at__lte=at)),
    )
    latest = counts.pop("latest")
    idle_seconds = (at - latest).total_seconds() if latest else None
    return rate_limits.AcceptedSubmissions(**counts, idle_seconds=idle_seconds)


def _grow(endpoint: Endpoint, *, now: datetime) -> None:
    """Raise the learnt rates that are due for it and are used up to a share of IN_USE."""
    second, minute = endpoint_limits.count_recent_submissions(endpoint)
    used = {rate_limits.SECOND: second, rate_limits.MINUTE: minute}
    with transaction.atomic():
        status = EndpointStatus.objects.select_for_update().get(pk=endpoint.pk)
        for name, rate in endpoint_limits.learnt_rates(status).items():
            if rate.can_grow(now) and used[name] >= math.floor(rate.submissions) * IN_USE:
                status.rates[name] = rate.raised(now).to_json()
        status.save(update_fields=["rates"])
