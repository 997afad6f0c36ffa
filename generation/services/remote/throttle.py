"""The rate limits of an endpoint: its submissions per second and minute, counted in Redis for all workers together.

This is a sliding log of the latest submissions (pyrate-limiter), by the clock of Redis. It is also kept if no limit is
known yet, for the moment when one is learnt. The windows are a little longer than those of the service, because
submissions may arrive closer together than they were sent. The submissions of a second are spread over it.
"""

from __future__ import annotations

import math
import threading
import time
import uuid
from dataclasses import dataclass

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
"""Share of a second over which its submissions are spread; below 1, so that one that is late delays no other."""
AHEAD_SECONDS = 1.5
"""Jobs are claimed so long before their turn, so that claiming takes no time of a window, however busy a worker is."""
LEAD_MS = 250
"""A submission takes its turn so long before its time, at most two fifths of the shortest window. Meanwhile its intent
is written and a connection made, so that at its time only its bytes are left to be sent."""
LOOK_SECONDS = 0.03
"""So long before a submission is sent, it is checked once more that the service has not asked for a pause."""
AWAY_SECONDS = 1.0
"""Wait if Redis is unavailable: without its count nothing is submitted, but open jobs continue."""

_NO_LIMIT = Rate(1_000_000, MINUTE_MS)


_own = threading.local()
"""The buckets of each thread by endpoint, with their rates; each is on the thread's own connection."""


@dataclass(frozen=True)
class Allowance:
    """The room within the rate limits. submissions: how many jobs may be claimed now, None without a limit.
    wait_seconds: until there may be more."""

    submissions: int | None
    wait_seconds: float = 0.0


def get_allowance(endpoint: Endpoint) -> Allowance:
    """Return how many submissions the endpoint's limits allow within AHEAD_SECONDS. This counts no submission."""
    if not (rates := _rates(endpoint)):
        return Allowance(None)
    try:
        end = endpoint_limits.now_ms() + round(AHEAD_SECONDS * 1000)
        return min(
            (_window_allowance(endpoint, rate, end) for rate in rates),
            key=lambda window_room: (window_room.submissions, -window_room.wait_seconds),
        )
    except RedisError as error:
        log.warning("throttle.away", endpoint=endpoint.slug, error=str(error))
        return Allowance(0, AWAY_SECONDS)


def _window_allowance(endpoint: Endpoint, rate: Rate, end: int) -> Allowance:
    """Return how many submissions one of the windows allows until `end`, AHEAD_SECONDS from now."""
    whole_windows = round(AHEAD_SECONDS * 1000) // rate.interval
    end -= whole_windows * rate.interval
    sent: list[tuple[bytes, float]] = endpoint_limits.connection().zrangebyscore(  # type: ignore[assignment]
        endpoint_limits.key(endpoint), end - rate.interval + 1, "+inf", withscores=True
    )
    free = rate.limit - len(sent)
    if whole_windows or free > 0:
        return Allowance(whole_windows * rate.limit + max(free, 0))
    return Allowance(0, max(sent[-free][1] + rate.interval - end, 1) / 1000)


@dataclass
class Turn:
    """The turn of one submission, for engines/service.py. name: its name in the count; at_ms: its time in milliseconds
    of Redis; at: its time by the clock of this process."""

    endpoint: Endpoint
    name: str
    at_ms: int
    at: float
    is_called_back: bool = False

    def wait_until_allowed(self) -> None:
        """Wait until the turn has come. Raises EngineError, and does not count it, if the service asked for a pause."""
        time.sleep(max(0.0, self.at - LOOK_SECONDS - time.monotonic()))
        try:
            if _is_paused(self.endpoint):
                _withdraw(self)
                self.is_called_back = True
                raise EngineError(ErrorKind.RATE, "The service asked to slow down.")
        except RedisError as error:
            log.warning("throttle.away", endpoint=self.endpoint.slug, error=str(error))
        time.sleep(max(0.0, self.at - time.monotonic()))

    def record_sent(self) -> None:
        """Count the submission from now on, as the service will count it, so that later ones keep their distance."""
        try:
            now = endpoint_limits.now_ms()
            if members := _members(self):
                endpoint_limits.connection().zadd(
                    endpoint_limits.key(self.endpoint), dict.fromkeys(members, now), xx=True
                )
        except RedisError as error:
            log.warning("throttle.away", endpoint=self.endpoint.slug, error=str(error))


def wait_for_turn(endpoint: Endpoint) -> Turn | None:
    """Wait for the turn of a submission and count it; None, uncounted, if the service asks for a pause meanwhile."""
    rates = _rates(endpoint)
    lead_ms = min(LEAD_MS, rates[0].interval * 2 // 5) if rates else 0
    while not _is_paused(endpoint):
        turn = _take(endpoint, rates or [_NO_LIMIT], lead_ms)
        if isinstance(turn, Turn):
            return turn
        time.sleep(turn)
    return None


def pause(endpoint: Endpoint, seconds: float) -> None:
    """Stop the submissions of all workers to the endpoint for this time, including jobs that are already claimed."""
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
        return False  # the count notices that Redis is unavailable, and waits


def _take(endpoint: Endpoint, rates: list[Rate], lead_ms: int) -> Turn | float:
    """Count and return the first free turn if it comes within `lead_ms`, else return the seconds until the next try."""
    try:
        bucket, (now, newest) = _bucket(endpoint, rates), _now_and_newest_ms(endpoint)
        turn = Turn(endpoint, uuid.uuid4().hex, at_ms=max(now, newest), at=time.monotonic())
        while (wait_ms := _put(bucket, turn)) > 0:
            turn.at_ms += wait_ms
            if turn.at_ms - now > lead_ms:
                return (turn.at_ms - now - lead_ms) / 1000
        turn.at += (turn.at_ms - now) / 1000
        if _trim_and_compare(endpoint, rates, turn.at_ms):
            _withdraw(turn)
            return 0.01
    except NoScriptError:  # Redis was restarted
        _own.__dict__.clear()
        return 0.01
    except RedisError as error:
        log.warning("throttle.away", endpoint=endpoint.slug, error=str(error))
        return AWAY_SECONDS
    return turn


def _put(bucket: RedisBucket, turn: Turn) -> int:
    """Return 0 if the turn was free and is counted now, else by how many milliseconds it must be later."""
    decision = bucket.put_decision(RateItem(turn.name, turn.at_ms))
    assert isinstance(decision, Decision)
    return 0 if decision.failing_rate is None else max(decision.retry_after_ms or 0, 1)


def _trim_and_compare(endpoint: Endpoint, rates: list[Rate], at_ms: int) -> bool:
    """Trim the log; return whether the turn exceeds a limit, because a later turn was counted before it."""
    kept_ms = max(MINUTE_MS, rates[-1].interval)
    with endpoint_limits.connection().pipeline(transaction=False) as pipe:
        for rate in rates:
            pipe.zcount(endpoint_limits.key(endpoint), at_ms - rate.interval + 1, "+inf")
        pipe.zremrangebyscore(endpoint_limits.key(endpoint), 0, at_ms - kept_ms)
        pipe.pexpire(endpoint_limits.key(endpoint), 2 * kept_ms)
        counts = pipe.execute()
    return any(int(count) > rate.limit for count, rate in zip(counts, rates, strict=False))


def _withdraw(turn: Turn) -> None:
    if members := _members(turn):
        endpoint_limits.connection().zrem(endpoint_limits.key(turn.endpoint), *members)


def _members(turn: Turn) -> list[bytes]:
    counted: list[bytes] = endpoint_limits.connection().zrangebyscore(  # type: ignore[assignment]
        endpoint_limits.key(turn.endpoint), turn.at_ms, turn.at_ms
    )
    return [member for member in counted if member.startswith(turn.name.encode())]


def _rates(endpoint: Endpoint) -> list[Rate]:
    """Return the limits as windows, shortest first. A limit of 20 per second also means 5 per quarter of a second."""
    per_second, per_minute = endpoint_limits.per_second(endpoint), endpoint_limits.per_minute(endpoint)
    rates: list[Rate] = []
    if per_second:
        submissions = max(1, math.floor(per_second))
        window = math.ceil(SECOND_MS * submissions / per_second)
        quarter = math.ceil(submissions / 4)
        if quarter < submissions:
            rates.append(Rate(quarter, math.floor(window * quarter / submissions * SPREAD)))
        rates.append(Rate(submissions, window))
    if per_minute:
        submissions = max(1, math.floor(per_minute))
        minute = Rate(submissions, math.ceil(MINUTE_MS * submissions / per_minute))
        # A minute limit with a higher rate than the last window has no effect. With a lower rate, it replaces windows
        # that allow as many submissions.
        if rates and minute.limit / minute.interval >= rates[-1].limit / rates[-1].interval:
            return rates
        rates = [rate for rate in rates if rate.limit < minute.limit and rate.interval < minute.interval]
        rates.append(minute)
    return rates


def _bucket(endpoint: Endpoint, rates: list[Rate]) -> RedisBucket:
    buckets: dict[int, tuple[list[Rate], RedisBucket]] = _own.__dict__.setdefault("buckets", {})
    if endpoint.pk not in buckets or buckets[endpoint.pk][0] != rates:
        bucket = RedisBucket.init(rates, endpoint_limits.connection(), endpoint_limits.key(endpoint))
        assert isinstance(bucket, RedisBucket)
        buckets[endpoint.pk] = rates, bucket
    return buckets[endpoint.pk][1]


def _now_and_newest_ms(endpoint: Endpoint) -> tuple[int, int]:
    """Return the time of Redis, and that of the latest turn, which may be in the future; 0 without any."""
    with endpoint_limits.connection().pipeline(transaction=False) as pipe:
        pipe.time()
        pipe.zrange(endpoint_limits.key(endpoint), -1, -1, withscores=True)
        (seconds, microseconds), newest = pipe.execute()
    return int(seconds) * 1000 + int(microseconds) // 1000, int(newest[0][1]) if newest else 0


def _pause_key(endpoint: Endpoint) -> str:
    return f"proofline:paused:{endpoint.pk}"
