"""Read the limits of an endpoint, set by the operator or learnt from refusals, and how much of them is used."""

from __future__ import annotations

import threading

import django_rq
from redis import Redis
from redis.exceptions import RedisError

from core.choices import Lane
from generation import rate_limits
from generation.models import Endpoint, EndpointStatus
from generation.rate_limits import LearntRate

FIRST_WINDOW = 4.0
MAX_CONCURRENT = 256
MORE_THAN_TAKEN, MORE_THAN_ANSWERED = 1.125, 2.0
"""Growth of the concurrent calls while none was refused: an eighth more than the service has accepted, at most twice as
many as it has answered. The second limit is needed because a service that hangs accepts everything."""


#: One connection per thread, because threads that share a connection pool wait for its lock.
_of_thread = threading.local()


def connection() -> Redis:
    """Return this thread's connection to the Redis that counts submissions."""
    if not hasattr(_of_thread, "connection"):
        _of_thread.connection = django_rq.get_connection(Lane.CLOUD)
    redis: Redis = _of_thread.connection
    return redis


def key(endpoint: Endpoint) -> str:
    """Return the Redis key of the endpoint's log of submissions."""
    return f"proofline:submissions:{endpoint.pk}"


def now_ms() -> int:
    """Return Redis's time in milliseconds."""
    seconds, microseconds = connection().time()
    return int(seconds) * 1000 + int(microseconds) // 1000


def learnt_rates(status: EndpointStatus | None) -> dict[str, LearntRate]:
    """Return the limits learnt from the service's refusals, under rate_limits.SECOND and rate_limits.MINUTE."""
    return {name: LearntRate.from_json(rate) for name, rate in status.rates.items()} if status is not None else {}


def per_second(endpoint: Endpoint) -> float | None:
    """Return the submissions per second that the endpoint may get, None if no limit is known."""
    return _lower(endpoint.max_per_second, endpoint, rate_limits.SECOND)


def per_minute(endpoint: Endpoint) -> float | None:
    """Return the submissions per minute that the endpoint may get, None if no limit is known."""
    return _lower(endpoint.max_per_minute, endpoint, rate_limits.MINUTE)


def _lower(operator_limit: float | None, endpoint: Endpoint, name: str) -> float | None:
    """Return the lower one of the operator's limit and the learnt limit."""
    found_rate = learnt_rates(getattr(endpoint, "status", None)).get(name)
    return min(filter(None, (operator_limit, found_rate.submissions if found_rate else None)), default=None)


def count_recent_submissions(endpoint: Endpoint) -> tuple[int, int]:
    """Return the number of submissions in the last second and in the last minute."""
    try:
        now = now_ms()
        counts = [int(str(connection().zcount(key(endpoint), now - back, now))) for back in (1000, 60_000)]
    except RedisError:
        return 0, 0
    return counts[0], counts[1]


def concurrency_limit(endpoint: Endpoint, status: EndpointStatus | None, taken: int = 0) -> int:
    """Return how many submissions the endpoint may have at the same time. taken: those that it has accepted."""
    limit = endpoint.most_at_once
    window = float(limit or FIRST_WINDOW)
    if status is not None and status.window is not None:
        window = status.window
    if taken and is_concurrency_unknown(endpoint, status):
        window = max(window, min(max(taken + 1, taken * MORE_THAN_TAKEN), window * MORE_THAN_ANSWERED))
    return max(1, min(int(window), limit or MAX_CONCURRENT))


def is_concurrency_unknown(endpoint: Endpoint, status: EndpointStatus | None) -> bool:
    """Return whether the number of concurrent calls is unknown: no operator has set it and no call was refused yet."""
    return not endpoint.most_at_once and (status is None or status.window_peak is None)
