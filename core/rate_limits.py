"""Counts in Redis of what a person or an address does in a while, for limits that all web processes share.

Without Redis each process counts for itself.
"""

from __future__ import annotations

import hashlib
import hmac
from typing import Final

import redis
import structlog
from django.conf import settings
from django.core.cache import cache

log = structlog.get_logger(__name__)

_PREFIX = "proofline:limit:"
_connections: Final[dict[str, redis.Redis]] = {}


def count_request(action: str, person: int, *, most: int, seconds: int) -> int:
    """Count a person's request; return 0, or the seconds to wait if it is more than `most` within `seconds`."""
    key = make_key(action, str(person))
    return get_remaining(key, seconds) if count(key, seconds) > most else 0


def make_key(kind: str, *parts: str) -> str:
    """Return a keyed hash, so that names and addresses of people are not stored in Redis."""
    text = "\0".join(parts).encode(errors="replace")
    return f"{_PREFIX}{kind}:{hmac.new(settings.SECRET_KEY.encode(), text, hashlib.sha256).hexdigest()[:32]}"


def count(key: str, seconds: int) -> int:
    """Count one more since `seconds` after the first and return the count; without Redis, only of this process."""
    try:
        pipe = _connection().pipeline()
        pipe.set(key, 0, ex=seconds, nx=True)
        pipe.incr(key)
        return int(pipe.execute()[1])
    except redis.RedisError as error:
        log.warning("rate_limits.not_shared", cause=type(error).__name__)
    cache.add(key, 0, seconds)
    try:
        return int(cache.incr(key))
    except ValueError:  # the key expired between the two calls
        return 1


def uncount(key: str) -> None:
    """Count one less."""
    try:
        if _connection().exists(key):
            _connection().decr(key)
    except redis.RedisError:
        cache.delete(key)


def get_remaining(key: str, seconds: int) -> int:
    """Return the seconds until the count begins again, at least 1; `seconds` without Redis."""
    try:
        return max(1, int(_connection().ttl(key)))
    except redis.RedisError:
        return seconds


def _connection() -> redis.Redis:
    url = str(settings.RQ_QUEUES["housekeeping"]["URL"])
    if url not in _connections:
        _connections[url] = redis.Redis.from_url(url, socket_timeout=1, socket_connect_timeout=1)
    return _connections[url]
