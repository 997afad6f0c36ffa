"""Test secrets of webhooks and their rotation, the test message, replays, and the removal of old messages."""

from __future__ import annotations

import time
from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from core.errors import Conflict
from core.models import Event
from core.signing import is_signed
from review.models import WebhookAttempt, WebhookEndpoint, WebhookMessage
from review.services import webhook_messages, webhooks
from tests.support.receiver import Answer, Receiver
from tests.support.webhooks import import_feed, read, send_all

pytestmark = pytest.mark.django_db(transaction=True)


# -- secrets ----------------------------------------------------------------------------------------------------------


def test_after_a_rotation_both_secrets_sign_for_a_day(
    brand: Any, lead: Any, endpoint: WebhookEndpoint, receiver: Receiver
) -> None:
    old = endpoint.secret
    new = webhooks.rotate_secret(endpoint_id=endpoint.pk, by=lead).secret
    import_feed(brand, lead)
    send_all()
    [request] = receiver.requests
    assert len(request.headers["webhook-signature"].split(" ")) == 2
    assert all(is_signed(secret, request.headers, request.body, now=time.time()) for secret in (old, new))
    WebhookEndpoint.objects.update(previous_secret_until=timezone.now())
    assert webhooks.forget_previous_secrets() == 1
    import_feed(brand, lead, "sku,name\nM-2,Mug\n")
    send_all()
    request = receiver.requests[1]
    assert is_signed(new, request.headers, request.body, now=time.time())
    assert not is_signed(old, request.headers, request.body, now=time.time())
    assert WebhookEndpoint.objects.get().sealed_previous_secret == ""


def test_a_secret_is_shown_once(lead: Any, endpoint: WebhookEndpoint) -> None:
    assert webhooks.show_secret(endpoint_id=endpoint.pk, by=lead) == endpoint.secret
    with pytest.raises(Conflict):
        webhooks.show_secret(endpoint_id=endpoint.pk, by=lead)
    webhooks.rotate_secret(endpoint_id=endpoint.pk, by=lead)
    assert webhooks.show_secret(endpoint_id=endpoint.pk, by=lead) != endpoint.secret
    secrets = Event.objects.filter(payload__icontains="whsec_")
    assert not secrets.exists()


# -- tests, replays, removal ------------------------------------------------------------------------------------------


def test_a_test_is_sent_now_and_shows_status_time_and_answer(
    brand: Any, integrator: Any, endpoint: WebhookEndpoint, receiver: Receiver
) -> None:
    WebhookEndpoint.objects.update(is_enabled=False)
    receiver.answers = [Answer(200, body=b"thanks"), Answer(410, body=b"no")]
    message = webhook_messages.send_test(endpoint_id=endpoint.pk, by=integrator)
    assert read(receiver.requests[0])[0] == "webhook.test"
    assert is_signed(endpoint.secret, receiver.requests[0].headers, receiver.requests[0].body, now=time.time())
    [attempt] = message.attempt_rows.all()
    assert (message.state, attempt.status_code, attempt.answer) == ("delivered", 200, "thanks")
    message = webhook_messages.send_test(endpoint_id=endpoint.pk, by=integrator)
    assert (message.state, message.due_at) == ("failed", None), "a test is not retried"
    assert send_all() == 0
    assert WebhookEndpoint.objects.get().failing_since is None


def test_a_replay_sends_the_same_message_with_its_id(
    brand: Any, lead: Any, endpoint: WebhookEndpoint, receiver: Receiver
) -> None:
    import_feed(brand, lead)
    send_all()
    message = WebhookMessage.objects.get()
    webhook_messages.replay(message_id=message.pk, by=lead)
    assert send_all() == 1
    first, second = receiver.requests
    assert (first.headers["webhook-id"], first.body) == (second.headers["webhook-id"], second.body)
    assert [attempt.number for attempt in message.attempt_rows.order_by("number")] == [1, 2]
    test = webhook_messages.send_test(endpoint_id=endpoint.pk, by=lead)
    with pytest.raises(Conflict):
        webhook_messages.replay(message_id=test.pk, by=lead)


def test_all_that_failed_since_a_time_is_replayed(
    brand: Any, lead: Any, endpoint: WebhookEndpoint, receiver: Receiver
) -> None:
    for number in range(4):
        import_feed(brand, lead, f"sku,name\nM-{number},Mug\n")
    ids = list(WebhookMessage.objects.order_by("pk").values_list("pk", flat=True))
    WebhookMessage.objects.filter(pk__in=ids[:3]).update(state="failed", due_at=None, error="503", attempts=10)
    WebhookMessage.objects.filter(pk=ids[0]).update(created_at=timezone.now() - timedelta(days=4))
    send_all()
    since = timezone.now() - timedelta(days=1)
    assert webhook_messages.replay_failed(endpoint_id=endpoint.pk, since=since, by=lead) == 2
    assert send_all() == 2
    states = dict(WebhookMessage.objects.values_list("pk", "state"))
    assert states == {ids[0]: "failed", ids[1]: "delivered", ids[2]: "delivered", ids[3]: "delivered"}
    webhooks.change(endpoint_id=endpoint.pk, by=lead, is_enabled=False)
    with pytest.raises(Conflict):
        webhook_messages.replay_failed(endpoint_id=endpoint.pk, since=since, by=lead)


def test_old_messages_are_removed_in_chunks(brand: Any, lead: Any, endpoint: WebhookEndpoint) -> None:
    for number in range(5):
        import_feed(brand, lead, f"sku,name\nM-{number},Mug\n")
    send_all()
    newest = WebhookMessage.objects.order_by("-pk").first()
    assert newest is not None
    old = timezone.now() - timedelta(days=30, minutes=1)
    WebhookMessage.objects.exclude(pk=newest.pk).update(created_at=old)
    assert webhook_messages.remove_old(chunk=3) == 4
    assert WebhookMessage.objects.get() == newest
    assert WebhookAttempt.objects.count() == 1
