"""Record webhook messages in the transaction of their event, send them, retry, replay and remove them.

A message is a row before anything is sent, with the id that all its attempts have. A worker that dies between sending
and recording sends it once more when its lease ends, with the same id.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

import structlog
from django.conf import settings
from django.db import transaction
from django.db.models import Exists, Max, OuterRef, Subquery
from django.utils import timezone
from django.utils.translation import gettext as _

from core import access, clock, crash_points, encryption
from core.access import Action
from core.choices import Lane
from core.errors import Conflict
from core.events import DomainEvent, publish
from core.io_lane import io_work
from core.models import User
from core.selectors.rows import first_or_refuse
from core.services import leases, wake_ups
from review.choices import MessageState
from review.delivery import signed_messages
from review.delivery.base import DeliveryError
from review.events import WebhookReplayed
from review.models import WebhookAttempt, WebhookEndpoint, WebhookMessage
from review.services import delivery_sessions, webhook_payloads, webhooks
from review.states import WEBHOOK_MESSAGE

log = structlog.get_logger(__name__)

TIMEOUT_SECONDS = 15.0
POLICY = replace(delivery_sessions.POLICY, lease=timedelta(minutes=1))
"""The waits are about three days in all. The lease is longer than any attempt."""
DISABLED_AFTER = timedelta(days=2)
"""A webhook is disabled with the end of a message's attempts, if nothing arrived for so long."""
KEPT = timedelta(days=30)
CHUNK = 1000
MAX_ANSWER = 1000
CUT_OFF = "The worker was cut off before it said how it went."


@dataclass(frozen=True)
class Outcome:
    """The result of an attempt. status_code: None without an answer. error: None if the message arrived."""

    milliseconds: int
    status_code: int | None = None
    answer: str = ""
    error: DeliveryError | None = None


def record(event: DomainEvent) -> int:
    """Insert a message per webhook that chose this event, in the event's transaction; return how many."""
    type_ = webhook_payloads.type_of(event)
    chosen = WebhookEndpoint.objects.filter(brand_id=event.brand_id, is_enabled=True, events__contains=[type_])
    endpoints = list(chosen)
    data = webhook_payloads.describe(event) if endpoints else None
    if data is None:
        return 0
    payload, event_id = _payload(type_, data), f"evt_{uuid.uuid4().hex}"
    WebhookMessage.objects.bulk_create(
        WebhookMessage(endpoint=endpoint, event_id=event_id, type=type_, payload=payload, due_at=timezone.now())
        for endpoint in endpoints
    )
    wake_ups.wake(Lane.IO)
    return len(endpoints)


def _payload(type_: str, data: Mapping[str, Any]) -> dict[str, Any]:
    return {"type": str(type_), "timestamp": clock.now().isoformat(), "data": dict(data)}


@io_work(threads=4)
def send_next() -> bool:
    """Send the message that has been due longest; False if none is due."""
    message = _claim()
    if message is None:
        return False
    outcome = _send(message)
    crash_points.point("webhook.sent")
    _record_outcome(message, outcome)
    return True


@transaction.atomic(durable=True)
def _claim() -> WebhookMessage | None:
    """Lease the next message. An address gets one at a time, so that a slow receiver holds up only itself.

    The address is locked first: two workers that lock single messages could each get one of the same address.
    """
    there = WebhookMessage.objects.filter(endpoint=OuterRef("pk"))
    being_sent = there.filter(lease_token__isnull=False, due_at__gt=timezone.now())
    next_due = leases.due(there).values("due_at")[:1]
    free = WebhookEndpoint.objects.filter(~Exists(being_sent), is_enabled=True).annotate(next_due=Subquery(next_due))
    free = free.exclude(next_due=None).order_by("next_due").select_for_update(skip_locked=True, no_key=True)
    rows = WebhookMessage.objects.filter(endpoint=free.first()).select_related("endpoint")
    # Asked again now that the address is locked: another worker may have claimed and gone between the two statements.
    sent_by_now = WebhookMessage.objects.filter(endpoint=OuterRef("endpoint"), lease_token__isnull=False)
    message = leases.claim(rows.filter(~Exists(sent_by_now.filter(due_at__gt=timezone.now()))), POLICY)
    if message is not None:
        _begin_attempt(message)
    return message


def _begin_attempt(message: WebhookMessage) -> None:
    """Insert the attempt; one that never ended was cut off."""
    attempts = WebhookAttempt.objects.filter(message=message)
    attempts.filter(milliseconds=None, error="").update(error=CUT_OFF)
    last = attempts.aggregate(last=Max("number"))["last"] or 0
    WebhookAttempt.objects.create(message=message, number=last + 1, started_at=clock.now())


def _send(message: WebhookMessage) -> Outcome:
    """Send a message, outside of any transaction."""
    endpoint, started = message.endpoint, time.monotonic()
    try:
        answer = signed_messages.send(
            endpoint.url,
            signed_messages.encode_payload(message.payload),
            message_id=message.event_id,
            secrets=webhooks.list_signing_secrets(endpoint),
            timeout_seconds=TIMEOUT_SECONDS,
            allow_private=settings.PROOFLINE["allow_private_webhooks"],
        )
    except DeliveryError as error:
        return Outcome(_milliseconds_since(started), error=error)
    except encryption.Unreadable as error:
        return Outcome(_milliseconds_since(started), error=DeliveryError(str(error)))
    except Exception as unforeseen:
        log.exception("webhook.failed", message=message.pk)
        failure = DeliveryError(f"{type(unforeseen).__name__}: {unforeseen}")
        return Outcome(_milliseconds_since(started), error=failure)
    text = answer.body[: 4 * MAX_ANSWER].decode("utf-8", "replace").replace("\0", "\ufffd")[:MAX_ANSWER]
    return Outcome(_milliseconds_since(started), answer.status, text, signed_messages.find_error(endpoint.url, answer))


def _milliseconds_since(started: float) -> int:
    return round(1000 * (time.monotonic() - started))


@transaction.atomic(durable=True)
def _record_outcome(claimed: WebhookMessage, outcome: Outcome) -> None:
    """Store what came of an attempt, unless its lease was lost: then another attempt is already under way."""
    message = leases.lock(claimed, "endpoint")
    if message is None:
        return
    WebhookAttempt.objects.filter(message=message, milliseconds=None, error="").update(
        milliseconds=outcome.milliseconds,
        status_code=outcome.status_code,
        answer=outcome.answer,
        error=outcome.error.message[:500] if outcome.error else "",
    )
    if outcome.error is None:
        _move(message, MessageState.DELIVERED)
        message.delivered_at, message.error = clock.now(), ""
        message.succeed()
        if message.type != signed_messages.TEST:
            WebhookEndpoint.objects.filter(pk=message.endpoint_id).exclude(failing_since=None).update(
                failing_since=None
            )
    else:
        _record_failure(message, outcome.error)
    message.save()


def _record_failure(message: WebhookMessage, error: DeliveryError) -> None:
    message.error = error.message[:500]
    if error.is_final or message.type == signed_messages.TEST:
        message.give_up()
    elif not message.retry(POLICY, error.retry_after_seconds):
        sentence = _("Given up after %(count)d attempts in about three days: %(error)s")
        message.error = (sentence % {"count": message.attempts, "error": error.message})[:500]
    is_over = message.due_at is None
    if is_over:
        _move(message, MessageState.FAILED)
    if message.type == signed_messages.TEST:
        return
    endpoint = message.endpoint
    if endpoint.failing_since is None:
        endpoint.failing_since = clock.now()
        WebhookEndpoint.objects.filter(pk=endpoint.pk, failing_since=None).update(failing_since=endpoint.failing_since)
    if error.disables:
        webhooks.disable(endpoint, reason=error.message)
    elif is_over and not error.is_final and endpoint.failing_since <= clock.now() - DISABLED_AFTER:
        webhooks.disable(endpoint, reason=_("No message arrived for days. %(error)s") % {"error": error.message})


def _move(message: WebhookMessage, state: MessageState) -> None:
    if message.state != state:
        WEBHOOK_MESSAGE.ensure(message.state, state)
        message.state = state


def send_test(*, endpoint_id: int, by: User) -> WebhookMessage:
    """Send a message of type webhook.test now, also to a disabled webhook; return it with its only attempt.

    Nothing is retried. Raises NotFound and NotAllowed.
    """
    message = _create_test(endpoint_id, by)
    _record_outcome(message, _send(message))
    sent = WebhookMessage.objects.select_related("endpoint").prefetch_related("attempt_rows")
    return sent.get(pk=message.pk)


@transaction.atomic
def _create_test(endpoint_id: int, by: User) -> WebhookMessage:
    rows = WebhookEndpoint.objects.visible_to(by).select_related("brand").filter(pk=endpoint_id)
    endpoint: WebhookEndpoint = first_or_refuse(rows, _("There is no webhook %(id)d.") % {"id": endpoint_id})
    access.require(by, Action.DELIVER, endpoint.brand)
    data = {"brand": endpoint.brand.slug, "webhook": endpoint.pk, "sent_by": by.display_name}
    message = WebhookMessage(
        endpoint=endpoint,
        event_id=f"evt_{uuid.uuid4().hex}",
        type=signed_messages.TEST,
        payload=_payload(signed_messages.TEST, data),
    )
    message.lease(POLICY)
    message.save()
    _begin_attempt(message)
    return message


@transaction.atomic
def replay(*, message_id: int, by: User) -> WebhookMessage:
    """Send a message again now, with the same id, and start counting its attempts again. Raises Conflict."""
    rows = WebhookMessage.objects.visible_to(by).select_for_update(of=("self",)).select_related("endpoint__brand")
    sentence = _("There is no message %(id)d.") % {"id": message_id}
    message: WebhookMessage = first_or_refuse(rows.filter(pk=message_id), sentence)
    _ensure_replayable(message.endpoint, by)
    if message.type == signed_messages.TEST:
        raise Conflict(_("A test is not sent again; send a new one."))
    if message.is_leased:
        raise Conflict(_("It is being sent at this moment."))
    _move(message, MessageState.WAITING)
    message.request()
    message.error = ""
    message.save()
    publish(WebhookReplayed.of(message.endpoint, name=message.endpoint.name, count=1, message=message.pk), by=by)
    wake_ups.wake(Lane.IO)
    return message


@transaction.atomic
def replay_failed(*, endpoint_id: int, since: datetime, by: User) -> int:
    """Send again what was given up since a time, each with its id; return how many. Raises Conflict if disabled."""
    endpoints = WebhookEndpoint.objects.visible_to(by).select_related("brand").filter(pk=endpoint_id)
    endpoint: WebhookEndpoint = first_or_refuse(endpoints, _("There is no webhook %(id)d.") % {"id": endpoint_id})
    _ensure_replayable(endpoint, by)
    failed = endpoint.messages.filter(state=MessageState.FAILED, created_at__gte=since).exclude(
        type=signed_messages.TEST
    )
    count = leases.request(failed, state=MessageState.WAITING, error="")
    if count:
        payload = {"name": endpoint.name, "count": count, "since": since.isoformat()}
        publish(WebhookReplayed.of(endpoint, **payload), by=by)
        wake_ups.wake(Lane.IO)
    return count


def _ensure_replayable(endpoint: WebhookEndpoint, by: User) -> None:
    access.require(by, Action.DELIVER, endpoint.brand)
    if not endpoint.is_enabled:
        sentence = _("%(name)s is switched off. %(reason)s Switch it on first.")
        raise Conflict(sentence % {"name": endpoint.name, "reason": endpoint.disabled_reason})


def remove_old(chunk: int = CHUNK) -> int:
    """Delete messages older than 30 days with their attempts, in chunks; return how many messages."""
    removed = 0
    while True:
        old = WebhookMessage.objects.filter(created_at__lt=clock.now() - KEPT).order_by("created_at")
        ids = list(old.values_list("pk", flat=True)[:chunk])
        if not ids:
            return removed
        with transaction.atomic():
            WebhookAttempt.objects.filter(message__in=ids).delete()
            WebhookMessage.objects.filter(pk__in=ids).delete()
        removed += len(ids)
