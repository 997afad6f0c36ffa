"""Tests of deliveries: claims, retries, results and error messages; webhooks over a real socket."""

from __future__ import annotations

import csv
import dataclasses
import json
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.utils import timezone

from core.errors import Conflict, Invalid, NotAllowed
from core.fetching import is_public
from core.models import Event
from core.signing import is_signed, sign
from review.choices import DesiredState, ObservedState
from review.delivery import base
from review.delivery.base import DeliveryError
from review.delivery.webhook import Webhook
from review.models import Delivery, DeliveryAttempt, Destination, ReviewTask
from review.selectors import changes, usable_assets
from review.services import consequences, decisions, deliveries, delivery_requests, destinations
from tests.support import factories
from tests.support.images_in_review import create_image_in_review, decision_arguments
from tests.support.racing import race_without_errors
from tests.support.receiver import Answer, Receiver, new_secret, receiving
from tests.support.sealing import seal

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def hook(brand: Any, lead: Any, receiver: Receiver) -> Destination:
    return destinations.create(
        brand=brand,
        by=lead,
        slug="hook",
        name="Shop hook",
        kind="webhook",
        config={"url": receiver.url, "allow_private": True, "timeout_seconds": 2},
        secret=new_secret(),
    )


@pytest.fixture
def task(brand: Any) -> ReviewTask:
    return create_image_in_review(brand)


def approve(task: ReviewTask, by: Any) -> None:
    decisions.approve(**decision_arguments(task), by=by)
    consequences.carry_out_due(now=timezone.now() + timedelta(seconds=31))


def make_due() -> None:
    Delivery.objects.filter(due_at__isnull=False).update(due_at=timezone.now())


def seconds_until_next() -> float:
    return (Delivery.objects.get().due_at - timezone.now()).total_seconds()


# -- webhooks -------------------------------------------------------------------------------------------------------


def test_an_approval_arrives_signed_with_its_files_and_lineage(
    task: ReviewTask, reviewer: Any, hook: Destination, receiver: Receiver
) -> None:
    approve(task, reviewer)
    assert deliveries.attempt_due() == 1
    delivery = Delivery.objects.get()
    assert (delivery.observed, delivery.due_at, delivery.error) == (ObservedState.PRESENT, None, "")
    (received,) = receiver.requests
    assert is_signed(hook.secret, received.headers, received.body, now=time.time())
    assert not is_signed(hook.secret, received.headers, received.body + b" ", now=time.time())
    assert not is_signed(hook.secret, received.headers, received.body, now=time.time() + 600)
    message = json.loads(received.body)
    rendition = task.asset.versions.get().renditions.get()
    assert message["type"] == "asset.approved"
    assert message["data"]["sku"] == task.asset.subject.key
    assert message["data"]["files"][0]["sha256"] == rendition.marked_files.get().sha256
    assert message["data"]["files"][0]["url"].endswith(f"/api/v1/files/{rendition.pk}/")
    assert message["data"]["lineage"]["approval"]["by"] == reviewer.display_name
    assert DeliveryAttempt.objects.get().is_success


def test_the_signature_is_that_of_the_specification() -> None:
    """The example of the Standard Webhooks reference libraries."""
    secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
    signature = sign(secret, "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, b'{"test": 2432232314}')
    assert signature == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


def test_a_failing_receiver_is_tried_again_with_the_same_message_id(
    task: ReviewTask, reviewer: Any, hook: Destination, receiver: Receiver
) -> None:
    receiver.answers = [Answer(500), Answer(503), Answer(200)]
    approve(task, reviewer)
    for expected in (5, 300):
        assert deliveries.attempt_due() == 1
        assert Delivery.objects.get().observed == ObservedState.FAILED
        assert expected * 0.85 < seconds_until_next() < expected * 1.25
        assert deliveries.attempt_due() == 0, "it is not due yet"
        make_due()
    assert deliveries.attempt_due() == 1
    assert Delivery.objects.get().observed == ObservedState.PRESENT
    assert len({received.headers["webhook-id"] for received in receiver.requests}) == 1
    attempts = DeliveryAttempt.objects.order_by("number")
    assert [(attempt.number, attempt.status_code, attempt.is_success) for attempt in attempts] == [
        (1, 500, False),
        (2, 503, False),
        (3, 200, True),
    ]


def test_retry_after_is_honoured(task: ReviewTask, reviewer: Any, hook: Destination, receiver: Receiver) -> None:
    receiver.answers = [Answer(429, {"Retry-After": "120"})]
    approve(task, reviewer)
    deliveries.attempt_due()
    assert 115 < seconds_until_next() <= 120
    assert Delivery.objects.get().error.endswith("answered 429.")


def test_410_switches_the_destination_off(
    task: ReviewTask, reviewer: Any, hook: Destination, receiver: Receiver, lead: Any
) -> None:
    receiver.answers = [Answer(410), Answer(200)]
    approve(task, reviewer)
    deliveries.attempt_due()
    hook.refresh_from_db()
    assert not hook.is_enabled
    assert "410" in hook.disabled_reason
    assert Event.objects.filter(type="review.destination.disabled").count() == 1
    assert Delivery.objects.get().due_at is None
    with pytest.raises(Conflict, match="switched off"):
        delivery_requests.retry(delivery_id=Delivery.objects.get().pk, by=lead)
    destinations.change(destination_id=hook.pk, by=lead, is_enabled=True)
    assert deliveries.attempt_due() == 1
    assert Delivery.objects.get().observed == ObservedState.PRESENT


def test_a_redirect_is_a_failure_and_is_not_followed(
    task: ReviewTask, reviewer: Any, hook: Destination, receiver: Receiver
) -> None:
    with receiving() as elsewhere:
        receiver.answers = [Answer(302, {"Location": elsewhere.url})]
        approve(task, reviewer)
        deliveries.attempt_due()
        assert elsewhere.requests == []
    assert "redirects are not followed" in Delivery.objects.get().error


def test_a_slow_receiver_is_given_up_in_time(
    task: ReviewTask, reviewer: Any, hook: Destination, receiver: Receiver
) -> None:
    receiver.answers = [Answer(200, wait_seconds=60)]
    approve(task, reviewer)
    began = time.monotonic()
    deliveries.attempt_due()
    assert time.monotonic() - began < 50
    assert "No answer within 2 s" in Delivery.objects.get().error


def test_after_three_days_it_is_given_up_and_the_destination_switched_off(
    task: ReviewTask, reviewer: Any, hook: Destination, receiver: Receiver
) -> None:
    receiver.answers = [Answer(500)]
    approve(task, reviewer)
    tries = 0
    while deliveries.attempt_due():
        tries += 1
        make_due()
    assert tries == len(deliveries.POLICY.waits_seconds) + 1
    assert Delivery.objects.get().observed == ObservedState.FAILED
    assert Event.objects.filter(type="review.delivery.failed").count() == 1
    hook.refresh_from_db()
    assert not hook.is_enabled


def test_a_recall_is_sent_with_another_message_id(
    task: ReviewTask, reviewer: Any, lead: Any, hook: Destination, receiver: Receiver
) -> None:
    approve(task, reviewer)
    deliveries.attempt_due()
    decisions.revoke(asset_id=task.asset_id, by=lead, note="licence ended")
    assert deliveries.attempt_due() == 1
    assert [json.loads(received.body)["type"] for received in receiver.requests] == ["asset.approved", "asset.recalled"]
    assert len({received.headers["webhook-id"] for received in receiver.requests}) == 2
    assert Delivery.objects.get().observed == ObservedState.ABSENT


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1",
        "10.0.0.1",
        "192.168.1.1",
        "172.16.0.1",
        "169.254.169.254",
        "100.64.0.1",
        "0.0.0.0",  # noqa: S104 - an address to refuse
        "224.0.0.1",
        "::1",
        "fe80::1",
        "fc00::1",
        "::ffff:127.0.0.1",
        "64:ff9b::7f00:1",
        "2002:7f00:1::",
        "ff02::1",
        "::",
    ],
)
def test_addresses_inside_are_not_public(address: str) -> None:
    assert not is_public(address)


def test_public_addresses_are_public() -> None:
    assert is_public("93.184.216.34")
    assert is_public("2606:2800:220:1:248:1893:25c8:1946")


def test_a_webhook_to_a_private_address_is_never_connected_to(brand: Any, receiver: Receiver) -> None:
    private = Webhook({"url": receiver.url.replace("http:", "https:")}, new_secret())
    package = base.Package("msg_1", 1, "SKU", "brand", "campaign", (), {})
    with pytest.raises(DeliveryError, match="not a public address") as refused:
        private.push(package, None)
    assert refused.value.is_final
    assert receiver.requests == []


def test_private_addresses_need_the_operators_consent_too(brand: Any, lead: Any, settings: Any) -> None:
    settings.PROOFLINE = settings.PROOFLINE | {"allow_private_webhooks": False}
    with pytest.raises(Invalid, match="expected an https address"):
        destinations.create(
            brand=brand,
            by=lead,
            slug="hook",
            name="Hook",
            kind="webhook",
            config={"url": "http://10.0.0.1/hook", "allow_private": True},
            secret=new_secret(),
        )


# -- claims, desired states -------------------------------------------------------------------------------------------


@pytest.fixture
def hot_folder(brand: Any, lead: Any, tmp_path: Path) -> Destination:
    return destinations.create(
        brand=brand,
        by=lead,
        slug="folder",
        name="Hot folder",
        kind="folder",
        config={"path": str(tmp_path / brand.slug)},
    )


def test_a_worker_that_died_costs_its_lease_and_the_next_one_goes_on(
    task: ReviewTask, reviewer: Any, hot_folder: Destination
) -> None:
    approve(task, reviewer)
    dead = deliveries._claim()
    assert dead is not None
    assert deliveries.attempt_due() == 0
    make_due()
    assert deliveries.attempt_due() == 1
    assert Delivery.objects.get().observed == ObservedState.PRESENT
    deliveries._record_result(*dead, DeliveryError("too late"))
    assert Delivery.objects.get().observed == ObservedState.PRESENT, "a lost lease writes nothing"
    assert deliveries.attempt_due() == 1, "what the dead one did since is looked at once more"
    assert deliveries.attempt_due() == 0
    assert [attempt.is_success for attempt in DeliveryAttempt.objects.order_by("number")] == [False, True, True]
    assert DeliveryAttempt.objects.get(number=1).message == deliveries.OVERTAKEN


def test_a_delivery_that_kills_its_worker_is_given_up_after_three_times(
    task: ReviewTask, reviewer: Any, lead: Any, hot_folder: Destination
) -> None:
    approve(task, reviewer)
    for _ in range(3):
        assert deliveries._claim() is not None
        make_due()
    assert deliveries.attempt_due() == 1
    delivery = Delivery.objects.get()
    assert (delivery.observed, delivery.due_at, delivery.attempts) == (ObservedState.FAILED, None, 4)
    assert delivery.error == "The worker was cut off in 3 attempts in a row."
    assert Event.objects.filter(type="review.delivery.failed").count() == 1
    hot_folder.refresh_from_db()
    assert hot_folder.is_enabled, "the image may be the cause; other images are delivered"
    delivery_requests.retry(delivery_id=delivery.pk, by=lead)
    assert deliveries.attempt_due() == 1
    assert Delivery.objects.get().observed == ObservedState.PRESENT


def test_a_long_attempt_keeps_its_lease(
    task: ReviewTask, reviewer: Any, hook: Destination, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deliveries, "POLICY", dataclasses.replace(deliveries.POLICY, lease=timedelta(seconds=1.2)))
    Destination.objects.update(config=hook.config | {"timeout_seconds": 30})
    receiver.answers = [Answer(200, wait_seconds=3)]
    approve(task, reviewer)
    counts = race_without_errors(deliveries.attempt_due, lambda: time.sleep(2) or deliveries.attempt_due())
    assert sorted(counts) == [0, 1]
    assert len(receiver.requests) == 1
    assert Delivery.objects.get().observed == ObservedState.PRESENT


def test_what_is_made_due_during_an_attempt_keeps_its_lease(
    task: ReviewTask, reviewer: Any, lead: Any, hot_folder: Destination
) -> None:
    approve(task, reviewer)
    claimed = deliveries._claim()
    assert claimed is not None
    assert Delivery.objects.all().make_due() == 0
    with pytest.raises(Conflict, match="under way"):
        delivery_requests.retry(delivery_id=claimed[0].pk, by=lead)
    make_due()
    assert Delivery.objects.all().make_due() == 1, "the lease has ended"
    assert deliveries.attempt_due() == 1


def test_a_desired_state_that_changes_during_a_delivery_is_carried_out_next(
    task: ReviewTask, reviewer: Any, lead: Any, hot_folder: Destination, tmp_path: Path
) -> None:
    approve(task, reviewer)
    claimed = deliveries._claim()
    assert claimed is not None
    decisions.revoke(asset_id=task.asset_id, by=lead, note="licence ended")
    deliveries._attempt(*claimed)
    delivery = Delivery.objects.get()
    assert delivery.desired == DesiredState.ABSENT
    assert delivery.due_at is not None
    assert deliveries.attempt_due() == 1
    assert Delivery.objects.get().observed == ObservedState.ABSENT
    assert not [path for path in (tmp_path / hot_folder.brand.slug).rglob("*") if path.is_file()]


def test_the_csv_says_what_the_page_says(
    task: ReviewTask, reviewer: Any, manager: Any, hot_folder: Destination, page_client: Any
) -> None:
    approve(task, reviewer)
    deliveries.attempt_due()
    client, address = page_client(reviewer), f"/brands/{task.brand.slug}/deliveries/"
    page = client.get(address).content.decode()
    [row] = csv.DictReader(client.get(f"{address}?format=csv").getvalue().decode("utf-8-sig").splitlines())
    assert all(column in page and column in row for column in ("Product", "Destination", "State", "Changed"))
    assert (row["Wanted"], row["State"]) == ("there", "live")
    delivery_requests.recall(brand=task.brand, chosen=Delivery.objects.all(), by=manager)
    assert "It is to be taken down." in client.get(address).content.decode()
    assert ",taken away,queued," in client.get(f"{address}?format=csv").getvalue().decode()


def test_trying_again_needs_the_right_and_something_to_do(
    task: ReviewTask, reviewer: Any, manager: Any, hot_folder: Destination
) -> None:
    approve(task, reviewer)
    deliveries.attempt_due()
    delivery = Delivery.objects.get()
    with pytest.raises(NotAllowed):
        delivery_requests.retry(delivery_id=delivery.pk, by=reviewer)
    with pytest.raises(Conflict, match="nothing to try"):
        delivery_requests.retry(delivery_id=delivery.pk, by=manager)


def test_secrets_stay_out_of_config_and_events(brand: Any, lead: Any, tmp_path: Path) -> None:
    with pytest.raises(Invalid) as refused:
        destinations.create(
            brand=brand,
            by=lead,
            slug="s",
            name="S",
            kind="folder",
            config={"path": str(tmp_path / brand.slug), "api_token": "x"},
        )
    assert [problem.pointer for problem in refused.value.problems] == ["config/api_token"]
    secret = new_secret()
    destinations.create(
        brand=brand, by=lead, slug="h", name="H", kind="webhook", config={"url": "https://example.com/h"}, secret=secret
    )
    assert secret not in json.dumps([event.payload for event in Event.objects.all()])
    with pytest.raises(Invalid, match=r"known are .*folder, .*webhook"):
        destinations.create(brand=brand, by=lead, slug="x", name="X", kind="fax")


# -- the pull side ----------------------------------------------------------------------------------------------------


def test_changes_come_in_sealed_order_with_tombstones(
    brand: Any, reviewer: Any, lead: Any, integrator: Any, viewer: Any
) -> None:
    first_task, second_task = create_image_in_review(brand), create_image_in_review(brand)
    approve(first_task, reviewer)
    approve(second_task, reviewer)
    seal()
    entries, cursor = changes.changes(user=integrator, brand=brand)
    assert [(change["kind"], change["asset_id"]) for change in entries] == [
        ("approved", first_task.asset_id),
        ("approved", second_task.asset_id),
    ]
    assert entries[0]["files"][0].sha256 == first_task.asset.versions.get().renditions.get().sha256
    assert changes.changes(user=integrator, brand=brand, since=cursor) == ([], cursor)
    decisions.revoke(asset_id=first_task.asset_id, by=lead, note="licence ended")
    assert changes.changes(user=integrator, brand=brand, since=cursor)[0] == [], "not sealed yet"
    seal()
    entries, _ = changes.changes(user=integrator, brand=brand, since=cursor)
    assert [(change["kind"], change["asset_id"], change["files"]) for change in entries] == [
        ("recalled", first_task.asset_id, [])
    ]
    first, cursor = changes.changes(user=integrator, brand=brand, limit=1)
    rest, _ = changes.changes(user=integrator, brand=brand, since=cursor)
    assert [change["asset_id"] for change in first + rest] == [
        first_task.asset_id,
        second_task.asset_id,
        first_task.asset_id,
    ]
    with pytest.raises(NotAllowed):
        changes.changes(user=viewer, brand=brand)


def test_only_approvals_in_effect_may_be_used(brand: Any, reviewer: Any, integrator: Any) -> None:
    task = create_image_in_review(brand)
    decisions.approve(**decision_arguments(task), by=reviewer)
    assert list(usable_assets.find(user=integrator, brand=brand)) == [], "the 30 s to undo are not over"
    consequences.carry_out_due(now=timezone.now() + timedelta(seconds=31))
    sku = task.asset.subject.key
    (asset,) = usable_assets.find(user=integrator, brand=brand, sku=sku)
    assert [rendition.pk for rendition in asset.current_version.usable_renditions] == [
        task.asset.versions.get().renditions.get().pk
    ]
    factories.VariantFactory(subject=asset.subject, key="VARIANT-7")
    assert [match.pk for match in usable_assets.find(user=integrator, brand=brand, sku="VARIANT-7")] == [asset.pk]
    assert list(usable_assets.find(user=integrator, brand=brand, sku="ANOTHER")) == []
    assert list(usable_assets.find(user=integrator, brand=brand, specs=["poster"])) == []
