"""Test webhooks over a real socket: signatures, retries, rotation, replay, deaths of workers, and what disables one."""

from __future__ import annotations

import io
import signal
import time
from datetime import timedelta
from typing import Any

import pytest
from django.db import transaction
from django.utils import timezone

from campaigns.services import imports
from core.errors import Invalid, NotAllowed, NotFound
from core.events import publish
from core.models import Event, Notice
from core.signing import is_signed
from generation.events import RunFinished, RunPaused, RunReleaseRefused
from review.choices import MessageState
from review.events import DeliveryFailed
from review.models import ReviewTask, WebhookAttempt, WebhookEndpoint, WebhookMessage
from review.services import decisions, webhook_messages, webhooks
from tests.support import factories, processes
from tests.support.approved_images import approve_task
from tests.support.images_in_review import create_image_in_review
from tests.support.racing import race_without_errors
from tests.support.receiver import Answer, Receiver, receiving
from tests.support.webhooks import EVERY_EVENT, import_feed, make_due, read, send_all

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def task(brand: Any) -> ReviewTask:
    return create_image_in_review(brand)


def seconds_until_next() -> float:
    due_at = WebhookMessage.objects.get().due_at
    assert due_at is not None
    return (due_at - timezone.now()).total_seconds()


# -- what is sent -----------------------------------------------------------------------------------------------------


def test_an_approval_and_a_recall_arrive_once_with_a_valid_signature(
    task: ReviewTask, reviewer: Any, lead: Any, endpoint: WebhookEndpoint, receiver: Receiver
) -> None:
    approve_task(task, reviewer)
    decisions.revoke(asset_id=task.asset_id, by=lead, note="licence ended")
    assert send_all() == 2
    approved, recalled = receiver.requests
    for request in receiver.requests:
        assert is_signed(endpoint.secret, request.headers, request.body, now=time.time())
        assert not is_signed(endpoint.secret, request.headers, request.body + b" ", now=time.time())
    type_, data = read(approved)
    rendition = task.asset.versions.get().renditions.get()
    assert (type_, data["sku"], data["asset"]) == ("asset.approved", task.asset.subject.key, task.asset_id)
    [file] = data["files"]
    assert file.keys() == {"spec", "name", "url", "media_type", "width", "height"}
    assert file["url"].endswith(f"/api/v1/files/{rendition.pk}/")
    assert data["lineage"]["approval"]["by"] == reviewer.display_name
    type_, data = read(recalled)
    assert (type_, data["asset"]) == ("asset.recalled", task.asset_id)
    assert "licence ended" in data["cause"]
    assert recalled.headers["webhook-id"] != approved.headers["webhook-id"]


@pytest.mark.parametrize(
    ("happened", "payload", "type_", "expected"),
    [
        (RunFinished, {"succeeded": 3, "failed": 1, "cancelled": 0}, "run.finished", {"succeeded": 3, "failed": 1}),
        (RunFinished, {"succeeded": 0, "failed": 4, "cancelled": 0}, "run.failed", {"succeeded": 0, "failed": 4}),
        (RunPaused, {"reason": "budget", "held": 2, "by_itself": True}, "run.paused", {"reason": "budget", "held": 2}),
        (RunReleaseRefused, {"message": "no money"}, "run.failed", {"reason": "no money"}),
    ],
)
def test_what_happens_to_a_run_arrives(
    happened: Any,
    payload: dict[str, Any],
    type_: str,
    expected: dict[str, Any],
    task: ReviewTask,
    endpoint: WebhookEndpoint,
    receiver: Receiver,
) -> None:
    run = task.asset.cell.run
    with transaction.atomic():
        publish(happened(brand_id=task.brand_id, object_id=run.pk, payload=payload))
    assert send_all() == 1
    sent_type, data = read(receiver.requests[0])
    assert sent_type == type_
    assert expected.items() <= data.items()
    assert (data["run"], data["campaign"]) == (run.pk, run.campaign.slug)
    assert data["url"].endswith(f"/api/v1/runs/{run.pk}/")


def test_nobody_is_told_about_try_outs(task: ReviewTask, endpoint: WebhookEndpoint) -> None:
    run = task.asset.cell.run
    type(run).objects.filter(pk=run.pk).update(stage="sandbox")
    with transaction.atomic():
        payload = {"succeeded": 1, "failed": 0, "cancelled": 0}
        publish(RunFinished(brand_id=task.brand_id, object_id=run.pk, payload=payload))
    assert not WebhookMessage.objects.exists()


def test_an_applied_and_a_refused_import_arrive_with_their_counts(
    brand: Any, lead: Any, endpoint: WebhookEndpoint, receiver: Receiver
) -> None:
    applied = import_feed(brand, lead)
    refused = import_feed(brand, lead, "sku,name,price\nM-2,,cheap\n")
    imports.import_feed(brand=brand, file=io.BytesIO(b"sku,name\nM-3,Jar\n"), file_name="a.csv", by=lead, dry_run=True)
    assert send_all() == 2
    (type_, first), (_type, second) = map(read, receiver.requests)
    assert type_ == "import.finished"
    assert (first["import"], first["status"], first["rows"], first["created"], first["errors"]) == (
        applied.pk,
        "applied",
        1,
        1,
        0,
    )
    assert (second["import"], second["status"], second["errors"]) == (refused.pk, "refused", refused.error_count)
    assert second["errors"] == sum(second["causes"].values()) > 0
    assert Event.objects.filter(type="campaigns.feed.refused", object_id=refused.pk).count() == 1


def test_a_failed_delivery_arrives_with_destination_and_error(
    brand: Any, task: ReviewTask, endpoint: WebhookEndpoint, receiver: Receiver
) -> None:
    destination = factories.DestinationFactory(brand=brand, slug="shop", name="The shop")
    delivery = factories.DeliveryFactory(asset=task.asset, destination=destination, version=task.asset.current_version)
    payload = {"delivery": delivery.pk, "destination": "shop", "message": "It answered 500.", "attempt": 10}
    with transaction.atomic():
        publish(DeliveryFailed(brand_id=brand.pk, object_id=task.asset_id, payload=payload))
    send_all()
    type_, data = read(receiver.requests[0])
    assert (type_, data["error"], data["attempts"]) == ("delivery.failed", "It answered 500.", 10)
    assert data["destination"] == {"slug": "shop", "name": "The shop", "kind": "folder"}
    assert data["url"].endswith(f"/api/v1/deliveries/{delivery.pk}/")


def test_a_webhook_gets_only_what_it_chose_and_all_get_the_same_id(
    brand: Any, lead: Any, endpoint: WebhookEndpoint, receiver: Receiver
) -> None:
    webhooks.create(brand=brand, by=lead, name="PIM", url=f"{receiver.url}/pim", events=["import.finished"])
    webhooks.create(brand=brand, by=lead, name="DAM", url=f"{receiver.url}/dam", events=["asset.approved"])
    import_feed(brand, lead)
    assert send_all() == 2
    assert {request.path for request in receiver.requests} == {"/hook", "/hook/pim"}
    assert len({request.headers["webhook-id"] for request in receiver.requests}) == 1


def test_no_message_without_its_event(task: ReviewTask, endpoint: WebhookEndpoint) -> None:
    payload = {"succeeded": 1, "failed": 0, "cancelled": 0}
    with transaction.atomic():
        publish(RunFinished(brand_id=task.brand_id, object_id=task.asset.cell.run_id, payload=payload))
        assert WebhookMessage.objects.count() == 1
        transaction.set_rollback(True)
    assert not WebhookMessage.objects.exists()


def test_another_brand_and_a_disabled_webhook_get_nothing(
    brand: Any, lead: Any, endpoint: WebhookEndpoint, other_brand: Any, person: Any
) -> None:
    import_feed(other_brand, person("lead", brand=other_brand))
    webhooks.change(endpoint_id=endpoint.pk, by=lead, is_enabled=False)
    import_feed(brand, lead)
    assert not WebhookMessage.objects.exists()


def test_what_waits_is_not_sent_while_disabled_but_afterwards(
    brand: Any, lead: Any, endpoint: WebhookEndpoint, receiver: Receiver
) -> None:
    import_feed(brand, lead)
    webhooks.change(endpoint_id=endpoint.pk, by=lead, is_enabled=False)
    assert send_all() == 0
    webhooks.change(endpoint_id=endpoint.pk, by=lead, is_enabled=True)
    assert send_all() == 1
    assert len(receiver.requests) == 1


# -- failures and retries ---------------------------------------------------------------------------------------------


def test_a_failing_receiver_gets_the_same_message_again_until_it_takes_it(
    brand: Any, lead: Any, endpoint: WebhookEndpoint, receiver: Receiver
) -> None:
    receiver.answers = [
        Answer(500, body=b"out of\x00 order"),
        Answer(302, {"Location": "https://a.example/x"}),
        Answer(),
    ]
    import_feed(brand, lead)
    for expected in (5, 300):
        assert send_all() == 1
        assert expected * 0.85 < seconds_until_next() < expected * 1.15
        assert WebhookEndpoint.objects.get().failing_since is not None
        make_due()
    assert send_all() == 1
    message = WebhookMessage.objects.get()
    assert (message.state, message.due_at, message.error) == (MessageState.DELIVERED, None, "")
    assert WebhookEndpoint.objects.get().failing_since is None
    ids_and_bodies = {(request.headers["webhook-id"], request.body) for request in receiver.requests}
    assert len(receiver.requests) == 3 and len(ids_and_bodies) == 1
    attempts = list(message.attempt_rows.order_by("number"))
    assert [attempt.status_code for attempt in attempts] == [500, 302, 200]
    assert attempts[0].answer == "out of\ufffd order"
    assert attempts[1].error.endswith("redirects are not followed: enter the final address.")
    assert all(attempt.milliseconds is not None for attempt in attempts)


def test_retry_after_is_honoured(brand: Any, lead: Any, endpoint: WebhookEndpoint, receiver: Receiver) -> None:
    receiver.answers = [Answer(429, {"Retry-After": "120"})]
    import_feed(brand, lead)
    send_all()
    assert 115 < seconds_until_next() <= 120


def test_a_slow_receiver_is_given_up_in_time_and_holds_up_no_other(
    brand: Any, lead: Any, endpoint: WebhookEndpoint, receiver: Receiver, monkeypatch: Any
) -> None:
    monkeypatch.setattr(webhook_messages, "TIMEOUT_SECONDS", 1.0)
    receiver.answers = [Answer(wait_seconds=3)]
    for number in range(3):
        import_feed(brand, lead, f"sku,name\nM-{number},Mug\n")
    with receiving() as quick:
        webhooks.create(brand=brand, by=lead, name="Quick", url=quick.url, events=["import.finished"])
        import_feed(brand, lead, "sku,name\nM-9,Mug\n")
        race_without_errors(*[webhook_messages.send_next] * 3)
        assert len(receiver.requests) == 1, "one at a time to one address"
        assert len(quick.requests) == 1
    attempt = WebhookAttempt.objects.get(message__endpoint=endpoint)
    assert attempt.status_code is None and attempt.error
    assert attempt.milliseconds is not None and 900 < attempt.milliseconds < 2500


def test_after_three_days_it_gives_up_in_words_and_the_webhook_is_disabled(
    brand: Any, lead: Any, endpoint: WebhookEndpoint, receiver: Receiver
) -> None:
    receiver.answers = [Answer(503)]
    import_feed(brand, lead)
    total = 0.0
    for _attempt in range(9):
        assert send_all() == 1
        total += seconds_until_next()
        make_due()
    assert 2.7 < total / 86400 < 3.6
    ago = timezone.now() - timedelta(days=3)
    WebhookEndpoint.objects.update(failing_since=ago)
    assert send_all() == 1
    message = WebhookMessage.objects.get()
    assert (message.state, message.due_at) == (MessageState.FAILED, None)
    assert message.error.startswith("Given up after 10 attempts in about three days: ")
    endpoint.refresh_from_db()
    assert not endpoint.is_enabled and endpoint.disabled_reason.startswith("No message arrived for days. ")
    [notice] = Notice.objects.filter(user=lead, kind="webhook_off")
    assert "Shop" in notice.sentence and notice.due_at is not None, "it is mailed too"


def test_410_disables_and_tells_the_leads(
    brand: Any, lead: Any, integrator: Any, viewer: Any, endpoint: WebhookEndpoint, receiver: Receiver
) -> None:
    receiver.answers = [Answer(410)]
    import_feed(brand, lead)
    send_all()
    endpoint.refresh_from_db()
    assert not endpoint.is_enabled and "410 Gone" in endpoint.disabled_reason
    assert set(Notice.objects.values_list("user", flat=True)) == {lead.pk, integrator.pk}
    assert Event.objects.filter(type="review.webhook.disabled").count() == 1


def test_private_addresses_are_refused_unless_the_operator_allows_them(
    brand: Any, lead: Any, endpoint: WebhookEndpoint, receiver: Receiver, settings: Any
) -> None:
    settings.PROOFLINE = settings.PROOFLINE | {"allow_private_webhooks": False}
    for url in ("https://127.0.0.1/hook", "http://example.com/hook", "https://user:pass@example.com/"):
        with pytest.raises(Invalid) as refusal:
            webhooks.create(brand=brand, by=lead, name="Inside", url=url, events=EVERY_EVENT)
        assert [problem.pointer for problem in refusal.value.problems] == ["url"]
    WebhookEndpoint.objects.update(url="https://localhost:8443/hook")
    import_feed(brand, lead)
    send_all()
    assert receiver.requests == [] and WebhookAttempt.objects.get().error


# -- deaths and races -------------------------------------------------------------------------------------------------


def test_a_worker_killed_between_sending_and_recording_sends_the_same_id_again(
    brand: Any, lead: Any, endpoint: WebhookEndpoint, receiver: Receiver
) -> None:
    import_feed(brand, lead)
    doomed = processes.start("worker", "io", PROOFLINE_KILL_AT="webhook.sent", PROOFLINE_ALLOW_PRIVATE_WEBHOOKS="1")
    assert doomed.wait(60) == -signal.SIGKILL
    assert len(receiver.requests) == 1
    assert send_all() == 0, "its lease has not ended"
    make_due()
    assert send_all() == 1
    assert len({request.headers["webhook-id"] for request in receiver.requests}) == 1
    message = WebhookMessage.objects.get()
    assert message.state == MessageState.DELIVERED
    assert [attempt.error for attempt in message.attempt_rows.order_by("number")] == [webhook_messages.CUT_OFF, ""]


def test_workers_at_the_same_time_send_each_message_once(
    brand: Any, lead: Any, endpoint: WebhookEndpoint, receiver: Receiver
) -> None:
    for number in range(8):
        import_feed(brand, lead, f"sku,name\nM-{number},Mug\n")
    while WebhookMessage.objects.filter(state=MessageState.WAITING).exists():
        race_without_errors(*[webhook_messages.send_next] * 3)
    ids = [request.headers["webhook-id"] for request in receiver.requests]
    assert len(ids) == len(set(ids)) == 8


# -- rights -----------------------------------------------------------------------------------------------------------


def test_only_leads_set_up_webhooks_and_only_in_their_brand(
    brand: Any, endpoint: WebhookEndpoint, integrator: Any, reviewer: Any, other_brand: Any, person: Any
) -> None:
    stranger = person("lead", brand=other_brand)
    for user, refusal in ((integrator, NotAllowed), (reviewer, NotAllowed), (stranger, NotFound)):
        with pytest.raises(refusal):
            webhooks.change(endpoint_id=endpoint.pk, by=user, name="Mine")
        with pytest.raises(refusal):
            webhooks.rotate_secret(endpoint_id=endpoint.pk, by=user)
        with pytest.raises(refusal):
            webhooks.show_secret(endpoint_id=endpoint.pk, by=user)
    for user, refusal in ((reviewer, NotAllowed), (stranger, NotFound)):
        with pytest.raises(refusal):
            webhook_messages.send_test(endpoint_id=endpoint.pk, by=user)


def test_mistakes_of_a_webhook_are_named_each_at_its_field(brand: Any, lead: Any, receiver: Receiver) -> None:
    with pytest.raises(Invalid) as refusal:
        webhooks.create(brand=brand, by=lead, name=" ", url="ftp://x", events=["asset.painted"])
    assert [problem.pointer for problem in refusal.value.problems] == ["name", "events", "url"]
    assert "asset.painted" in refusal.value.problems[1].message
    with pytest.raises(Invalid):
        webhooks.create(brand=brand, by=lead, name="Shop", url=receiver.url, events=[])
