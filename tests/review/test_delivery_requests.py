"""Test what people ask of deliveries: retry, release, schedule, recall, restore, send again, alt text."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from core.errors import Conflict, Invalid, NotAllowed, NotFound
from core.models import Brand, Event, User
from generation.models import Asset
from review.delivery import base
from review.models import Delivery, DeliveryAttempt, Destination, ReviewTask
from review.services import consequences, decisions, deliveries, delivery_requests, destinations
from tests.support import factories
from tests.support.images_in_review import create_image_in_review, decision_arguments
from tests.support.receiver import Answer, Receiver, new_secret

pytestmark = pytest.mark.django_db(transaction=True)

ALL = Delivery.objects.all()


@pytest.fixture
def folder(brand: Brand, lead: User, tmp_path: Path) -> Destination:
    path = tmp_path / brand.slug / "shop"
    path.mkdir(parents=True)
    return destinations.create(
        brand=brand, by=lead, slug="shop", name="Shop folder", kind="folder", config={"path": str(path)}
    )


@pytest.fixture
def hook(brand: Brand, lead: User, receiver: Receiver) -> Destination:
    config = {"url": receiver.url, "allow_private": True, "timeout_seconds": 2}
    return destinations.create(
        brand=brand, by=lead, slug="hook", name="Hook", kind="webhook", config=config, secret=new_secret()
    )


def approve(brand: Brand, by: User) -> Asset:
    """Approve a new image, and let the approval take effect."""
    task = create_image_in_review(brand)
    decisions.approve(**decision_arguments(task), by=by)
    consequences.carry_out_due(now=timezone.now() + timedelta(seconds=31))
    return Asset.objects.get(pk=task.asset_id)


def files_in(destination: Destination) -> set[str]:
    top = Path(destination.config["path"])
    return {path.name for path in top.rglob("*") if path.is_file()}


def causes() -> list[str]:
    events = Event.objects.filter(type="review.delivery.wanted").order_by("id")
    return [event.payload["cause"] for event in events][1:]  # the first is the approval's


# -- release and schedule ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("again", [False, True])
def test_nothing_is_published_before_a_lead_releases_it(
    again: bool, brand: Brand, folder: Destination, reviewer: User, manager: User, lead: User
) -> None:
    destinations.change(destination_id=folder.pk, by=lead, needs_release=True)
    approve(brand, reviewer)
    assert deliveries.attempt_due() == 0 and files_in(folder) == set()
    with pytest.raises(Conflict, match="release it first"):
        delivery_requests.retry(delivery_id=Delivery.objects.get().pk, by=lead)
    with pytest.raises(NotAllowed):
        delivery_requests.release_many(brand=brand, chosen=ALL, by=manager)
    assert delivery_requests.release_many(brand=brand, chosen=ALL, by=lead) == 1
    assert delivery_requests.release_many(brand=brand, chosen=ALL, by=lead) == 0
    assert deliveries.attempt_due() == 1 and len(files_in(folder)) == 3
    assert causes() == ["released"]
    if again:  # what is approved after a recall needs another release
        asset = Asset.objects.get()
        decisions.revoke(asset_id=asset.pk, by=lead, note="wrong cup")
        deliveries.attempt_due()
        decisions.reopen(asset_id=asset.pk, by=lead, note="right cup")
        decisions.approve(**decision_arguments(ReviewTask.objects.get()), by=reviewer)
        consequences.carry_out_due(now=timezone.now() + timedelta(seconds=31))
        assert deliveries.attempt_due() == 0 and files_in(folder) == set()
        assert not Delivery.objects.get().is_released


def test_what_is_scheduled_is_published_at_its_time(
    brand: Brand, folder: Destination, reviewer: User, manager: User
) -> None:
    approve(brand, reviewer)
    at = timezone.now() + timedelta(hours=3)
    assert delivery_requests.schedule(brand=brand, chosen=ALL, by=manager, at=at) == 1
    assert Delivery.objects.get().due_at == at
    assert deliveries.attempt_due() == 0
    Delivery.objects.update(publish_at=timezone.now(), due_at=timezone.now())
    assert deliveries.attempt_due() == 1 and files_in(folder)
    assert delivery_requests.schedule(brand=brand, chosen=ALL, by=manager, at=at) == 0, "it is live"
    event = Event.objects.filter(type="review.delivery.wanted").order_by("id").last()
    assert event and event.payload["publish_at"] == at.isoformat()


def test_without_a_time_it_is_published_at_once(
    brand: Brand, folder: Destination, reviewer: User, manager: User
) -> None:
    approve(brand, reviewer)
    later = timezone.now() + timedelta(hours=3)
    delivery_requests.schedule(brand=brand, chosen=ALL, by=manager, at=later)
    delivery_requests.schedule(brand=brand, chosen=ALL, by=manager, at=None)
    assert deliveries.attempt_due() == 1
    with pytest.raises(Invalid, match="passed"):
        delivery_requests.schedule(brand=brand, chosen=ALL, by=manager, at=timezone.now())


# -- recall, restore, send again ---------------------------------------------------------------------------------------


def test_a_recalled_image_is_taken_down_and_can_be_sent_again(
    brand: Brand, folder: Destination, reviewer: User, manager: User
) -> None:
    approve(brand, reviewer)
    deliveries.attempt_due()
    live = files_in(folder)
    assert delivery_requests.recall(brand=brand, chosen=ALL, by=manager) == 1
    assert delivery_requests.recall(brand=brand, chosen=ALL, by=manager) == 0
    deliveries.attempt_due()
    assert files_in(folder) == set() and Asset.objects.get().state == "approved"
    assert delivery_requests.send_again(brand=brand, chosen=ALL, by=manager) == 1
    assert delivery_requests.send_again(brand=brand, chosen=ALL, by=manager) == 0, "it is on its way"
    deliveries.attempt_due()
    assert files_in(folder) == live
    assert causes() == ["recalled", "sent again"]


def test_an_image_that_was_never_delivered_is_recalled_without_an_attempt(
    brand: Brand, folder: Destination, reviewer: User, manager: User
) -> None:
    approve(brand, reviewer)
    delivery_requests.recall(brand=brand, chosen=ALL, by=manager)
    assert deliveries.attempt_due() == 0
    assert Delivery.objects.get().due_at is None


def test_what_is_not_approved_any_more_is_not_sent_again(
    brand: Brand, folder: Destination, reviewer: User, lead: User
) -> None:
    asset = approve(brand, reviewer)
    deliveries.attempt_due()
    decisions.revoke(asset_id=asset.pk, by=lead, note="licence ended")
    deliveries.attempt_due()
    assert delivery_requests.send_again(brand=brand, chosen=ALL, by=lead) == 0


class Shelf(base.Destination):
    """A destination in memory that shows one image and remembers the one before."""

    kind, label, config = "shelf", "Shelf", base.Config
    shown = "old.jpg"
    on_recall: Callable[[], None] | None = None

    def push(self, package: base.Package, session: base.Session) -> base.Receipt:
        session.journal.keep({"shown": Shelf.shown})
        Shelf.shown = package.files[0].name
        return base.Receipt(files=package.delivered_files)

    def recall(self, package: base.Package, session: base.Session) -> base.Receipt:
        Shelf.shown = ""
        if Shelf.on_recall:
            Shelf.on_recall()
        return base.Receipt()

    def restore(self, package: base.Package, session: base.Session) -> base.Receipt:
        Shelf.shown = (session.journal.before or {}).get("shown", "")
        return base.Receipt()


@pytest.fixture
def shelf(brand: Brand) -> Iterator[Destination]:
    base.DESTINATIONS.register("shelf", Shelf)
    Shelf.shown, Shelf.on_recall = "old.jpg", None
    yield factories.DestinationFactory(brand=brand, kind="shelf")
    base.DESTINATIONS.remove("shelf")


def test_what_was_there_before_is_put_back(brand: Brand, shelf: Destination, reviewer: User, manager: User) -> None:
    approve(brand, reviewer)
    deliveries.attempt_due()
    assert Shelf.shown != "old.jpg"
    assert delivery_requests.restore(brand=brand, chosen=ALL, by=manager) == 1
    assert delivery_requests.restore(brand=brand, chosen=ALL, by=manager) == 0
    deliveries.attempt_due()
    assert Shelf.shown == "old.jpg"
    delivery = Delivery.objects.get()
    assert (delivery.observed, delivery.is_restoring, delivery.before) == ("absent", True, None)
    assert causes() == ["put back"]


def test_a_restore_that_is_asked_for_during_a_recall_is_carried_out_after_it(
    brand: Brand, shelf: Destination, reviewer: User, manager: User
) -> None:
    approve(brand, reviewer)
    deliveries.attempt_due()

    def ask() -> None:
        Shelf.on_recall = None
        assert delivery_requests.restore(brand=brand, chosen=ALL, by=manager) == 1

    Shelf.on_recall = ask
    delivery_requests.recall(brand=brand, chosen=ALL, by=manager)
    while deliveries.attempt_due():
        Delivery.objects.filter(due_at__isnull=False).update(due_at=timezone.now())
    assert Shelf.shown == "old.jpg"


# -- retry -------------------------------------------------------------------------------------------------------------


def test_many_are_retried_with_the_same_messages(
    brand: Brand, hook: Destination, receiver: Receiver, reviewer: User, manager: User
) -> None:
    receiver.answers = [Answer(500)]
    for _ in range(3):
        approve(brand, reviewer)
    deliveries.attempt_due()
    assert delivery_requests.retry_many(brand=brand, chosen=ALL.filter(observed="present"), by=manager) == 0
    assert delivery_requests.retry_many(brand=brand, chosen=ALL, by=manager) == 3
    receiver.answers = [Answer(200)]
    assert deliveries.attempt_due() == 3
    assert delivery_requests.retry_many(brand=brand, chosen=ALL, by=manager) == 0
    assert len(receiver.requests) == 6
    assert len({request.headers["webhook-id"] for request in receiver.requests}) == 3


def test_nothing_is_retried_at_a_destination_that_is_off(brand: Brand, manager: User) -> None:
    off = factories.DestinationFactory(brand=brand, is_enabled=False)
    factories.DeliveryFactory(asset=create_image_in_review(brand).asset, destination=off, observed="failed")
    assert delivery_requests.retry_many(brand=brand, chosen=ALL, by=manager) == 0


@pytest.mark.parametrize("name", ["retry_many", "recall", "restore", "send_again", "release_many"])
def test_deliveries_of_another_brand_are_left_alone(name: str, brand: Brand, other_brand: Brand, lead: User) -> None:
    task = create_image_in_review(other_brand)
    destination = factories.DestinationFactory(brand=other_brand)
    factories.DeliveryFactory(
        asset=task.asset, destination=destination, version=task.asset.current_version, observed="failed",
        is_released=False,
    )  # fmt: skip
    before = Delivery.objects.values().get()
    assert getattr(delivery_requests, name)(brand=brand, chosen=ALL, by=lead) == 0
    assert Delivery.objects.values().get() == before
    with pytest.raises(NotAllowed):
        getattr(delivery_requests, name)(brand=other_brand, chosen=ALL, by=lead)


@pytest.mark.parametrize("name", ["retry_many", "recall", "restore"])
def test_the_number_of_queries_does_not_grow_with_the_deliveries(name: str, brand: Brand, manager: User) -> None:
    counts = []
    for many in (1, 12):
        Delivery.objects.all().delete()
        destination = factories.DestinationFactory(brand=brand)
        for _ in range(many):
            task = create_image_in_review(brand)
            factories.DeliveryFactory(
                asset=task.asset, destination=destination, version=task.asset.current_version, observed="failed"
            )
        with CaptureQueriesContext(connection) as queries:
            assert getattr(delivery_requests, name)(brand=brand, chosen=ALL, by=manager) == many
        counts.append(len(queries))
    assert counts[0] == counts[1]


# -- alt text ----------------------------------------------------------------------------------------------------------


def test_an_alt_text_is_sent_to_every_destination_of_the_image(
    brand: Brand, folder: Destination, hook: Destination, receiver: Receiver, reviewer: User, manager: User
) -> None:
    approve(brand, reviewer)
    deliveries.attempt_due()
    first = Delivery.objects.get(destination=folder)
    assert delivery_requests.set_alt_text(delivery_id=first.pk, alt_text="A mug", by=manager) == 1
    assert delivery_requests.set_alt_text(delivery_id=first.pk, alt_text="A mug", by=manager) == 0
    assert deliveries.attempt_due() == 1
    change: dict[str, Any] = {"delivery_id": first.pk, "alt_text": "A sage mug on clay", "is_everywhere": True}
    assert delivery_requests.set_alt_text(**change, by=manager) == 2
    assert deliveries.attempt_due() == 2
    assert set(Delivery.objects.values_list("alt_text", "observed")) == {("A sage mug on clay", "present")}
    assert json.loads(receiver.requests[-1].body)["type"] == "asset.approved"


def test_an_alt_text_has_at_most_512_characters(brand: Brand, manager: User, person: Callable[..., User]) -> None:
    destination = factories.DestinationFactory(brand=brand)
    delivery = factories.DeliveryFactory(asset=create_image_in_review(brand).asset, destination=destination)
    with pytest.raises(Invalid, match="512"):
        delivery_requests.set_alt_text(delivery_id=delivery.pk, alt_text="x" * 513, by=manager)
    with pytest.raises(NotAllowed):
        delivery_requests.set_alt_text(delivery_id=delivery.pk, alt_text="x", by=person("reviewer"))
    with pytest.raises(NotFound):
        delivery_requests.set_alt_text(delivery_id=delivery.pk, alt_text="x", by=factories.UserFactory())
    assert DeliveryAttempt.objects.count() == 0
