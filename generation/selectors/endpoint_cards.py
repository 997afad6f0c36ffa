"""Endpoints as people see them: how each does, what it is allowed, what it made and what that cost.

Counts, money and errors are of one brand; how many calls are open at a shared endpoint is of all, because that is what
its limits are measured by.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any, Final

from django.db import connection
from django.db.models import Q, QuerySet
from django.utils import timezone

from core import clock
from core.choices import Lane
from core.errors import NotFound
from core.models import Brand, User
from generation import prices
from generation.choices import Breaker
from generation.engines.base import ErrorKind
from generation.models import Endpoint, EndpointStanding
from generation.selectors import endpoint_limits, lanes

COUNTED: Final = 10_000
#: Fewer attempts than this say nothing about an endpoint.
TELLING: Final = 3

ENGINES: Final = {
    "comfyui": "ComfyUI",
    "diffusers": "diffusers on our own machines",
    "openai": "OpenAI’s images API, or one like it",
    "packshot": "Packshot studio, no model",
    "replicate": "Replicate, or a Cog server",
}
#: What concerns one picture and says nothing about the endpoint.
OF_ONE_PICTURE: Final = frozenset({ErrorKind.MODERATION, ErrorKind.INPUT, ErrorKind.CANCELLED})

# The attempts of a day, found by their start (attempt_started) before anything is joined to them. Rows: (endpoint,
# outcome, kind, attempts, of them today, seconds): the engine's own, from order to end where it does not say.
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

_MONEY = """
SELECT j.endpoint_id, coalesce(sum(l.amount) FILTER (WHERE l.at >= %(today)s), 0), sum(l.amount)
FROM generation_ledgerentry l JOIN generation_job j ON j.id = l.job_id
JOIN campaigns_campaign c ON c.id = l.campaign_id
WHERE c.brand_id = %(brand)s AND l.kind IN ('settle', 'doubt') AND l.at >= %(month)s
GROUP BY j.endpoint_id
"""

# Two conditions and not IN: each is answered by the partial index that dispatch has for it. What a service has made and
# a worker brings home is not open there any more.
_OPEN = """
SELECT endpoint_id, 'running', count(*) FROM generation_job
WHERE status = 'running' AND endpoint_id = ANY(%(endpoints)s) AND (remote_id = '' OR lane <> 'cloud')
GROUP BY endpoint_id
UNION ALL
SELECT endpoint_id, 'waiting', count(*) FROM generation_job
WHERE status = 'waiting' AND endpoint_id = ANY(%(endpoints)s) GROUP BY endpoint_id
"""

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

# What is held stands in few runs; a run that is over holds nothing.
_HELD = """
SELECT j.endpoint_id, j.hold_reason, count(*)
FROM generation_run r JOIN campaigns_campaign c ON c.id = r.campaign_id
JOIN generation_job j ON j.run_id = r.id AND j.status = 'held'
WHERE c.brand_id = %(brand)s AND r.state IN ('running', 'paused') AND j.hold_reason IN ('quota', 'in_doubt')
GROUP BY j.endpoint_id, j.hold_reason
"""

_EVER = """
SELECT e.id FROM generation_endpoint e WHERE e.id = ANY(%(endpoints)s) AND EXISTS (
    SELECT 1 FROM generation_attempt a WHERE a.endpoint_id = e.id AND a.outcome = 'succeeded'
)
"""


@dataclass(frozen=True)
class Health:
    """The health of an endpoint: a tone for its shape, a word, a sentence. is_in_trouble: trying again by hand may
    help."""

    tone: str
    word: str
    sentence: str
    is_in_trouble: bool = False


@dataclass
class Figures:
    """One endpoint in numbers. running, waiting: orders under way there, of all brands; queued (at most COUNTED + 1),
    held, doubtful: this brand's. made, failed and by_kind: of the last 24 hours; seconds: mean of those made."""

    running: int = 0
    waiting: int = 0
    queued: int = 0
    held: int = 0
    doubtful: int = 0
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

    @property
    def slowed(self) -> int:
        return self.by_kind.get(ErrorKind.RATE, 0)

    @property
    def refused(self) -> int:
        return self.by_kind.get(ErrorKind.MODERATION, 0)


@dataclass(frozen=True)
class Card:
    """One endpoint with everything that its card says. workers: alive on its lane. allowed: what it may be given, a
    short sentence each."""

    endpoint: Endpoint
    standing: EndpointStanding | None
    figures: Figures
    health: Health
    workers: int
    allowed: Sequence[str]

    @property
    def engine_words(self) -> str:
        return ENGINES.get(self.endpoint.engine, self.endpoint.engine)

    @property
    def model(self) -> str:
        """The name of the model or the workflow; "" where there is none."""
        config = self.endpoint.config if isinstance(self.endpoint.config, dict) else {}
        for name in ("workflow_name", "model", "deployment", "version"):
            if config.get(name):
                text = str(config[name])
                return text.rstrip("/").rpartition("/")[2] if text.startswith(("/", ".", "~")) else text
        return ""

    @property
    def price_words(self) -> str:
        told = prices.in_words(self.endpoint.prices) if not prices.problems(self.endpoint.prices) else ""
        fixed = self.endpoint.price_per_image
        return told or (f"{fixed.normalize():f} per image" if fixed else "")


def visible(brand: Brand, user: User) -> QuerySet[Any]:
    """The endpoints that serve the brand, also those that are switched off; by name, with their standing."""
    rows = Endpoint.objects.shared_or_visible_to(user).filter(Q(brand=None) | Q(brand=brand))
    return rows.select_related("brand", "standing").order_by("-is_enabled", "name", "pk")


def get(brand: Brand, user: User, slug: str) -> Endpoint:
    """Raises NotFound, also for what belongs to another brand."""
    found: Endpoint | None = visible(brand, user).filter(slug=slug).first()
    if found is None:
        raise NotFound(f"There is no endpoint {slug!r} for {brand.name}.")
    return found


def cards(brand: Brand, endpoints: Sequence[Endpoint]) -> list[Card]:
    """The endpoints as cards; seven queries and one per lane."""
    found = figures(brand, endpoints)
    alive = {lane: lanes.live_workers(lane) for lane in {one.lane for one in endpoints}}
    return [_card(one, found[one.pk], alive[one.lane]) for one in endpoints]


def _card(endpoint: Endpoint, numbers: Figures, workers: int) -> Card:
    standing = getattr(endpoint, "standing", None)
    health = health_of(endpoint, standing, numbers, workers=workers)
    return Card(endpoint, standing, numbers, health, workers, allowed(endpoint, standing, numbers, workers=workers))


def figures(brand: Brand, endpoints: Sequence[Endpoint], *, with_day: bool = True) -> dict[int, Figures]:
    """Endpoint id -> its numbers; six queries, or four without what was made and paid, for a page that looks often."""
    now = timezone.localtime(clock.now())
    today = now.replace(hour=0, minute=0, second=0, microsecond=0)
    values = {
        "brand": brand.pk,
        "endpoints": [one.pk for one in endpoints],
        "today": today,
        "month": today.replace(day=1),
        "since": now - timedelta(hours=24),
        "most": COUNTED + 1,
    }
    found = {one.pk: Figures() for one in endpoints}
    if with_day:
        _add_day(found, values)
    for pk, status, count in _rows(_OPEN, values):
        setattr(found[pk], status, count)
    for pk, count in _rows(_QUEUED, values):
        found[pk].queued = count
    for pk, reason, count in _rows(_HELD, values):
        if pk in found:
            setattr(found[pk], "held" if reason == "quota" else "doubtful", count)
    for (pk,) in _rows(_EVER, values):
        found[pk].was_ever_used = True
    return found


def _add_day(found: Mapping[int, Figures], values: Mapping[str, Any]) -> None:
    """Put in what was made, what failed and what was paid."""
    for pk, outcome, kind, count, count_today, seconds in _rows(_DAY, values):
        numbers = found[pk]
        if outcome == "succeeded":
            numbers.made += count
            numbers.made_today += count_today
            numbers.busy_seconds += seconds
            continue
        numbers.by_kind[kind] = numbers.by_kind.get(kind, 0) + count
        if kind not in OF_ONE_PICTURE and kind != ErrorKind.RATE:
            numbers.failed += count
    for pk, spent_today, spent_month in _rows(_MONEY, values):
        if pk in found:
            found[pk].money_today, found[pk].money_month = spent_today, spent_month


def health_of(endpoint: Endpoint, standing: EndpointStanding | None, numbers: Figures, *, workers: int) -> Health:
    """Return what its shape and word are, and why."""
    if not endpoint.is_enabled:
        return Health("", "switched off", "It is offered to nobody. What waits for it stays where it is.")
    if not workers:
        start = f"manage.py worker {endpoint.lane}"
        return Health("bad", "no worker", f"Nobody serves the lane {endpoint.lane} now; the operator starts “{start}”.")
    if standing is not None and (trouble := _trouble(standing, timezone.now())):
        return trouble
    if numbers.held:
        return _empty()
    if numbers.failed >= TELLING and not numbers.made:
        words = f"None of its last {numbers.failed} attempts succeeded; the newest reasons stand below."
        return Health("bad", "failing", words, True)
    if not numbers.was_ever_used and (standing is None or standing.last_success_at is None):
        return Health("", "never asked", "Nothing has been made with it yet.")
    return Health("good", "working", "")


def _trouble(standing: EndpointStanding, now: datetime) -> Health | None:
    """Return what stands between the endpoint and its next order, if anything."""
    asked, succeeded = standing.last_error_at, standing.last_success_at
    is_newest = succeeded is None or (asked is not None and asked > succeeded)
    if standing.last_error_kind == ErrorKind.QUOTA and is_newest:
        return _empty()
    if standing.last_error_kind == ErrorKind.ENDPOINT and is_newest:
        return Health("bad", "to be mended", standing.last_error, True)
    if standing.breaker == Breaker.OPEN and standing.open_until and standing.open_until > now:
        left = _length((standing.open_until - now).total_seconds())
        return Health(
            "bad",
            "resting",
            f"After {standing.failures} failures in a row it rests; it is tried again in {left}.",
            True,
        )
    if standing.breaker != Breaker.CLOSED:
        return Health("info", "being tried", "After failures it gets one order; if that goes well, all goes on.", True)
    if standing.resume_at and standing.resume_at > now:
        until = timezone.localtime(standing.resume_at)
        return Health("warn", "slowed down", f"The service asked for patience until {until:%H:%M:%S}.", True)
    return None


def _empty() -> Health:
    return Health(
        "bad",
        "account empty",
        "The account is used up, or the service refuses the key. What is meant for it waits: fill the account or enter "
        "another key, then try again.",
        True,
    )


def allowed(endpoint: Endpoint, standing: EndpointStanding | None, numbers: Figures, *, workers: int = 0) -> list[str]:
    """Return what it may be given, a short sentence each."""
    if endpoint.lane != Lane.CLOUD:
        go = "1 picture" if endpoint.batch_size == 1 else f"{endpoint.batch_size} pictures"
        return [f"{go} in one go", f"{workers} worker{'' if workers == 1 else 's'}"]
    at_once = endpoint_limits.at_once(endpoint, standing, numbers.in_use)
    allowed = [f"{numbers.in_use} of {at_once} at once{_comma(found_note(at_once, endpoint.most_at_once))}"]
    for limit, known, unit in (
        (endpoint_limits.per_second(endpoint), endpoint.max_per_second, "second"),
        (endpoint_limits.per_minute(endpoint), endpoint.max_per_minute, "minute"),
    ):
        if limit:
            allowed.append(f"{limit:.3g} a {unit}{_comma(found_note(limit, known))}")
    return allowed


def found_note(limit: float, known: float | None) -> str:
    """Return what is said behind a limit that holds and is not the one that an operator has set (`known`)."""
    return "" if limit == known else "limit found by itself"


def _comma(note: str) -> str:
    return f", {note}" if note else ""


def _length(seconds: float) -> str:
    whole = max(1, round(seconds))
    return f"{whole} s" if whole < 90 else f"{round(whole / 60)} min"


def _rows(statement: str, values: Mapping[str, Any]) -> list[tuple[Any, ...]]:
    with connection.cursor() as cursor:
        cursor.execute(statement, values)
        return cursor.fetchall()
