"""Estimates of the time and the cost of a run, from the endpoint's recent attempts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal

from core import sql
from generation import prices
from generation.choices import AttemptOutcome, JobState
from generation.engines.base import Quote, Spec
from generation.models import Attempt, Endpoint, Job
from generation.selectors import endpoints
from generation.services.planning import plan_requests

LATEST = 400
"""Number of an endpoint's latest images that an estimate uses."""
MIN_IMAGES_OF_ONE_SIZE = 8
USAGES = 50
MAX_WAITING = 100_000

# The time of an image is the time of its batch divided by the number of images. A batch lasts from the end of the
# worker's previous batch (or from its claim, if the worker was idle) to its own end. The length of an attempt cannot be
# used, because jobs are claimed ahead and time would count twice. Rows: (batch key or null for all, images, [p10, p90]
# seconds, [p10, p90] paid/quoted). By hand, because the ORM has neither percentiles nor GROUPING SETS.
_HISTORY = """
WITH latest AS (
    SELECT a.job_id, a.worker, a.lease_token, a.started_at, a.ended_at, j.batch_key
    FROM generation_attempt a JOIN generation_job j ON j.id = a.job_id
    WHERE a.endpoint_id = %(endpoint)s AND a.outcome = 'succeeded' AND NOT a.details ? 'reused_master'
    ORDER BY a.id DESC LIMIT %(latest)s
), batch AS (
    SELECT worker, batch_key, count(*) AS images, min(started_at) AS started_at, max(ended_at) AS ended_at
    FROM latest GROUP BY worker, batch_key, lease_token
), paced AS (
    SELECT batch_key, images, extract(epoch FROM ended_at - greatest(
        started_at, lag(ended_at) OVER (PARTITION BY worker ORDER BY ended_at)
    ))::float / images AS seconds
    FROM batch
), paid AS (
    SELECT l.batch_key, (e.amount / nullif(f.quoted_cost, 0))::float AS share
    FROM latest l JOIN generation_jobspec f ON f.job_id = l.job_id
    JOIN generation_ledgerentry e ON e.job_id = l.job_id AND e.kind = 'settle'
), pace AS (
    SELECT batch_key, sum(images)::int AS images,
           percentile_cont(ARRAY[0.1, 0.9]) WITHIN GROUP (ORDER BY seconds) AS seconds
    FROM paced GROUP BY GROUPING SETS ((batch_key), ())
), price AS (
    SELECT batch_key, percentile_cont(ARRAY[0.1, 0.9]) WITHIN GROUP (ORDER BY share) AS shares
    FROM paid WHERE share IS NOT NULL GROUP BY GROUPING SETS ((batch_key), ())
)
SELECT pace.batch_key, pace.images, pace.seconds, price.shares
FROM pace LEFT JOIN price ON price.batch_key IS NOT DISTINCT FROM pace.batch_key
"""


@dataclass
class Work:
    """The number of images that are to be made, with their quoted cost and lane seconds."""

    images: int = 0
    cost: Decimal = Decimal(0)
    seconds: float = 0.0

    def add(self, images: int, cost: Decimal, seconds: float) -> None:
        """Add images; cost and seconds are those of one."""
        self.images += images
        self.cost += cost * images
        self.seconds += seconds * images


@dataclass(frozen=True)
class Interval:
    """The range of time and cost in which eight of ten recent images lay; all are None without history.

    measured: the number of images it is based on. workers: those alive now, at least 1. ahead: images queued for this
    endpoint before this run; `seconds_high` waits for them all, `seconds_low` for none.
    """

    seconds_low: float | None
    seconds_high: float | None
    cost_low: Decimal | None
    cost_high: Decimal | None
    measured: int
    workers: int
    ahead: int


@dataclass(frozen=True)
class Price:
    """The price of one image. is_about: the service reports it only afterwards; 0 then means that it is unknown."""

    money: Decimal
    is_about: bool


def estimate_interval(endpoint: Endpoint, works: Mapping[str, Work]) -> Interval:
    """Return how long the works (by batch key) will take and what they will cost. Three queries.

    Uses the history of the same batch key if it has MIN_IMAGES_OF_ONE_SIZE images, else the history of all sizes.
    """
    workers = max(1, endpoints.live_workers(endpoint.lane))
    ahead = Job.objects.filter(endpoint=endpoint, status=JobState.QUEUED)[:MAX_WAITING].count()
    rows = sql.rows(_HISTORY, {"endpoint": endpoint.pk, "latest": LATEST})
    history = {row.batch_key: row for row in rows if row.images}
    if (overall := history.get(None)) is None:
        return Interval(None, None, None, None, 0, workers, ahead)
    low, high, cost_low, cost_high, rests_on = 0.0, 0.0, Decimal(0), Decimal(0), 0
    for batch_key, work in works.items():
        own_pace = history.get(batch_key)
        pace = own_pace if own_pace and own_pace.images >= MIN_IMAGES_OF_ONE_SIZE else overall
        rests_on = max(rests_on, pace.images)
        low += work.images * pace.seconds[0]
        high += work.images * pace.seconds[1]
        shares = pace.shares or (1.0, 1.0)
        cost_low += work.cost * Decimal(str(min(1.0, shares[0])))
        cost_high += work.cost * Decimal(str(max(1.0, shares[1])))
    high += ahead * overall.seconds[1]
    return Interval(low / workers, high / workers, cost_low, cost_high, rests_on or overall.images, workers, ahead)


def quote(endpoint: Endpoint, named: Quote) -> tuple[Decimal, float]:
    """Return (money, lane seconds) of one image: by the endpoint's prices and times, else by the quote of its engine.

    For prices per unit of usage, the usage is that of recent images; before the first image it is the engine's
    estimate. So a budget reserves about what the image will cost.
    """
    seconds = endpoint.seconds_per_image or named.seconds
    money = endpoint.price_per_image or Decimal(str(named.cost))
    if endpoint.prices:
        latest = Attempt.objects.filter(endpoint=endpoint, outcome=AttemptOutcome.SUCCEEDED, details__has_key="usage")
        measured = prices.mean_usage(list(latest.order_by("-pk").values_list("details__usage", flat=True)[:USAGES]))
        money += prices.cost(endpoint.prices, {"images": 1, "seconds": max(seconds, 0), **named.usage, **measured})
    return Decimal(money).quantize(Decimal("0.000001")), float(seconds)


def estimate_price(endpoint: Endpoint, *, width: int, height: int) -> Price:
    """Return the price of one image of this size. Raises Invalid if the endpoint cannot be used."""
    money, _seconds = quote(endpoint, plan_requests.open_engine(endpoint).quote(Spec("", width, height, seed=0)))
    return Price(money, bool(set(endpoint.prices) - {"image"}))
