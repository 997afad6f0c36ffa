"""How fast an endpoint may be asked: its orders per second and per minute, counted in Redis for all workers together.

A sliding log of the latest orders (pyrate-limiter), by Redis's own clock; it is kept where no limit is known too, for
the moment at which one is found. The windows are a little longer than the service's, because two orders sent apart may
arrive closer together; and a second's orders are spread over it.
"""

from __future__ import annotations

import math
import time
import uuid
from dataclasses import dataclass
from functools import cache

import django_rq
import structlog
from pyrate_limiter import Rate, RateItem, RedisBucket
from pyrate_limiter.abstracts.algorithm import Decision
from redis import Redis
from redis.exceptions import NoScriptError, RedisError

from generation.choices import Lane
from generation.models import Endpoint, EndpointStanding
from generation.services import limits
from generation.services.limits import FoundRate

log = structlog.get_logger(__name__)

SECOND_MS = 1020
MINUTE_MS = 60_500
SPREAD = 0.94
"""How evenly a second's orders are spread over it; below 1, so that one that is late does not delay all after it."""
AHEAD_SECONDS = 1.0
"""How long before their turn jobs are claimed: what it takes to claim them must not be lost from each window, also
while another endpoint's hundred orders of a minute go out."""
LEAD_MS = 80
"""How long before it comes an order takes its turn: its intent is written meanwhile, and the next one is not late."""
AWAY_SECONDS = 1.0
"""How long to wait when Redis is away: without its count nothing is ordered, what is under way goes on."""

_NO_LIMIT = Rate(1_000_000, MINUTE_MS)

_buckets: dict[int, tuple[list[Rate], RedisBucket]] = {}


@dataclass(frozen=True)
class Room:
    """orders: how many might be claimed now, None where nothing limits them. wait_seconds: when there may be more."""

    orders: int | None
    wait_seconds: float = 0.0


def found_rates(standing: EndpointStanding | None) -> dict[str, FoundRate]:
    """Limits that the service's refusals have told, under limits.SECOND and limits.MINUTE."""
    return {name: FoundRate.of_json(told) for name, told in standing.rates.items()} if standing is not None else {}


def per_second(endpoint: Endpoint) -> float | None:
    """Orders a second that the endpoint may have: as the operator says or as was found; None: no limit is known."""
    return _lower(endpoint.max_per_second, endpoint, limits.SECOND)


def per_minute(endpoint: Endpoint) -> float | None:
    """Like `per_second`."""
    return _lower(endpoint.max_per_minute, endpoint, limits.MINUTE)


def _lower(known: float | None, endpoint: Endpoint, name: str) -> float | None:
    found = found_rates(getattr(endpoint, "standing", None)).get(name)
    return min((one for one in (known, found.orders if found else None) if one), default=None)


def room(endpoint: Endpoint) -> Room:
    """How many orders the endpoint's limits leave within AHEAD_SECONDS. Nothing is counted by asking."""
    rates = _rates(per_second(endpoint), per_minute(endpoint))
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


@dataclass(frozen=True)
class Turn:
    """One order's place in the count: under what name, in Redis's milliseconds."""

    name: str
    at_ms: int


def wait(endpoint: Endpoint) -> Turn | None:
    """Count one order, shortly before the limits allow it; None, and nothing counted, if the service has asked for
    patience meanwhile. Then come `come`, the order, and `sent`."""
    rates = _rates(per_second(endpoint), per_minute(endpoint))
    while not _is_paused(endpoint):
        turn = _take(endpoint, rates or [_NO_LIMIT], LEAD_MS if rates else 0)
        if isinstance(turn, Turn):
            return turn
        time.sleep(turn)
    return None


def come(turn: Turn) -> None:
    """Return when the order's turn has come."""
    try:
        time.sleep(max(0, turn.at_ms - _now_ms()) / 1000)
    except RedisError as error:
        log.warning("throttle.away", error=str(error))


def sent(endpoint: Endpoint, turn: Turn) -> None:
    """The order has left. It is counted from here, as the service will count it: those after it keep their distance."""
    try:
        now = _now_ms()
        if own := _members(endpoint, turn):
            _connection().zadd(_key(endpoint), dict.fromkeys(own, now), xx=True)
    except RedisError as error:
        log.warning("throttle.away", endpoint=endpoint.slug, error=str(error))


def pause(endpoint: Endpoint, seconds: float) -> None:
    """No order of any worker goes out for so long, those that are claimed already included."""
    key, milliseconds = _pause_key(endpoint), math.ceil(seconds * 1000)
    try:
        if milliseconds > int(str(_connection().pttl(key))):
            _connection().set(key, 1, px=milliseconds)
    except RedisError as error:
        log.warning("throttle.away", endpoint=endpoint.slug, error=str(error))


def _is_paused(endpoint: Endpoint) -> bool:
    try:
        return bool(_connection().exists(_pause_key(endpoint)))
    except RedisError:
        return False  # counting tells that Redis is away, and waits


def _take(endpoint: Endpoint, rates: list[Rate], lead_ms: int) -> Turn | float:
    """A turn in `lead_ms` if it is free, and then it is counted; else in how many seconds to try again."""
    name = uuid.uuid4().hex
    try:
        bucket, now = _bucket(endpoint, rates), _now_ms()
        decision = bucket.put_decision(RateItem(name, now + lead_ms))
        assert isinstance(decision, Decision)
        if decision.failing_rate is not None:
            return max(decision.retry_after_ms or 0, 1) / 1000
        if _is_one_too_many(endpoint, rates, now + lead_ms):
            _withdraw(endpoint, Turn(name, now + lead_ms))
            return 0.01
    except NoScriptError:  # Redis was started anew
        _buckets.clear()
        return 0.01
    except RedisError as error:
        log.warning("throttle.away", endpoint=endpoint.slug, error=str(error))
        return AWAY_SECONDS
    return Turn(name, now + lead_ms)


def _is_one_too_many(endpoint: Endpoint, rates: list[Rate], at_ms: int) -> bool:
    """Whether somebody who looked at the clock later was counted sooner. The log is trimmed with the same call."""
    kept_ms = max(MINUTE_MS, rates[-1].interval)
    with _connection().pipeline(transaction=False) as pipe:
        for rate in rates:
            pipe.zcount(_key(endpoint), at_ms - rate.interval + 1, "+inf")
        pipe.zremrangebyscore(_key(endpoint), 0, at_ms - kept_ms)
        pipe.pexpire(_key(endpoint), 2 * kept_ms)
        counts = pipe.execute()
    return any(int(count) > rate.limit for count, rate in zip(counts, rates, strict=False))


def _withdraw(endpoint: Endpoint, turn: Turn) -> None:
    if own := _members(endpoint, turn):
        _connection().zrem(_key(endpoint), *own)


def _members(endpoint: Endpoint, turn: Turn) -> list[bytes]:
    counted: list[bytes] = _connection().zrangebyscore(  # type: ignore[assignment]
        _key(endpoint), turn.at_ms, turn.at_ms
    )
    return [member for member in counted if member.startswith(turn.name.encode())]


def used(endpoint: Endpoint) -> tuple[int, int]:
    """Orders of the last second and of the last minute."""
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
    known, bucket = _buckets.get(endpoint.pk, ([], None))
    if bucket is None or known != rates:
        made = RedisBucket.init(rates, _connection(), _key(endpoint))
        assert isinstance(made, RedisBucket)
        bucket = made
        _buckets[endpoint.pk] = rates, bucket
    return bucket


def _now_ms() -> int:
    seconds, microseconds = _connection().time()
    return int(seconds) * 1000 + int(microseconds) // 1000


def _key(endpoint: Endpoint) -> str:
    return f"proofline:orders:{endpoint.pk}"


def _pause_key(endpoint: Endpoint) -> str:
    return f"proofline:paused:{endpoint.pk}"


@cache
def _connection() -> Redis:
    """One for all threads of the process: RQ's makes a new pool, and so connects anew, with each call."""
    connection: Redis = django_rq.get_connection(Lane.CLOUD)
    return connection
