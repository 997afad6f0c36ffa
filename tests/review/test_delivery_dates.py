"""Test embargo and expiry: days of the campaign in the brand's time zone, kept up to date, taken down in chunks."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from campaigns.services import campaigns, photos
from core.errors import Conflict, Invalid
from core.models import Brand, Event, User
from core.services import brands
from generation.models import Asset
from review.models import Delivery, Destination
from review.selectors import delivery_rules
from review.services import deliveries, delivery_dates, delivery_requests, destinations
from tests.support import factories
from tests.support.approved_images import approve_task, create_approved_image, create_product
from tests.support.images_in_review import create_image_in_review

pytestmark = pytest.mark.django_db(transaction=True)

ALL = Delivery.objects.all()


@pytest.fixture
def folder(brand: Brand, lead: User, tmp_path: Path) -> Destination:
    path = tmp_path / brand.slug / "shop"
    path.mkdir(parents=True)
    return destinations.create(
        brand=brand, by=lead, slug="shop", name="Shop folder", kind="folder", config={"path": str(path)},
        starts_with_campaign=True, ends_with_campaign=True,
    )  # fmt: skip


def in_days(days: int, brand: Brand) -> date:
    return brand.local_date(timezone.now()) + timedelta(days=days)


def approve(brand: Brand, by: User, **campaign: Any) -> Asset:
    task = create_image_in_review(brand, campaign=factories.CampaignFactory(brand=brand, **campaign))
    approve_task(task, by)
    return Asset.objects.get(pk=task.asset_id)


def files_in(destination: Destination) -> set[str]:
    return {path.name for path in Path(destination.config["path"]).rglob("*") if path.is_file()}


def test_days_begin_at_midnight_of_the_brand(brand: Brand, folder: Destination, reviewer: User, lead: User) -> None:
    brands.change(brand_id=brand.pk, time_zone="Pacific/Auckland", by=factories.MembershipFactory(
        brand=brand, role="admin").user)  # fmt: skip
    approve(brand, reviewer, starts_on=date(2031, 1, 10), ends_on=date(2031, 7, 31))
    delivery = Delivery.objects.get()
    assert delivery.embargo_until == delivery.due_at == datetime(2031, 1, 9, 11, tzinfo=UTC)  # summer: 13 hours ahead
    assert delivery.expires_at == datetime(2031, 7, 31, 12, tzinfo=UTC)  # winter: 12 hours; the last day counts


def test_nothing_is_published_before_its_campaign_starts(
    brand: Brand, folder: Destination, reviewer: User, manager: User
) -> None:
    asset = approve(brand, reviewer, starts_on=in_days(2, brand))
    assert deliveries.attempt_due() == 0
    with pytest.raises(Conflict, match="nothing is published before"):
        delivery_requests.retry(delivery_id=Delivery.objects.get().pk, by=manager)
    delivery_requests.schedule(brand=brand, chosen=ALL, by=manager, at=timezone.now() + timedelta(hours=1))
    delivery = Delivery.objects.get()
    assert delivery.due_at == delivery.embargo_until, "a schedule cannot be before the embargo"
    Delivery.objects.update(due_at=timezone.now())  # whatever made it due
    assert deliveries.attempt_due() == 0 and not files_in(folder)
    delivery_requests.schedule(brand=brand, chosen=ALL, by=manager, at=None)
    assert Delivery.objects.get().due_at == delivery.embargo_until
    campaigns.update_campaign(campaign_id=asset.campaign_id, by=manager, starts_on=in_days(0, brand))
    assert deliveries.attempt_due() == 1 and files_in(folder)


def test_what_has_expired_is_taken_down_and_the_event_says_why(
    brand: Brand, folder: Destination, reviewer: User, manager: User
) -> None:
    asset = approve(brand, reviewer, ends_on=in_days(0, brand))
    assert deliveries.attempt_due() == 1 and files_in(folder)
    assert delivery_dates.take_down_expired() == 0, "its last day is not over"
    campaigns.update_campaign(campaign_id=asset.campaign_id, by=manager, ends_on=in_days(-1, brand))
    assert delivery_dates.take_down_expired() == 1 and delivery_dates.take_down_expired() == 0
    assert deliveries.attempt_due() == 1 and not files_in(folder)
    delivery = Delivery.objects.get()
    assert (delivery.observed, delivery.absence) == ("absent", "expired")
    event = Event.objects.filter(type="review.delivery.wanted").order_by("id").last()
    assert event and event.payload["cause"] == "expired" and event.actor_id is None
    assert delivery_requests.send_again(brand=brand, chosen=ALL, by=manager) == 0
    assert not delivery_rules.missing_images(folder).exists()
    campaigns.update_campaign(campaign_id=asset.campaign_id, by=manager, ends_on=in_days(3, brand))
    assert deliveries.attempt_due() == 0, "a person decides whether it returns"
    assert delivery_rules.missing_images(folder).get() == asset
    assert delivery_requests.send_again(brand=brand, chosen=ALL, by=manager) == 1
    assert deliveries.attempt_due() == 1 and files_in(folder)


def test_an_image_approved_after_the_end_is_never_published(brand: Brand, folder: Destination, reviewer: User) -> None:
    approve(brand, reviewer, ends_on=in_days(-1, brand))
    assert deliveries.attempt_due() == 0 and not deliveries.has_due()
    assert delivery_dates.take_down_expired() == 1
    delivery = Delivery.objects.get()
    assert (delivery.desired, delivery.due_at, delivery.absence) == ("absent", None, "expired")
    assert deliveries.attempt_due() == 0 and not files_in(folder)


def test_dates_count_only_if_the_destination_says_so(
    brand: Brand, folder: Destination, reviewer: User, lead: User
) -> None:
    destinations.change(destination_id=folder.pk, by=lead, starts_with_campaign=False, ends_with_campaign=False)
    approve(brand, reviewer, starts_on=in_days(2, brand), ends_on=in_days(5, brand))
    delivery = Delivery.objects.get()
    assert delivery.embargo_until is None and delivery.expires_at is None
    destinations.change(destination_id=folder.pk, by=lead, starts_with_campaign=True, ends_with_campaign=True)
    delivery.refresh_from_db()
    assert delivery.embargo_until == delivery.due_at and delivery.expires_at > delivery.embargo_until
    assert deliveries.attempt_due() == 0
    destinations.change(destination_id=folder.pk, by=lead, starts_with_campaign=False)
    assert deliveries.attempt_due() == 1


def test_another_time_zone_moves_the_dates(brand: Brand, folder: Destination, reviewer: User) -> None:
    approve(brand, reviewer, starts_on=date(2031, 1, 10))
    admin = factories.MembershipFactory(brand=brand, role="admin").user
    brands.change(brand_id=brand.pk, time_zone="America/New_York", by=admin)
    delivery = Delivery.objects.get()
    assert delivery.embargo_until == delivery.due_at == datetime(2031, 1, 10, 5, tzinfo=UTC)


def test_many_are_taken_down_in_chunks_with_few_queries(
    monkeypatch: pytest.MonkeyPatch, brand: Brand, folder: Destination, reviewer: User
) -> None:
    monkeypatch.setattr(delivery_dates, "CHUNK", 2)
    other = factories.DestinationFactory()
    for _ in range(5):
        approve(brand, reviewer)
    factories.DeliveryFactory(destination=other)
    Delivery.objects.update(expires_at=timezone.now() - timedelta(minutes=1))
    with CaptureQueriesContext(connection) as queries:
        assert delivery_dates.take_down_expired() == 6
    assert not Delivery.objects.filter(desired="present").exists()
    assert len(queries) <= 4 * 14 + 4, "four chunks: 2 + 2 + 1 of one brand, 1 of the other"
    with CaptureQueriesContext(connection) as queries:
        assert delivery_dates.take_down_expired() == 0
    assert len([query for query in queries if "SELECT" in query["sql"]]) == 1


def test_the_pages_say_until_when_it_waits_and_when_it_expires(
    brand: Brand, folder: Destination, reviewer: User, manager: User, page_client: Callable[[User], Client]
) -> None:
    approve(brand, reviewer, starts_on=date(2031, 1, 10), ends_on=date(2031, 7, 31))
    delivery = Delivery.objects.get()
    for address in (reverse("deliveries", args=[brand.slug]), reverse("delivery", args=[brand.slug, delivery.pk])):
        page = page_client(manager).get(address).content.decode()
        assert "Waits until its campaign starts: 10 Jan 2031." in page and "scheduled" in page
        assert "Expires at the end of 31 Jul 2031." in page
    Delivery.objects.update(
        expires_at=timezone.now() - timedelta(days=1), desired="absent", absence="expired", due_at=None
    )
    page = page_client(manager).get(reverse("delivery", args=[brand.slug, delivery.pk])).content.decode()
    assert "Expired at the end of" in page and f"send:{delivery.pk}" not in page


def test_images_are_taken_down_when_the_rights_of_their_photo_end(
    brand: Brand, folder: Destination, reviewer: User, manager: User
) -> None:
    destinations_without_dates = {"starts_with_campaign": False, "ends_with_campaign": False}
    Destination.objects.update(**destinations_without_dates)
    mug, bowl = (create_approved_image(brand, create_product(brand, key), manager, reviewer) for key in ("MUG", "BOWL"))
    assert deliveries.attempt_due() == 2 and not Delivery.objects.exclude(expires_at=None).exists()
    photo = mug.subject.photos.get()
    for day in ("tomorrow", "2027-02-30"):
        with pytest.raises(Invalid, match="is not a day"):
            photos.change(photo_id=photo.pk, rights_end_on=day, by=manager)
    photos.change(photo_id=photo.pk, rights_end_on=in_days(0, brand).isoformat(), by=manager)
    assert delivery_dates.take_down_expired() == 0 and Delivery.objects.get(asset=mug).expires_at
    photos.change(photo_id=photo.pk, rights_end_on=in_days(-1, brand).isoformat(), by=manager)
    event = Event.objects.filter(type="campaigns.photo.changed").order_by("id").last()
    assert event and event.payload["changes"]["rights_end_on"] == [str(in_days(0, brand)), str(in_days(-1, brand))]
    assert delivery_dates.take_down_expired() == 1 and deliveries.attempt_due() == 1
    assert (
        Delivery.objects.get(asset=mug).absence == "expired" and Delivery.objects.get(asset=bowl).observed == "present"
    )
    Delivery.objects.filter(asset=mug).update(expires_at=None)  # the photo itself says so, too
    assert not delivery_rules.missing_images(folder).exists()
    photos.change(photo_id=photo.pk, rights_end_on="", by=manager)
    assert delivery_rules.missing_images(folder).get() == mug and Delivery.objects.get(asset=mug).expires_at is None
