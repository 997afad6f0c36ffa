"""Endpoints as people see them: the health, the limits, the images and the cost of each.

Counts, money and errors are those of one brand. Open calls at a shared endpoint are counted over all brands, because
its limits apply to all of them together.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any, Final

from django.db.models import Count, Exists, OuterRef, Q, QuerySet, Sum
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from core import clock, sql
from core.choices import Lane
from core.models import Brand, User
from core.selectors.rows import first_or_refuse
from generation import prices
from generation.choices import AttemptOutcome, Breaker, HoldReason, JobState, LedgerKind, RunState
from generation.engines.base import ErrorKind
from generation.models import Attempt, Endpoint, EndpointStatus, Job, LedgerEntry
from generation.selectors import endpoint_limits
from generation.selectors.endpoints import live_workers_by_lane

MAX_COUNTED: Final = 10_000
#: Fewer attempts than this say nothing about an endpoint.
MIN_ATTEMPTS: Final = 3

#: Errors that concern one image and say nothing about the endpoint.
OF_ONE_IMAGE: Final = frozenset({ErrorKind.MODERATION, ErrorKind.INPUT, ErrorKind.CANCELLED})

# The attempts of a day, found by their start (index attempt_started) before anything is joined to them, which the ORM
# cannot demand. Rows:
# (endpoint, outcome, kind, attempts, attempts today, seconds). The seconds are the engine's own, or those from start to
# end where the engine reports none.
_DAY = """
WITH a AS MATERIALIZED (
    SELECT endpoint_id, outcome, error_kind, ended_at, job_id,
           coalesce(nullif((details->>'seconds')::float, 0), extract(epoch FROM ended_at - started_at)) AS seconds
    FROM generation_attempt
    WHERE started_at >= %(since)s AND endpoint_id = ANY(%(endpoints)s)
      AND outcome IN ('succeeded', 'failed', 'lost') AND NOT details ? 'reused_master'
)
SELECT a.endpoint_id, a.outcome, a.error_kind, count(*), count(*) FILTER (WHERE a.ended_at >= %(today)s),
       coalesce(sum(a.seconds), 0)::float
FROM a JOIN generation_job j ON j.id = a.job_id JOIN campaigns_campaign c ON c.id = j.campaign_id
WHERE c.brand_id = %(brand)s
GROUP BY a.endpoint_id, a.outcome, a.error_kind
"""

# By hand, because the ORM counts no limited rows in a subquery, and a lane may have a million queued jobs.
_QUEUED = """
SELECT e.id, (
    SELECT count(*) FROM (
        SELECT 1 FROM generation_job j
        WHERE j.lane = e.lane AND j.status = 'queued' AND j.endpoint_id = e.id
          AND j.campaign_id IN (SELECT id FROM campaigns_campaign WHERE brand_id = %(brand)s)
        LIMIT %(most)s
    ) queued
) FROM generation_endpoint e WHERE e.id = ANY(%(endpoints)s)
"""


@dataclass(frozen=True)
class Health:
    """The health of an endpoint: a tone for its icon, a word, a sentence. is_in_trouble: a manual retry may help."""

    tone: str
    word: str
    sentence: str
    is_in_trouble: bool = False


@dataclass
class Figures:
    """One endpoint in numbers.

    running, waiting: open submissions of all brands. queued (at most MAX_COUNTED + 1), held, uncertain: jobs of this
    brand. made, failed, by_kind: attempts of the last 24 hours. seconds: mean duration of the successful ones.
    """

    running: int = 0
    waiting: int = 0
    queued: int = 0
    held: int = 0
    uncertain: int = 0
    made_today: int = 0
    made: int = 0
    failed: int = 0
    by_kind: dict[str, int] = field(default_factory=dict)
    busy_seconds: float = 0.0
    money_today: Decimal = Decimal(0)
    money_month: Decimal = Decimal(0)
    was_ever_used: bool = False

    @property
    def in_use(self) -> int:
        return self.running + self.waiting

    @property
    def seconds(self) -> float | None:
        return self.busy_seconds / self.made if self.made else None

    @property
    def sample(self) -> int:
        return self.made + self.failed

    @property
    def error_percent(self) -> float:
        return 100 * self.failed / self.sample if self.sample else 0.0


@dataclass(frozen=True)
class Card:
    """One endpoint as its card shows it. workers: live workers of its lane. limits: a short sentence each."""

    endpoint: Endpoint
    figures: Figures
    health: Health
    workers: int
    limits: Sequence[str]

    @property
    def engine_words(self) -> str:
        return _(self.endpoint.plugin.label)

    @property
    def model(self) -> str:
        """Return the name of the model or the workflow; "" where there is none."""
        config = self.endpoint.config if isinstance(self.endpoint.config, dict) else {}
        names = (config.get(name) for name in ("workflow_name", "model", "deployment", "version"))
        text = str(next(filter(None, names), ""))
        return text.rstrip("/").rpartition("/")[2] if text.startswith(("/", ".", "~")) else text

    @property
    def price_words(self) -> str:
        table = {} if prices.find_problems(self.endpoint.prices) else self.endpoint.prices
        return prices.describe(table) or prices.describe({"image": self.endpoint.price_per_image})


def visible(brand: Brand, user: User) -> QuerySet[Any]:
    """Return the endpoints that serve the brand, enabled ones first, then by name, with their `status`."""
    rows = Endpoint.objects.shared_or_visible_to(user).filter(Q(brand=None) | Q(brand=brand))
    return rows.select_related("brand", "status").order_by("-is_enabled", "name", "pk")


def get(brand: Brand, user: User, slug: str) -> Endpoint:
    """Return an endpoint by its slug. Raises NotFound, also for an endpoint of another brand."""
    sentence = _("There is no endpoint %(slug)r for %(brand)s.") % {"slug": slug, "brand": brand.name}
    endpoint: Endpoint = first_or_refuse(visible(brand, user).filter(slug=slug), sentence)
    return endpoint


def cards(brand: Brand, endpoints: Sequence[Endpoint]) -> list[Card]:
    """Return the endpoints as cards; seven queries and one per lane."""
    numbers = figures(brand, endpoints)
    alive = live_workers_by_lane(endpoints)
    listed = []
    for endpoint in endpoints:
        own, workers = numbers[endpoint.pk], alive[endpoint.lane]
        health = assess_health(endpoint, own, workers=workers)
        listed.append(Card(endpoint, own, health, workers, _describe_limits(endpoint, own, workers)))
    return listed


def figures(brand: Brand, endpoints: Sequence[Endpoint], *, with_day: bool = True) -> dict[int, Figures]:
    """Return the figures by endpoint id. Six queries, or four without the day's images and money."""
    now = timezone.localtime(clock.now())
    today = now.replace(hour=0, minute=0, second=0, microsecond=0)
    values = {
        "brand": brand.pk,
        "endpoints": [endpoint.pk for endpoint in endpoints],
        "today": today,
        "month": today.replace(day=1),
        "since": now - timedelta(hours=24),
        "most": MAX_COUNTED + 1,
    }
    by_endpoint = {endpoint.pk: Figures() for endpoint in endpoints}
    if with_day:
        _add_day(by_endpoint, values)
    for pk, status, count in _open_jobs(list(by_endpoint)):
        setattr(by_endpoint[pk], status, count)
    for pk, count in sql.rows(_QUEUED, values):
        by_endpoint[pk].queued = count
    # Few runs have held jobs, and a finished run has none.
    held = Job.objects.filter(status=JobState.HELD, hold_reason__in=(HoldReason.QUOTA, HoldReason.UNCERTAIN))
    held = held.filter(run__campaign__brand=brand, run__state__in=(RunState.RUNNING, RunState.PAUSED)).order_by()
    for pk, reason, count in held.values_list("endpoint", "hold_reason").annotate(count=Count("pk")):
        if pk in by_endpoint:
            setattr(by_endpoint[pk], "held" if reason == HoldReason.QUOTA else "uncertain", count)
    successes = Attempt.objects.filter(endpoint=OuterRef("pk"), outcome=AttemptOutcome.SUCCEEDED)
    for pk in Endpoint.objects.filter(Exists(successes), pk__in=by_endpoint).values_list("pk", flat=True):
        by_endpoint[pk].was_ever_used = True
    return by_endpoint


def _open_jobs(endpoint_ids: Sequence[int]) -> QuerySet[Any, Any]:
    """Return (endpoint id, "running" or "waiting", jobs). Two parts instead of IN: each uses the partial index that
    dispatch has for it. A job whose finished image is being fetched is no longer open at the service."""
    jobs = Job.objects.filter(endpoint__in=endpoint_ids).order_by().values_list("endpoint", "status")
    running = jobs.filter(~Q(lane=Lane.CLOUD) | Q(remote_id=""), status=JobState.RUNNING)
    waiting = jobs.filter(status=JobState.WAITING)
    return running.annotate(count=Count("pk")).union(waiting.annotate(count=Count("pk")), all=True)


def _add_day(by_endpoint: Mapping[int, Figures], values: Mapping[str, Any]) -> None:
    """Add the successful attempts, the failures and the money to the figures."""
    for pk, outcome, kind, count, count_today, seconds in sql.rows(_DAY, values):
        numbers = by_endpoint[pk]
        if outcome == "succeeded":
            numbers.made += count
            numbers.made_today += count_today
            numbers.busy_seconds += seconds
            continue
        numbers.by_kind[kind] = numbers.by_kind.get(kind, 0) + count
        if kind not in OF_ONE_IMAGE and kind != ErrorKind.RATE:
            numbers.failed += count
    spent = LedgerEntry.objects.filter(kind__in=(LedgerKind.SETTLE, LedgerKind.UNCERTAIN), at__gte=values["month"])
    of_brand = spent.filter(campaign__brand=values["brand"], job__endpoint__in=by_endpoint).order_by()
    sums = of_brand.values_list("job__endpoint").annotate(
        today=Sum("amount", filter=Q(at__gte=values["today"]), default=0), month=Sum("amount")
    )
    for pk, spent_today, spent_month in sums:
        by_endpoint[pk].money_today, by_endpoint[pk].money_month = spent_today, spent_month


def assess_health(endpoint: Endpoint, numbers: Figures, *, workers: int) -> Health:
    status: EndpointStatus | None = getattr(endpoint, "status", None)
    if not endpoint.is_enabled:
        return Health("", _("switched off"), _("It is offered to nobody. What waits for it stays where it is."))
    if not workers:
        sentence = _("Nobody serves the lane %(lane)s now; the operator starts “manage.py worker %(lane)s”.")
        return Health("bad", _("no worker"), sentence % {"lane": endpoint.lane})
    if status is not None and (trouble := _trouble(status, timezone.now())):
        return trouble
    if numbers.held:
        return _empty()
    if numbers.failed >= MIN_ATTEMPTS and not numbers.made:
        sentence = _("None of its last %(n)d attempts succeeded; the newest reasons stand below.")
        return Health("bad", _("failing"), sentence % {"n": numbers.failed}, True)
    if not numbers.was_ever_used and (status is None or status.last_success_at is None):
        return Health("", _("never asked"), _("Nothing has been made with it yet."))
    return Health("good", _("working"), "")


def _trouble(status: EndpointStatus, now: datetime) -> Health | None:
    """Return the health that keeps the endpoint from its next submission, None if nothing does."""
    failed_at, succeeded_at = status.last_error_at, status.last_success_at
    is_newest = succeeded_at is None or (failed_at is not None and failed_at > succeeded_at)
    if status.last_error_kind == ErrorKind.QUOTA and is_newest:
        return _empty()
    if status.last_error_kind == ErrorKind.ENDPOINT and is_newest:
        return Health("bad", _("to be mended"), status.last_error, True)
    if status.breaker == Breaker.OPEN and status.open_until and status.open_until > now:
        sentence = _("After %(n)d failures in a row it rests; it is tried again in %(time)s.")
        remaining = _length((status.open_until - now).total_seconds())
        return Health("bad", _("resting"), sentence % {"n": status.failures, "time": remaining}, True)
    if status.breaker != Breaker.CLOSED:
        sentence = _("After failures it gets one submission; if that goes well, all goes on.")
        return Health("info", _("being tried"), sentence, True)
    if status.resume_at and status.resume_at > now:
        sentence = _("The service asked to slow down until %(time)s.")
        until = f"{timezone.localtime(status.resume_at):%H:%M:%S}"
        return Health("warn", _("slowed down"), sentence % {"time": until}, True)
    return None


def _empty() -> Health:
    sentence = _(
        "The account is used up, or the service refuses the key. What is meant for it waits: fill the account or enter "
        "another key, then try again."
    )
    return Health("bad", _("account empty"), sentence, True)


def _describe_limits(endpoint: Endpoint, numbers: Figures, workers: int) -> list[str]:
    if endpoint.lane != Lane.CLOUD:
        size = endpoint.batch_size
        return [
            ngettext("%(n)d image per batch", "%(n)d images per batch", size) % {"n": size},
            ngettext("%(n)d worker", "%(n)d workers", workers) % {"n": workers},
        ]
    texts = (_("%(used)d of %(limit)d at once"), _("%(limit).3g a second"), _("%(limit).3g a minute"))
    return [
        ", ".join(filter(None, [text % {"used": numbers.in_use, "limit": limit}, note]))
        for text, (limit, note) in zip(texts, current_limits(endpoint, numbers), strict=True)
        if limit
    ]


def current_limits(endpoint: Endpoint, numbers: Figures) -> list[tuple[float | None, str]]:
    """Return the limits of submissions at once, per second and per minute, each with a note unless an operator has set
    it; None where none is known."""
    at_once = endpoint_limits.concurrency_limit(endpoint, getattr(endpoint, "status", None), numbers.in_use)
    limits = (
        (at_once, endpoint.most_at_once),
        (endpoint_limits.per_second(endpoint), endpoint.max_per_second),
        (endpoint_limits.per_minute(endpoint), endpoint.max_per_minute),
    )
    return [(limit, "" if limit in (None, own_limit) else _("limit found by itself")) for limit, own_limit in limits]


def _length(seconds: float) -> str:
    rounded = max(1, round(seconds))
    return _("%(n)d s") % {"n": rounded} if rounded < 90 else _("%(n)d min") % {"n": round(rounded / 60)}
