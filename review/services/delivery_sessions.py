"""The session of one attempt at a destination: the journal of its changes, and a rate limit for all workers."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import django_rq

from core import clock, crash_points, sql
from core.choices import Lane
from core.models import RetryPolicy
from core.services import leases
from review.choices import StepState
from review.delivery.base import DeliveryError, Session, Step
from review.models import Delivery, DeliveryStep
from review.services.destination_answers import ensure_keepable

#: The waits that Standard Webhooks suggests: about three days in all.
POLICY = RetryPolicy((5, 300, 1800, 7200, 18000, 36000, 50400, 72000, 86400), jitter=0.1)
MAX_WAIT_SECONDS = 120.0
TAKEN_OVER = "Another worker has taken this delivery over."
MAX_LOCK_SECONDS = 60.0
MAX_READING_WAIT_SECONDS = 10.0  # a person waits for the page
_IDLE_SECONDS = 3600

# Fill the bucket for the time that has passed, and take the cost if it is there; return the seconds to wait otherwise.
# KEYS: the bucket. ARGV: cost, maximum and points per second for a new bucket.
_TAKE = """
local time = redis.call('TIME')
local now = time[1] + time[2] / 1000000
local bucket = redis.call('HMGET', KEYS[1], 'available', 'maximum', 'rate', 'at')
local maximum = tonumber(bucket[2]) or tonumber(ARGV[2])
local rate = tonumber(bucket[3]) or tonumber(ARGV[3])
local available = tonumber(bucket[1]) or maximum
available = math.min(maximum, available + (now - (tonumber(bucket[4]) or now)) * rate)
local cost = math.min(tonumber(ARGV[1]), maximum)
local wait = 0
if available >= cost then available = available - cost else wait = (cost - available) / rate end
redis.call('HSET', KEYS[1], 'available', tostring(available), 'maximum', maximum, 'rate', rate, 'at', tostring(now))
redis.call('EXPIRE', KEYS[1], ARGV[4])
return tostring(wait)
"""
# The service's own figure replaces ours only if it is lower: answers that are still under way are not in it.
_REPORT = """
local time = redis.call('TIME')
local now = time[1] + time[2] / 1000000
local bucket = redis.call('HMGET', KEYS[1], 'available', 'at', 'maximum')
local rate = tonumber(ARGV[3])
local ours = tonumber(bucket[1])
if ours then
    local larger = math.max(0, tonumber(ARGV[2]) - tonumber(bucket[3])) -- than was assumed before the first answer
    ours = ours + (now - tonumber(bucket[2])) * rate + tonumber(ARGV[5]) + larger
end
local available = math.min(tonumber(ARGV[1]), ours or tonumber(ARGV[1]))
redis.call('HSET', KEYS[1], 'available', tostring(available), 'maximum', ARGV[2], 'rate', ARGV[3], 'at', tostring(now))
redis.call('EXPIRE', KEYS[1], ARGV[4])
"""


def open_session(delivery: Delivery) -> Session:
    return Session(DeliveryJournal(delivery), RedisLimiter(f"destination:{delivery.destination_id}"), hold_lock)


def open_reading_session(delivery: Delivery) -> Session:
    """Return a session for a dry run or a test: it waits for the rate limit only briefly, and records no change."""
    limiter = RedisLimiter(f"destination:{delivery.destination_id}", max_wait_seconds=MAX_READING_WAIT_SECONDS)
    return Session(ReadingJournal(delivery), limiter)


@contextmanager
def hold_lock(name: str) -> Iterator[None]:
    """Hold an advisory lock of the database, which ends with this process (see review.delivery.base.Lock).

    A worker that stands still keeps it, so that nothing that it read before changes until it goes on or dies.
    """
    name, give_up_at = f"delivery {name}", time.monotonic() + MAX_LOCK_SECONDS
    while not sql.try_lock(name):
        if time.monotonic() > give_up_at:
            message = "Another worker is changing the same product or entry; it is tried again."
            raise DeliveryError(message, retry_after_seconds=10)
        time.sleep(0.1)
    try:
        yield
    finally:
        sql.unlock(name)


class DeliveryJournal:
    """The journal of one delivery in the database (see review.delivery.base.Journal). Not used in a transaction."""

    def __init__(self, delivery: Delivery) -> None:
        self.delivery = delivery

    @property
    def before(self) -> Mapping[str, Any] | None:
        state: Mapping[str, Any] | None = self.delivery.before
        return state

    def keep(self, before: Mapping[str, Any]) -> None:
        if self.delivery.before is None:
            ensure_keepable(before)
            self.delivery.before = dict(before)
            Delivery.objects.filter(pk=self.delivery.pk, before__isnull=True).update(before=self.delivery.before)

    def once(
        self,
        key: str,
        send: Callable[[], Mapping[str, Any]],
        look_up: Callable[[], Mapping[str, Any] | None],
    ) -> Mapping[str, Any]:
        self._ensure_leased()
        step, is_new = DeliveryStep.objects.get_or_create(
            delivery=self.delivery, key=key, defaults={"sent_at": clock.now()}
        )
        if step.state == StepState.DONE:
            done: Mapping[str, Any] = step.result
            return done
        if step.state == StepState.SENT and not is_new and (result := look_up()) is not None:
            return self._end(step, result)
        if not is_new:
            step.state, step.sent_at, step.ended_at = StepState.SENT, clock.now(), None
            step.save()
        crash_points.point("delivery.journalled")
        try:
            result = send()
        except DeliveryError as error:
            self._move(step, StepState.SENT if error.is_uncertain else StepState.UNDONE)
            raise
        crash_points.point("delivery.sent")
        return self._end(step, result)

    def steps(self, prefix: str = "") -> Sequence[Step]:
        rows = self.delivery.steps.filter(key__startswith=prefix).exclude(state=StepState.UNDONE).order_by("pk")
        now = clock.now()
        return [
            Step(row.key, row.state == StepState.DONE, row.result, (now - row.sent_at).total_seconds()) for row in rows
        ]

    def undo(self, key: str) -> None:
        self.delivery.steps.filter(key=key).update(state=StepState.UNDONE, ended_at=clock.now())

    def _end(self, step: DeliveryStep, result: Mapping[str, Any]) -> Mapping[str, Any]:
        ensure_keepable(result)
        self._move(step, StepState.DONE, result)
        crash_points.point("delivery.done")
        return result

    def _move(self, step: DeliveryStep, state: StepState, result: Mapping[str, Any] | None = None) -> None:
        """Record how a change ended. Raises DeliveryError if another worker has taken the delivery over meanwhile.

        Then it is unknown which of the two made the change, or whether both did: the next attempt looks it up.
        """
        changes: dict[str, Any] = {"state": state, "ended_at": None if state == StepState.SENT else clock.now()}
        if result is not None:
            changes["result"] = dict(result)
        rows = DeliveryStep.objects.filter(pk=step.pk)
        held = rows.filter(delivery__lease_token=self.delivery.lease_token) if self.delivery.is_leased else rows
        if not held.update(**changes):
            rows.update(state=StepState.SENT, sent_at=clock.now(), ended_at=None)
            raise DeliveryError(TAKEN_OVER)

    def _ensure_leased(self) -> None:
        """Refuse to change anything once another worker may have taken the delivery over."""
        if not self._is_leased():
            raise DeliveryError(TAKEN_OVER)

    def _is_leased(self) -> bool:
        return not self.delivery.is_leased or leases.renew(self.delivery, POLICY.lease)


class ReadingJournal(DeliveryJournal):
    """A journal that can be read but not written. The delivery may be one that is not stored."""

    def keep(self, before: Mapping[str, Any]) -> None:
        raise DeliveryError("A dry run keeps nothing.", is_final=True)

    def once(
        self,
        key: str,
        send: Callable[[], Mapping[str, Any]],
        look_up: Callable[[], Mapping[str, Any] | None],
    ) -> Mapping[str, Any]:
        raise DeliveryError("A dry run changes nothing.", is_final=True)

    def steps(self, prefix: str = "") -> Sequence[Step]:
        return super().steps(prefix) if self.delivery.pk else []

    def undo(self, key: str) -> None:
        raise DeliveryError("A dry run changes nothing.", is_final=True)


class RedisLimiter:
    """A bucket of points in Redis, shared by all workers (see review.delivery.base.Limiter)."""

    def __init__(
        self,
        name: str,
        *,
        maximum: float = 1000.0,
        per_second: float = 50.0,
        max_wait_seconds: float = MAX_WAIT_SECONDS,
    ) -> None:
        self.key = f"proofline:limit:{name}"
        self.max_wait_seconds = max_wait_seconds
        self.maximum, self.per_second = maximum, per_second
        self.connection = django_rq.get_queue(Lane.DELIVERY).connection

    def wait(self, cost: float) -> None:
        give_up_at = time.monotonic() + self.max_wait_seconds
        while True:
            values = (cost, self.maximum, self.per_second, _IDLE_SECONDS)
            seconds = float(self.connection.eval(_TAKE, 1, self.key, *values))
            if seconds <= 0:
                return
            if time.monotonic() + seconds > give_up_at:
                raise DeliveryError("The destination's rate limit is used up.", retry_after_seconds=seconds)
            time.sleep(seconds)

    def report(self, *, available: float, maximum: float, per_second: float, unused: float = 0.0) -> None:
        self.connection.eval(_REPORT, 1, self.key, available, maximum, per_second, _IDLE_SECONDS, unused)
