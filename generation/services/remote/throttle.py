"""The rate limits of an endpoint: its orders per second and per minute, counted in Redis for all workers together.

A sliding log of the latest orders (pyrate-limiter), by Redis's own clock; it is kept where no limit is known too, for
the moment at which one is found. The windows are a little longer than the service's, because two orders sent apart may
arrive closer together; and a second's orders are spread over it.
"""

from __future__ import annotations

import math
import threading
import time
import uuid
from dataclasses import dataclass
from functools import cached_property

import structlog
from pyrate_limiter import Rate, RateItem, RedisBucket
from pyrate_limiter.abstracts.algorithm import Decision
from redis.exceptions import NoScriptError, RedisError

from generation.engines.base import EngineError, ErrorKind
from generation.models import Endpoint
from generation.selectors import endpoint_limits

log = structlog.get_logger(__name__)

SECOND_MS = 1030
MINUTE_MS = 60_500
SPREAD = 0.94
"""How evenly a second's orders are spread over it; below 1, so that one that is late does not delay all after it."""
AHEAD_SECONDS = 1.5
"""How long before their turn jobs are claimed: what it takes to claim them must not be lost from each window, also
while another endpoint's hundred orders of a minute go out."""
LEAD_MS = 250
"""How long before it comes an order takes its turn, at most two fifths of the shortest window: meanwhile its intent is
written and a connection made, so that at its turn nothing but its bytes are left to be sent."""
LOOK_SECONDS = 0.03
"""How long before an order leaves it is asked once more whether the service wants patience."""
AWAY_SECONDS = 1.0
"""How long to wait when Redis is away: without its count nothing is ordered, what is under way goes on."""

_NO_LIMIT = Rate(1_000_000, MINUTE_MS)


class _Own(threading.local):
    """Each thread's buckets, on its own connection."""

    @cached_property
    def buckets(self) -> dict[int, tuple[list[Rate], RedisBucket]]:
        return {}


_own = _Own()


@dataclass(frozen=True)
class Room:
    """orders: how many might be claimed now, None where nothing limits them. wait_seconds: when there may be more."""

    orders: int | None
    wait_seconds: float = 0.0


def room(endpoint: Endpoint) -> Room:
    """Return how many orders the endpoint's limits leave within AHEAD_SECONDS. Nothing is counted by asking."""
    rates = _rates(endpoint_limits.per_second(endpoint), endpoint_limits.per_minute(endpoint))
    if not rates:
        return Room(None)
    try:
        end = endpoint_limits.now_ms() + round(AHEAD_SECONDS * 1000)
        return min((_left(endpoint, rate, end) for rate in rates), key=lambda one: (one.orders, -one.wait_seconds))
    except RedisError as error:
        log.warning("throttle.away", endpoint=endpoint.slug, error=str(error))
        return Room(0, AWAY_SECONDS)


def _left(endpoint: Endpoint, rate: Rate, end: int) -> Room:
    """Return how many orders one of the windows leaves until `end`, AHEAD_SECONDS from now."""
    whole = round(AHEAD_SECONDS * 1000) // rate.interval
    end -= whole * rate.interval
    sent: list[tuple[bytes, float]] = endpoint_limits.connection().zrangebyscore(  # type: ignore[assignment]
        endpoint_limits.key(endpoint), end - rate.interval + 1, "+inf", withscores=True
    )
    free = rate.limit - len(sent)
    if whole or free > 0:
        return Room(whole * rate.limit + max(free, 0))
    return Room(0, max(sent[-free][1] + rate.interval - end, 1) / 1000)


@dataclass
class Turn:
    """One order's place in the count, and its way out (engines/service.py): under what name, in Redis's milliseconds,
    by the process's own clock."""

    endpoint: Endpoint
    name: str
    at_ms: int
    at: float
    is_called_back: bool = False

    def come(self) -> None:
        """Return when it has come. If the service has asked for patience meanwhile it is not counted any more, and
        EngineError is raised."""
        time.sleep(max(0.0, self.at - LOOK_SECONDS - time.monotonic()))
        try:
            if _is_paused(self.endpoint):
                _withdraw(self)
                self.is_called_back = True
                raise EngineError(ErrorKind.RATE, "The service has asked for patience.")
        except RedisError as error:
            log.warning("throttle.away", endpoint=self.endpoint.slug, error=str(error))
        time.sleep(max(0.0, self.at - time.monotonic()))

    def left(self) -> None:
        """The order is counted from here, as the service will count it: those after it keep their distance."""
        try:
            now = endpoint_limits.now_ms()
            if own := _members(self):
                endpoint_limits.connection().zadd(endpoint_limits.key(self.endpoint), dict.fromkeys(own, now), xx=True)
        except RedisError as error:
            log.warning("throttle.away", endpoint=self.endpoint.slug, error=str(error))


def wait(endpoint: Endpoint) -> Turn | None:
    """Count one order, shortly before the limits allow it; None, and nothing counted, if the service has asked for
    patience meanwhile."""
    rates = _rates(endpoint_limits.per_second(endpoint), endpoint_limits.per_minute(endpoint))
    lead_ms = min(LEAD_MS, rates[0].interval * 2 // 5) if rates else 0
    while not _is_paused(endpoint):
        turn = _take(endpoint, rates or [_NO_LIMIT], lead_ms)
        if isinstance(turn, Turn):
            return turn
        time.sleep(turn)
    return None


def pause(endpoint: Endpoint, seconds: float) -> None:
    """No order of any worker goes out for so long, those that are claimed already included."""
    key, milliseconds = _pause_key(endpoint), math.ceil(seconds * 1000)
    try:
        if milliseconds > int(str(endpoint_limits.connection().pttl(key))):
            endpoint_limits.connection().set(key, 1, px=milliseconds)
    except RedisError as error:
        log.warning("throttle.away", endpoint=endpoint.slug, error=str(error))


def _is_paused(endpoint: Endpoint) -> bool:
    try:
        return bool(endpoint_limits.connection().exists(_pause_key(endpoint)))
    except RedisError:
        return False  # counting tells that Redis is away, and waits


def _take(endpoint: Endpoint, rates: list[Rate], lead_ms: int) -> Turn | float:
    """The first free turn if it comes within `lead_ms`, and then it is counted; else in how many seconds to try."""
    try:
        bucket, (now, newest) = _bucket(endpoint, rates), _now_and_newest_ms(endpoint)
        turn = Turn(endpoint, uuid.uuid4().hex, at_ms=max(now, newest), at=time.monotonic())
        while (wait_ms := _put(bucket, turn)) > 0:
            turn.at_ms += wait_ms
            if turn.at_ms - now > lead_ms:
                return (turn.at_ms - now - lead_ms) / 1000
        turn.at += (turn.at_ms - now) / 1000
        if _is_one_too_many(endpoint, rates, turn.at_ms):
            _withdraw(turn)
            return 0.01
    except NoScriptError:  # Redis was started anew
        _own.buckets.clear()
        return 0.01
    except RedisError as error:
        log.warning("throttle.away", endpoint=endpoint.slug, error=str(error))
        return AWAY_SECONDS
    return turn


def _put(bucket: RedisBucket, turn: Turn) -> int:
    """0 if the turn was free and is counted now, else by how many milliseconds it would have to be later."""
    decision = bucket.put_decision(RateItem(turn.name, turn.at_ms))
    assert isinstance(decision, Decision)
    return 0 if decision.failing_rate is None else max(decision.retry_after_ms or 0, 1)


def _is_one_too_many(endpoint: Endpoint, rates: list[Rate], at_ms: int) -> bool:
    """Return whether somebody who looked at the clock later was counted sooner. The log is trimmed with the same
    call."""
    kept_ms = max(MINUTE_MS, rates[-1].interval)
    with endpoint_limits.connection().pipeline(transaction=False) as pipe:
        for rate in rates:
            pipe.zcount(endpoint_limits.key(endpoint), at_ms - rate.interval + 1, "+inf")
        pipe.zremrangebyscore(endpoint_limits.key(endpoint), 0, at_ms - kept_ms)
        pipe.pexpire(endpoint_limits.key(endpoint), 2 * kept_ms)
        counts = pipe.execute()
    return any(int(count) > rate.limit for count, rate in zip(counts, rates, strict=False))


def _withdraw(turn: Turn) -> None:
    if own := _members(turn):
        endpoint_limits.connection().zrem(endpoint_limits.key(turn.endpoint), *own)


def _members(turn: Turn) -> list[bytes]:
    counted: list[bytes] = endpoint_limits.connection().zrangebyscore(  # type: ignore[assignment]
        endpoint_limits.key(turn.endpoint), turn.at_ms, turn.at_ms
    )
    return [member for member in counted if member.startswith(turn.name.encode())]


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
    known, bucket = _own.buckets.get(endpoint.pk, ([], None))
    if bucket is None or known != rates:
        made = RedisBucket.init(rates, endpoint_limits.connection(), endpoint_limits.key(endpoint))
        assert isinstance(made, RedisBucket)
        bucket = made
        _own.buckets[endpoint.pk] = rates, bucket
    return bucket


def _now_and_newest_ms(endpoint: Endpoint) -> tuple[int, int]:
    """Redis's time, and that of the latest turn, which may be yet to come; 0 without any."""
    with endpoint_limits.connection().pipeline(transaction=False) as pipe:
        pipe.time()
        pipe.zrange(endpoint_limits.key(endpoint), -1, -1, withscores=True)
        (seconds, microseconds), newest = pipe.execute()
    return int(seconds) * 1000 + int(microseconds) // 1000, int(newest[0][1]) if newest else 0


def _pause_key(endpoint: Endpoint) -> str:
    return f"proofline:paused:{endpoint.pk}"
