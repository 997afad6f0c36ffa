"""Test what is said of the marks of origin that a destination keeps: the sums, the advice, the pages and the API."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.urls import reverse
from django.utils import timezone
from django.utils.html import escape
from rest_framework.test import APIClient

from core.models import Brand, User
from review.delivery import base
from review.models import Delivery, Destination
from review.selectors import kept_marks
from review.selectors.kept_marks import MarksSummary
from tests.support import factories
from tests.support.images_in_review import create_image_in_review

pytestmark = pytest.mark.django_db

Pages = Callable[[User], Client]


def deliver(destination: Destination, *marks: str, days_ago: float = 0, **fields: Any) -> Delivery:
    """Create a live delivery with a file for each of these marks, as verification found them; "-": it did not look."""
    served = [
        {"name": f"{number}.jpg", "url": "https://cdn.example/a", "outcome": "alike", "distance": 3, "message": ""}
        | ({} if found == "-" else {"marks": found})
        for number, found in enumerate(marks)
    ]
    asset = create_image_in_review(destination.brand).asset
    live = {"observed": "present", "verified_at": timezone.now() - timedelta(days=days_ago), "verification": served}
    return factories.DeliveryFactory(
        asset=asset, destination=destination, version=asset.current_version, **(live | fields)
    )


@pytest.fixture
def shop(brand: Brand) -> Destination:
    return factories.DestinationFactory(brand=brand, name="Shop in Porto", slug="porto", kind="wordpress")


def test_files_are_counted_by_what_is_left_of_their_marks(brand: Brand, shop: Destination) -> None:
    other = factories.DestinationFactory(brand=brand)
    deliver(shop, "kept", "kept", "label")
    deliver(shop, "lost", "", "-")
    deliver(shop, "lost", observed="absent")
    deliver(shop)
    found = kept_marks.summarize([shop.pk, other.pk])
    assert found == {shop.pk: MarksSummary(kept=2, label=1, lost=1, unknown=2), other.pk: MarksSummary()}
    assert (found[shop.pk].checked, found[shop.pk].damaged, found[shop.pk].percent_kept) == (4, 2, 50)


def test_only_the_last_files_or_those_since_a_day_count(shop: Destination) -> None:
    deliver(shop, "lost", "lost", days_ago=40)
    deliver(shop, "label", days_ago=20)
    deliver(shop, "kept", "kept")
    assert kept_marks.summarize([shop.pk], last=3)[shop.pk] == MarksSummary(kept=2, label=1)
    since = timezone.now() - timedelta(days=30)
    assert kept_marks.summarize([shop.pk], since=since)[shop.pk] == MarksSummary(kept=2, label=1)
    assert kept_marks.summarize([shop.pk])[shop.pk].lost == 2


def test_one_lost_file_of_many_is_not_rounded_away() -> None:
    assert MarksSummary(kept=999, lost=1).percent_kept == 99
    assert MarksSummary(kept=7).percent_kept == 100
    assert MarksSummary(unknown=3).percent_kept == 0


def test_the_newest_files_are_read_from_an_index(shop: Destination) -> None:
    values = {"destinations": [shop.pk], "since": None, "limit": kept_marks.LAST_FILES}
    with connection.cursor() as cursor:
        cursor.execute("SET LOCAL enable_seqscan = off")
        cursor.execute("SET LOCAL enable_bitmapscan = off")
        cursor.execute("EXPLAIN " + kept_marks._COUNT, values)
        plan = "\n".join(row[0] for row in cursor.fetchall())
    assert "delivery_verified" in plan and "Sort" not in plan, plan


def test_every_kind_says_what_happens_and_what_to_do() -> None:
    for kind in base.DESTINATIONS:
        advice = kept_marks.find_advice(kind.kind)
        assert advice is not None and advice.cause.endswith(".") and advice.remedy.endswith("."), kind.kind
    assert kept_marks.find_advice("gone") is None


def test_a_destination_that_loses_marks_says_what_to_do(
    brand: Brand, shop: Destination, viewer: User, page_client: Pages
) -> None:
    address = reverse("destination", args=[brand.slug, shop.pk])
    page = page_client(viewer).get(address).content.decode()
    assert "There is none yet." in page and "What to do" not in page
    deliver(shop, "kept", "lost")
    advice = kept_marks.find_advice("wordpress")
    assert advice is not None
    page = page_client(viewer).get(address).content.decode()
    for words in ("The last 2 files", "<b>1</b> without marks", escape(advice.cause), escape(advice.remedy)):
        assert words in page, words
    listed = page_client(viewer).get(reverse("destinations", args=[brand.slug])).content.decode()
    assert "marks lost in 1 of 2 files" in listed and f"{address}#marks" in listed


def test_a_destination_that_keeps_marks_has_no_badge(
    brand: Brand, shop: Destination, viewer: User, page_client: Pages
) -> None:
    deliver(shop, "kept")
    assert "marks lost" not in page_client(viewer).get(reverse("destinations", args=[brand.slug])).content.decode()
    page = page_client(viewer).get(reverse("destination", args=[brand.slug, shop.pk])).content.decode()
    assert "<b>1</b> with all marks" in page and "What to do" not in page


def test_a_kind_that_is_gone_still_says_that_marks_are_lost(
    brand: Brand, shop: Destination, viewer: User, page_client: Pages
) -> None:
    deliver(shop, "lost")
    Destination.objects.update(kind="gone")
    page = page_client(viewer).get(reverse("destination", args=[brand.slug, shop.pk])).content.decode()
    assert "Marks are lost there." in page


@pytest.mark.parametrize("marks", ["lost", "label"])
def test_a_delivery_links_to_the_advice(
    marks: str, brand: Brand, shop: Destination, viewer: User, page_client: Pages
) -> None:
    lost = deliver(shop, "kept", marks)
    advice = f"{reverse('destination', args=[brand.slug, shop.pk])}#marks"
    page = page_client(viewer).get(reverse("delivery", args=[brand.slug, lost.pk])).content.decode()
    assert page.count(advice) == 1 and "What to do" in page
    listed = page_client(viewer).get(reverse("deliveries", args=[brand.slug])).content.decode()
    assert listed.count(advice) == 1
    assert {"lost": "marks lost", "label": "Content Credentials lost"}[marks] in listed


def test_the_api_has_the_sums_and_the_advice(brand: Brand, shop: Destination, lead: User) -> None:
    deliver(shop, "kept", "lost", "")
    client = APIClient()
    client.force_authenticate(lead)
    found = client.get(f"/api/v1/destinations/{shop.pk}/").json()
    assert found["marks"] == {"kept": 1, "label_only": 0, "lost": 1, "unknown": 1}
    assert "2560 px" in found["marks_advice"]["remedy"]
    delivery = Delivery.objects.get()
    [first, second, third] = client.get(f"/api/v1/deliveries/{delivery.pk}/").json()["verification"]
    assert (first["marks"], second["marks"], third["marks"]) == ("kept", "lost", "")
    Delivery.objects.update(observed="absent", verification=[])
    assert client.get(f"/api/v1/destinations/{shop.pk}/").json()["marks_advice"] is None
