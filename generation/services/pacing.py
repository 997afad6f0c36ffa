"""How an endpoint does, and so how much it is given: circuit breaker, pauses that it asked for, calls at once.

The limit of calls at once is the operator's, or found as TCP finds it: one more with each success, three tenths fewer
at a refusal, and slowly near the place of the last one. Rates are throttle.py's.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import structlog
from django.db import connection, transaction
from django.db.models import Count, Exists, F, OuterRef, Q, QuerySet
from django.utils import timezone

from generation.choices import Breaker, JobState, Lane
from generation.engines.base import EngineError, ErrorKind
from generation.models import Attempt, Endpoint, EndpointStanding, Job

log = structlog.get_logger(__name__)

FIRST_WINDOW = 4.0
MOST_AT_ONCE = 256
FAILURES_TO_OPEN = 5
FIRST_REST_SECONDS = 15.0
LONGEST_REST_SECONDS = 600.0
REFUSED_PAUSE_SECONDS = 1.0
"""How long an endpoint is left alone that asks to slow down and does not say for how long."""

# Growth only while the window is what limits. Before the first refusal one more per success doubles it per round trip.
_SUCCEEDED = """
INSERT INTO generation_endpointstanding AS s
    (endpoint_id, breaker, failures, trips, "window", last_error, last_error_kind, last_success_at)
VALUES (%(endpoint)s, 'closed', 0, 0, %(first)s, '', '', %(now)s)
ON CONFLICT (endpoint_id) DO UPDATE SET
    breaker = 'closed', failures = 0, trips = 0, open_until = NULL, told_at = NULL, last_success_at = %(now)s,
    "window" = least(%(most)s, CASE
        WHEN s."window" IS NULL THEN %(first)s
        WHEN %(in_use)s < s."window" * 0.75 THEN s."window"
        WHEN s.window_peak IS NULL THEN s."window" + 1
        WHEN s."window" < s.window_peak * 0.9 THEN s."window" + 1 / s."window"
        ELSE s."window" + 0.2 / s."window"
    END)
"""

# Calls that were under way together are refused together: the window is cut once for all of them.
_REFUSED = """
INSERT INTO generation_endpointstanding AS s
    (endpoint_id, breaker, failures, trips, "window", window_peak, window_cut_at, resume_at, last_error,
     last_error_kind, last_error_at)
VALUES (%(endpoint)s, 'closed', 0, 0, greatest(1, %(in_use)s * 0.7), %(in_use)s, %(now)s, %(resume)s, %(error)s,
        'rate', %(now)s)
ON CONFLICT (endpoint_id) DO UPDATE SET
    "window" = CASE WHEN s.window_cut_at > %(sent)s THEN s."window"
                    ELSE greatest(1, least(coalesce(s."window", %(in_use)s), %(in_use)s) * 0.7) END,
    window_peak = CASE WHEN s.window_cut_at > %(sent)s THEN s.window_peak
                       ELSE greatest(1, least(coalesce(s."window", %(in_use)s), %(in_use)s)) END,
    window_cut_at = CASE WHEN s.window_cut_at > %(sent)s THEN s.window_cut_at ELSE %(now)s END,
    resume_at = greatest(s.resume_at, %(resume)s),
    last_error = %(error)s, last_error_kind = 'rate', last_error_at = %(now)s
"""

# Where the limits are known, a refusal is two orders that came closer together than they were sent: no fewer at once.
_PAUSED = """
INSERT INTO generation_endpointstanding AS s
    (endpoint_id, breaker, failures, trips, resume_at, last_error, last_error_kind, last_error_at)
VALUES (%(endpoint)s, 'closed', 0, 0, %(resume)s, %(error)s, 'rate', %(now)s)
ON CONFLICT (endpoint_id) DO UPDATE SET
    resume_at = greatest(s.resume_at, %(resume)s),
    last_error = %(error)s, last_error_kind = 'rate', last_error_at = %(now)s
"""

_FAILED = """
INSERT INTO generation_endpointstanding AS s
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

_NOTED = """
INSERT INTO generation_endpointstanding AS s
    (endpoint_id, breaker, failures, trips, last_error, last_error_kind, last_error_at)
VALUES (%(endpoint)s, 'closed', 0, 0, %(error)s, %(kind)s, %(now)s)
ON CONFLICT (endpoint_id) DO UPDATE SET last_error = %(error)s, last_error_kind = %(kind)s, last_error_at = %(now)s
"""


@dataclass(frozen=True)
class Load:
    """One remote endpoint as the lane sees it. running: orders on their way to it;
    waiting: under way there. orders: how many more it may be given now; wait_seconds: until there may be more."""

    endpoint: Endpoint
    standing: EndpointStanding | None
    running: int
    waiting: int
    has_queued: bool
    orders: int
    wait_seconds: float

    @property
    def in_use(self) -> int:
        return self.running + self.waiting


def loads() -> list[Load]:
    """Every remote endpoint that is switched on. Two queries."""
    counted: dict[int, Any] = {
        row["endpoint_id"]: row
        for row in Job.objects.filter(lane=Lane.CLOUD, status__in=(JobState.RUNNING, JobState.WAITING))
        .values("endpoint_id")
        .annotate(
            running=Count("pk", filter=Q(status=JobState.RUNNING, remote_id="")),
            waiting=Count("pk", filter=Q(status=JobState.WAITING)),
        )
    }
    return [_load(endpoint, counted.get(endpoint.pk, {})) for endpoint in _remote()]


def _remote() -> QuerySet[Any]:
    queued = Job.objects.filter(endpoint=OuterRef("pk"), lane=Lane.CLOUD, status=JobState.QUEUED)
    claimable = queued.filter(Q(not_before=None) | Q(not_before__lte=timezone.now()))
    return (
        Endpoint.objects.filter(lane=Lane.CLOUD, is_enabled=True)
        .select_related("standing")
        .annotate(has_queued=Exists(claimable))
        .order_by("pk")
    )


def _load(endpoint: Endpoint, counted: dict[str, int]) -> Load:
    standing = getattr(endpoint, "standing", None)
    running, waiting = counted.get("running", 0), counted.get("waiting", 0)
    orders, wait = _room(endpoint, standing, running, waiting)
    return Load(endpoint, standing, running, waiting, bool(getattr(endpoint, "has_queued", True)), orders, wait)


def _room(endpoint: Endpoint, standing: EndpointStanding | None, running: int, waiting: int) -> tuple[int, float]:
    """(orders that may be given now, seconds until it is worth looking again)."""
    now = timezone.now()
    if standing is not None and (pause := _pause(standing, now)) > 0:
        return 0, pause
    if standing is not None and standing.breaker != Breaker.CLOSED:
        return max(0, 1 - running), 0.5
    return max(0, at_once(endpoint, standing) - running - waiting), 0.5


def _pause(standing: EndpointStanding, now: datetime) -> float:
    moments = [standing.resume_at]
    if standing.breaker == Breaker.OPEN:
        moments.append(standing.open_until)
    return max(((moment - now).total_seconds() for moment in moments if moment), default=0.0)


def at_once(endpoint: Endpoint, standing: EndpointStanding | None) -> int:
    """How many orders the endpoint may have at the same time."""
    found = standing.window if standing is not None else None
    limit = endpoint.max_concurrent
    if found is None:
        return limit or int(FIRST_WINDOW)
    return max(1, min(int(found), limit or MOST_AT_ONCE))


def unsent(endpoint_id: int) -> int:
    """Jobs that are claimed and whose order has not gone out yet."""
    jobs = Job.objects.filter(endpoint_id=endpoint_id, lane=Lane.CLOUD, status=JobState.RUNNING, remote_id="")
    return Attempt.objects.filter(job__in=jobs, number=F("job__attempts"), sent_at=None).count()


@transaction.atomic
def room(endpoint_id: int) -> Load:
    """The endpoint's load, counted alone: until the transaction ends nobody else counts it or claims for it.

    Call it inside the transaction that claims. A breaker whose rest is over is half open from here on.
    """
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(hashtextextended('proofline.endpoint', %s))", [endpoint_id])
    endpoint = Endpoint.objects.select_related("standing").get(pk=endpoint_id)
    jobs = Job.objects.filter(endpoint_id=endpoint_id, lane=Lane.CLOUD)
    counted = {
        "running": jobs.filter(status=JobState.RUNNING, remote_id="").count(),
        "waiting": jobs.filter(status=JobState.WAITING).count(),
    }
    load = _load(endpoint, counted)
    if load.standing and load.standing.breaker == Breaker.OPEN and load.orders:
        EndpointStanding.objects.filter(pk=endpoint_id, breaker=Breaker.OPEN).update(breaker=Breaker.HALF_OPEN)
    return load


def succeeded(endpoint: Endpoint, *, in_use: int) -> None:
    """The service took an order. in_use: how many it had with this one."""
    first = None if endpoint.max_concurrent else FIRST_WINDOW
    values = {"endpoint": endpoint.pk, "in_use": in_use, "first": first, "now": timezone.now()}
    _execute(_SUCCEEDED, {**values, "most": endpoint.max_concurrent or MOST_AT_ONCE})


def failed(endpoint: Endpoint, error: EngineError, *, in_use: int = 1, sent_at: datetime | None = None) -> None:
    """The service refused an order or did not answer. What concerns a single picture does not count against it."""
    now = timezone.now()
    values: dict[str, Any] = {"endpoint": endpoint.pk, "error": error.message[:500], "kind": error.kind, "now": now}
    if error.kind == ErrorKind.RATE:
        pause = REFUSED_PAUSE_SECONDS if error.retry_after_seconds is None else error.retry_after_seconds
        values |= {"in_use": max(1, in_use), "resume": now + timedelta(seconds=pause), "sent": sent_at or now}
        knows = endpoint.max_concurrent and (endpoint.max_per_second or endpoint.max_per_minute)
        _execute(_PAUSED if knows else _REFUSED, values)
    elif error.kind in (ErrorKind.TRANSIENT, ErrorKind.DOUBT):
        values |= {"to_open": FAILURES_TO_OPEN, "first": FIRST_REST_SECONDS, "longest": LONGEST_REST_SECONDS}
        breaker, until, failures = _execute(_FAILED, values)[0]
        if breaker == Breaker.OPEN and failures >= FAILURES_TO_OPEN:
            log.warning("endpoint.resting", endpoint=endpoint.slug, until=str(until), error=error.message)
    elif error.kind == ErrorKind.QUOTA:
        _execute(_NOTED, values)


def _execute(statement: str, values: dict[str, Any]) -> list[tuple[Any, ...]]:
    with connection.cursor() as cursor:
        cursor.execute(statement, values)
        return cursor.fetchall() if cursor.description else []
