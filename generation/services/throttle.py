"""How fast an endpoint may be asked: its orders per second and per minute, counted in Redis for all workers together.

A sliding log of the latest orders (pyrate-limiter), by Redis's own clock. The windows are a little longer than the
service's, because two orders sent apart may arrive closer together; and a second's orders are spread over it.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass

import django_rq
import structlog
from pyrate_limiter import Rate, RateItem, RedisBucket
from pyrate_limiter.abstracts.algorithm import Decision
from redis import Redis
from redis.exceptions import NoScriptError, RedisError

from generation.choices import Lane
from generation.models import Endpoint

log = structlog.get_logger(__name__)

SECOND_MS = 1030
MINUTE_MS = 60_500
SPREAD = 0.94
"""How evenly a second's orders are spread over it; below 1, so that one that is late does not delay all after it."""
AHEAD_SECONDS = 0.3
"""How long before their turn jobs are claimed: what it takes to claim them must not be lost from each window."""
AWAY_SECONDS = 1.0
"""How long to wait when Redis is away: without its count nothing is ordered, what is under way goes on."""

_buckets: dict[tuple[int, float | None, float | None], RedisBucket] = {}


@dataclass(frozen=True)
class Room:
    """orders: how many might be claimed now, None where nothing limits them. wait_seconds: when there may be more."""

    orders: int | None
    wait_seconds: float = 0.0


def room(endpoint: Endpoint) -> Room:
    """How many orders the endpoint's limits leave within AHEAD_SECONDS. Nothing is counted by asking."""
    rates = _rates(endpoint.max_per_second, endpoint.max_per_minute)
    if not rates:
        return Room(None)
    try:
        now = _now_ms() + round(AHEAD_SECONDS * 1000)
        return min((_left(endpoint, rate, now) for rate in rates), key=lambda one: (one.orders, -one.wait_seconds))
    except RedisError as error:
        log.warning("throttle.away", endpoint=endpoint.slug, error=str(error))
        return Room(0, AWAY_SECONDS)


def _left(endpoint: Endpoint, rate: Rate, now: int) -> Room:
    sent: list[tuple[bytes, float]] = _connection().zrangebyscore(  # type: ignore[assignment]
        _key(endpoint), now - rate.interval + 1, "+inf", withscores=True
    )
    if len(sent) < rate.limit:
        return Room(rate.limit - len(sent))
    return Room(0, max(sent[len(sent) - rate.limit][1] + rate.interval - now, 1) / 1000)


def wait(endpoint: Endpoint) -> None:
    """Count one order as sent now; returns when the limits allow it. Call it right before the order goes out."""
    rates = _rates(endpoint.max_per_second, endpoint.max_per_minute)
    while rates and (pause := _take(endpoint, rates)):
        time.sleep(pause)


def _take(endpoint: Endpoint, rates: list[Rate]) -> float:
    """0.0 if the order is counted, else in how many seconds to try again."""
    try:
        bucket, now = _bucket(endpoint, rates), _now_ms()
        decision = bucket.put_decision(RateItem("order", now))
        assert isinstance(decision, Decision)
        if decision.failing_rate is not None:
            return max(decision.retry_after_ms or 0, 1) / 1000
        bucket.leak(now)
        _connection().pexpire(_key(endpoint), 2 * MINUTE_MS)
    except NoScriptError:  # Redis was started anew
        _buckets.clear()
        return 0.01
    except RedisError as error:
        log.warning("throttle.away", endpoint=endpoint.slug, error=str(error))
        return AWAY_SECONDS
    return 0.0


def used(endpoint: Endpoint) -> tuple[int, int]:
    """Orders of the last second and of the last minute, as far as they are counted (endpoints with limits)."""
    try:
        now = _now_ms()
        counts = [int(str(_connection().zcount(_key(endpoint), now - back, now))) for back in (1000, 60_000)]
    except RedisError:
        return 0, 0
    return counts[0], counts[1]


def _rates(per_second: float | None, per_minute: float | None) -> list[Rate]:
    """The limits as windows, shortest first. A limit of 20 a second also means 5 a quarter of one."""
    found: list[Rate] = []
    if per_second:
        whole = max(1, math.floor(per_second))
        window = math.ceil(SECOND_MS * whole / per_second)
        quarter = math.ceil(whole / 4)
        if quarter < whole:
            found.append(Rate(quarter, math.floor(window * quarter / whole * SPREAD)))
        found.append(Rate(whole, window))
    if per_minute:
        whole = max(1, math.floor(per_minute))
        minute = Rate(whole, math.ceil(MINUTE_MS * whole / per_minute))
        # A tighter limit per minute makes one per second of as many orders pointless, a looser one is pointless itself.
        if found and minute.limit / minute.interval >= found[-1].limit / found[-1].interval:
            return found
        found = [rate for rate in found if rate.limit < minute.limit and rate.interval < minute.interval]
        found.append(minute)
    return found


def _bucket(endpoint: Endpoint, rates: list[Rate]) -> RedisBucket:
    key = (endpoint.pk, endpoint.max_per_second, endpoint.max_per_minute)
    if key not in _buckets:
        bucket = RedisBucket.init(rates, _connection(), _key(endpoint))
        assert isinstance(bucket, RedisBucket)
        _buckets[key] = bucket
    return _buckets[key]


def _now_ms() -> int:
    seconds, microseconds = _connection().time()
    return int(seconds) * 1000 + int(microseconds) // 1000


def _key(endpoint: Endpoint) -> str:
    return f"proofline:orders:{endpoint.pk}"


def _connection() -> Redis:
    connection: Redis = django_rq.get_connection(Lane.CLOUD)
    return connection
