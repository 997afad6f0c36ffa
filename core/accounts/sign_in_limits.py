"""Limits on wrong passwords, shared by all web processes through Redis. They slow guessing but lock nobody out.

Wrong passwords are counted per account and address together, so that a stranger elsewhere does not use up the owner's
attempts. Two wider counts, per account and per address, reduce each pair to one attempt instead of five while somebody
guesses from many places or at many accounts. A browser in which the account signed in before has its own count
(https://owasp.org/www-community/Slow_Down_Online_Guessing_Attacks_with_Device_Cookies). Reasons: docs/adr/0017.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterable

import redis
import structlog
from django.conf import settings
from django.core.cache import cache

log = structlog.get_logger(__name__)

PAIR_LIMIT = (5, 300)  # (attempts, seconds) of one account from one address, or from one remembered browser
SLOWED_TRIES = 1
ACCOUNT_LIMIT = (50, 3600)
ADDRESS_LIMIT = (20, 60)
_PREFIX = "proofline:sign-in:"
_connections: dict[str, redis.Redis] = {}


class TooManyAttempts(Exception):
    """No attempt is left; the next one is allowed in `wait_seconds`."""

    def __init__(self, wait_seconds: int) -> None:
        super().__init__(f"try again in {wait_seconds} s")
        self.wait_seconds = wait_seconds


def count_attempt(*, account: str, address: str, browser: str = "") -> list[str]:
    """Count one attempt and return its keys, for `uncount`. Raises TooManyAttempts when none is left.

    account: its key, the same for user name and e-mail address. browser: one in which it signed in before, or "".
    """
    wider = {} if browser else {_key("account", account): ACCOUNT_LIMIT, _key("address", address): ADDRESS_LIMIT}
    counts = {key: _count(key, seconds) for key, (_, seconds) in wider.items()}
    is_slowed = any(counts[key] > most for key, (most, _) in wider.items())
    key = _key("browser", account, browser) if browser else _key("pair", account, address)
    if _count(key, PAIR_LIMIT[1]) > (SLOWED_TRIES if is_slowed else PAIR_LIMIT[0]):
        uncount(wider)  # an attempt that was not made must not count
        raise TooManyAttempts(_remaining(key))
    return [key, *wider]


def uncount(keys: Iterable[str]) -> None:
    """Remove an attempt from the counts, because the password was right."""
    for key in keys:
        try:
            if _connection().exists(key):
                _connection().decr(key)
        except redis.RedisError:
            cache.delete(key)


def _key(kind: str, *parts: str) -> str:
    """Return a keyed hash, so that names and addresses of people are not stored in Redis."""
    text = "\0".join(parts).encode(errors="replace")
    return f"{_PREFIX}{kind}:{hmac.new(settings.SECRET_KEY.encode(), text, hashlib.sha256).hexdigest()[:32]}"


def _connection() -> redis.Redis:
    url = str(settings.RQ_QUEUES["housekeeping"]["URL"])
    if url not in _connections:
        _connections[url] = redis.Redis.from_url(url, socket_timeout=1, socket_connect_timeout=1)
    return _connections[url]


def _count(key: str, seconds: int) -> int:
    """Count one more since `seconds` after the first and return the count; without Redis, only of this process."""
    try:
        pipe = _connection().pipeline()
        pipe.set(key, 0, ex=seconds, nx=True)
        pipe.incr(key)
        return int(pipe.execute()[1])
    except redis.RedisError as error:
        log.warning("sign_in.limits_not_shared", cause=type(error).__name__)
    cache.add(key, 0, seconds)
    try:
        return int(cache.incr(key))
    except ValueError:  # the key expired between the two calls
        return 1


def _remaining(key: str) -> int:
    try:
        return max(1, int(_connection().ttl(key)))
    except redis.RedisError:
        return PAIR_LIMIT[1]
