"""Read the limits of an endpoint, told by the operator or found by refusals, and how far they are used."""

from __future__ import annotations

import threading
from functools import cached_property

import django_rq
from redis import Redis
from redis.exceptions import RedisError

from core.choices import Lane
from generation import rate_limits
from generation.models import Endpoint, EndpointStanding
from generation.rate_limits import FoundRate

FIRST_WINDOW = 4.0
MOST_AT_ONCE = 256
MORE_THAN_TAKEN, MORE_THAN_ANSWERED = 1.125, 2.0
"""The growth of calls at once while none was refused: an eighth more than are taken, at most twice as many as it
was seen to answer. A service that hangs takes everything."""


class _Own(threading.local):
    """Each thread's connection: threads that share a connection pool stand in line for its lock."""

    @cached_property
    def connection(self) -> Redis:
        made: Redis = django_rq.get_connection(Lane.CLOUD)
        return made


_own = _Own()


def connection() -> Redis:
    """Return this thread's connection to the Redis that counts orders."""
    return _own.connection


def key(endpoint: Endpoint) -> str:
    """Return the Redis key of the endpoint's log of orders."""
    return f"proofline:orders:{endpoint.pk}"


def now_ms() -> int:
    """Return Redis's time in milliseconds."""
    seconds, microseconds = connection().time()
    return int(seconds) * 1000 + int(microseconds) // 1000


def found_rates(standing: EndpointStanding | None) -> dict[str, FoundRate]:
    """Limits that the service's refusals have told, under rate_limits.SECOND and rate_limits.MINUTE."""
    return {name: FoundRate.of_json(told) for name, told in standing.rates.items()} if standing is not None else {}


def per_second(endpoint: Endpoint) -> float | None:
    """Orders a second that the endpoint may have: as the operator says or as was found; None: no limit is known."""
    return _lower(endpoint.max_per_second, endpoint, rate_limits.SECOND)


def per_minute(endpoint: Endpoint) -> float | None:
    """Like `per_second`."""
    return _lower(endpoint.max_per_minute, endpoint, rate_limits.MINUTE)


def _lower(known: float | None, endpoint: Endpoint, name: str) -> float | None:
    found = found_rates(getattr(endpoint, "standing", None)).get(name)
    return min((one for one in (known, found.orders if found else None) if one), default=None)


def used(endpoint: Endpoint) -> tuple[int, int]:
    """Orders of the last second and of the last minute."""
    try:
        now = now_ms()
        counts = [int(str(connection().zcount(key(endpoint), now - back, now))) for back in (1000, 60_000)]
    except RedisError:
        return 0, 0
    return counts[0], counts[1]


def at_once(endpoint: Endpoint, standing: EndpointStanding | None, taken: int = 0) -> int:
    """Return how many orders the endpoint may have at the same time. taken: those that it has and has not refused."""
    found = standing.window if standing is not None else None
    limit = endpoint.most_at_once
    if found is None:
        found = float(limit or FIRST_WINDOW)
    if taken and is_untried(endpoint, standing):
        found = max(found, min(max(taken + 1, taken * MORE_THAN_TAKEN), found * MORE_THAN_ANSWERED))
    return max(1, min(int(found), limit or MOST_AT_ONCE))


def is_untried(endpoint: Endpoint, standing: EndpointStanding | None) -> bool:
    """Nobody has said how many calls at once it takes, and none was refused yet for being one too many."""
    return not endpoint.most_at_once and (standing is None or standing.window_peak is None)
