"""Test the page of deliveries and the page of one: states in words, buttons that mend, filters, many at once."""

from __future__ import annotations

import csv
import html
import io
import re
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from core.models import Brand, User
from generation.models import Asset
from review.models import Delivery, Destination
from review.selectors import deliveries as selectors
from review.views.deliveries import parse_wall_time
from tests.support import factories
from tests.support.images_in_review import create_image_in_review

pytestmark = pytest.mark.django_db

Pages = Callable[[User], Client]
NO_PRODUCT = "The shop has no product with the sku MUG-1. Create it there, or choose one."


@pytest.fixture
def shop(brand: Brand) -> Destination:
    return factories.DestinationFactory(brand=brand, kind="shopify", slug="shop", name="Main shop")


def create_delivery(brand: Brand, destination: Destination, asset: Asset | None = None, **fields: Any) -> Delivery:
    """Create a delivery of an approved image."""
    if asset is None:
        asset = create_image_in_review(brand).asset
        Asset.objects.filter(pk=asset.pk).update(state="approved")
    version = Asset.objects.get(pk=asset.pk).current_version
    made: Delivery = factories.DeliveryFactory(asset=asset, destination=destination, version=version, **fields)
    return made


def in_an_hour() -> Any:
    return timezone.now() + timedelta(hours=1)


#: Fields of a delivery -> its state, and what mends it.
STATES: dict[str, tuple[Callable[[], dict[str, Any]], str]] = {
    "failed": (lambda: {"observed": "failed", "error": "The shop answered 500."}, "retry"),
    "uncertain": (lambda: {"observed": "uncertain", "error": "No answer.", "due_at": in_an_hour()}, "retry"),
    "wrong": (lambda: {"observed": "present", "verification": [{"name": "a", "outcome": "missing"}]}, "send"),
    "held": (lambda: {"is_released": False}, "release"),
    "scheduled": (lambda: {"publish_at": in_an_hour(), "due_at": in_an_hour()}, ""),
    "waiting": (lambda: {"observed": "failed", "due_at": timezone.now()}, ""),
    "sending": (lambda: {"observed": "sending", "due_at": in_an_hour()}, ""),
    "removing": (lambda: {"desired": "absent", "observed": "removing", "due_at": in_an_hour()}, ""),
    "present": (lambda: {"observed": "present", "verification": [{"name": "a", "outcome": "same"}]}, ""),
    "absent": (lambda: {"desired": "absent"}, ""),
}


@pytest.mark.parametrize("state", STATES)
def test_a_state_is_said_in_words_with_the_button_that_mends_it(
    state: str, brand: Brand, shop: Destination, lead: User, page_client: Pages
) -> None:
    fields, mend = STATES[state]
    delivery = create_delivery(brand, shop, **fields())
    row = selectors.get(lead, brand, delivery.pk)
    assert (row.state, selectors.find_mend(row)) == (state, mend)  # type: ignore[attr-defined]
    page = page_client(lead).get(reverse("deliveries", args=[brand.slug])).content.decode()
    assert str(selectors.STATE_LABELS[state]) in page
    assert (f'value="{mend}:{delivery.pk}"' in page) == bool(mend)
    assert selectors.count_by_state(lead, brand) == [(state, str(selectors.STATE_LABELS[state]), 1)]
    found = page_client(lead).get(reverse("deliveries", args=[brand.slug]), {"state": state}).content.decode()
    assert delivery.asset.subject.key in found
    other = "failed" if state != "failed" else "present"
    found = page_client(lead).get(reverse("deliveries", args=[brand.slug]), {"state": other}).content.decode()
    assert "No delivery matches" in found


def test_every_state_has_a_label_and_a_tone() -> None:
    assert list(STATES) == list(selectors.STATE_LABELS) == list(selectors.TONES)


def test_a_product_that_was_not_found_is_chosen_by_hand(
    brand: Brand, shop: Destination, lead: User, manager: User, page_client: Pages
) -> None:
    shop.config = {"url": "https://acme.myshopify.com", "client_id": "app"}
    shop.secret = "hush"
    shop.save()
    delivery = create_delivery(brand, shop, observed="failed", error=NO_PRODUCT, needs="product")
    sku = delivery.asset.subject.key
    address = reverse("delivery_product", args=[brand.slug, delivery.pk])
    client = page_client(lead)
    assert address in client.get(reverse("deliveries", args=[brand.slug])).content.decode()
    assert page_client(manager).get(address).status_code == 403
    assert sku in client.get(address).content.decode()
    assert client.post(address, {"product": " "}).status_code == 422
    assert client.post(address, {"product": "gid://shopify/Product/7"}).status_code == 302
    shop.refresh_from_db()
    assert shop.config["products"] == f'{{"{sku}": "gid://shopify/Product/7"}}'
    assert shop.secret == "hush"
    delivery.refresh_from_db()
    assert delivery.due_at and not delivery.error


def test_a_kind_that_finds_its_products_by_itself_offers_no_choice(
    brand: Brand, lead: User, page_client: Pages
) -> None:
    folder = factories.DestinationFactory(brand=brand)
    delivery = create_delivery(brand, folder, observed="failed", error=NO_PRODUCT, needs="product")
    address = reverse("delivery_product", args=[brand.slug, delivery.pk])
    assert page_client(lead).get(address).status_code == 404
    assert address not in page_client(lead).get(reverse("deliveries", args=[brand.slug])).content.decode()


def test_a_destination_that_is_off_is_opened(brand: Brand, shop: Destination, lead: User, page_client: Pages) -> None:
    Destination.objects.update(is_enabled=False, disabled_reason="The shop answered 410 Gone.")
    create_delivery(brand, shop, observed="failed", error="Gone.")
    page = page_client(lead).get(reverse("deliveries", args=[brand.slug])).content.decode()
    assert "Main shop is switched off." in page and "410 Gone" in page
    assert page.count(reverse("destination", args=[brand.slug, shop.pk])) == 2


def test_filters_narrow_page_counts_and_csv(brand: Brand, shop: Destination, viewer: User, page_client: Pages) -> None:
    folder = factories.DestinationFactory(brand=brand, slug="folder")
    here, there = create_delivery(brand, shop, observed="present"), create_delivery(brand, folder, observed="failed")
    client, address = page_client(viewer), reverse("deliveries", args=[brand.slug])
    for query, shown, hidden in (
        ({"destination": "shop"}, here, there),
        ({"campaign": there.asset.campaign.slug}, there, here),
        ({"q": here.asset.subject.key}, here, there),
        ({"state": "failed"}, there, here),
    ):
        page = client.get(address, query).content.decode()
        link = reverse("delivery", args=[brand.slug, shown.pk])
        assert link in page and reverse("delivery", args=[brand.slug, hidden.pk]) not in page, query
        answer: Any = client.get(address, {**query, "format": "csv"})
        sheet = b"".join(answer.streaming_content).decode("utf-8-sig")
        [row] = csv.DictReader(io.StringIO(sheet))
        assert row["Product"] == shown.asset.subject.key
    assert client.get(address, {"state": "burnt", "before": "x", "destination": "no"}).status_code == 200


def test_assets_are_paged_by_keyset_with_all_their_destinations(
    brand: Brand, shop: Destination, viewer: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(selectors, "PAGE_SIZE", 2)
    folder = factories.DestinationFactory(brand=brand, slug="folder")
    made = [create_delivery(brand, shop).asset for _ in range(3)]
    for asset in made:
        create_delivery(brand, folder, asset=asset)
    first, before = selectors.page(viewer, brand, selectors.Filters())
    assert [row.asset.pk for row in first] == [made[2].pk, made[1].pk]
    assert [[delivery.destination.slug for delivery in row.deliveries] for row in first] == [["folder", "shop"]] * 2
    second, end = selectors.page(viewer, brand, selectors.Filters(), before=before)
    assert [row.asset.pk for row in second] == [made[0].pk] and end is None


def test_the_page_costs_the_same_for_any_number_of_deliveries(
    brand: Brand, shop: Destination, lead: User, page_client: Pages
) -> None:
    client, address = page_client(lead), reverse("deliveries", args=[brand.slug])
    counts = []
    for many in (1, 10):
        for _ in range(many):
            create_delivery(brand, shop, observed="failed", error="The shop answered 500.")
        client.get(address)
        with CaptureQueriesContext(connection) as queries:
            client.get(address)
        counts.append(len(queries))
    assert counts[0] == counts[1] <= 13, counts


# -- actions -----------------------------------------------------------------------------------------------------------


def test_the_chosen_the_one_or_all_that_match_are_retried(
    brand: Brand, shop: Destination, manager: User, page_client: Pages
) -> None:
    made = [create_delivery(brand, shop, observed="failed", error="500.") for _ in range(4)]
    client, address = page_client(manager), reverse("deliveries_act", args=[brand.slug])

    def retried() -> int:
        return Delivery.objects.filter(due_at__isnull=False).count()

    answer = client.post(address, {"one": f"retry:{made[0].pk}", "state": "failed"}, follow=True)
    assert "1 delivery is tried again now." in answer.content.decode() and retried() == 1
    assert answer.redirect_chain[-1][0].endswith("?state=failed"), "the filters stay"
    client.post(address, {"verb": "retry", "delivery": [made[1].pk]})
    assert retried() == 2
    answer = client.post(address, {"verb": "retry", "everything": "1", "state": "failed"}, follow=True)
    assert "2 deliveries are tried again now." in answer.content.decode() and retried() == 4
    answer = client.post(address, {"verb": "retry"}, follow=True)
    assert "Select a delivery first" in answer.content.decode()
    answer = client.post(address, {"verb": "send", "delivery": [made[1].pk]}, follow=True)
    assert "only an approved image that is live or was recalled" in answer.content.decode()
    assert client.post(address, {"verb": "burn"}).status_code == 404
    assert client.post(address, {"one": "retry:x"}).status_code == 302


def test_all_that_match_is_no_more_than_the_filters_show(
    brand: Brand, shop: Destination, manager: User, page_client: Pages
) -> None:
    folder = factories.DestinationFactory(brand=brand, slug="folder")
    kept = create_delivery(brand, folder, observed="present")
    gone = create_delivery(brand, shop, observed="present")
    given = {"verb": "recall", "everything": "1", "destination": "shop"}
    page_client(manager).post(reverse("deliveries_act", args=[brand.slug]), given)
    kept.refresh_from_db()
    gone.refresh_from_db()
    assert (kept.desired, gone.desired) == ("present", "absent")


@pytest.mark.parametrize("role", ["viewer", "designer", "reviewer"])
def test_others_see_no_buttons_and_are_refused(
    role: str, brand: Brand, shop: Destination, person: Callable[..., User], page_client: Pages
) -> None:
    delivery = create_delivery(brand, shop, observed="failed", error="500.")
    client = page_client(person(role))
    for page in (reverse("deliveries", args=[brand.slug]), reverse("delivery", args=[brand.slug, delivery.pk])):
        text = client.get(page).content.decode()
        assert 'name="verb"' not in text and 'name="one"' not in text and "checkbox" not in text
    for verb in ("retry", "release", "recall", "restore", "send", "schedule"):
        given = {"verb": verb, "delivery": [delivery.pk]}
        assert client.post(reverse("deliveries_act", args=[brand.slug]), given).status_code == 403


def test_a_time_is_read_as_the_brands(brand: Brand, shop: Destination, manager: User, page_client: Pages) -> None:
    Brand.objects.update(time_zone="America/New_York")
    delivery = create_delivery(brand, shop, due_at=timezone.now())
    given = {"one": f"schedule:{delivery.pk}", "from": "delivery", "publish_at": "2031-01-15T08:00"}
    client = page_client(manager)
    answer = client.post(reverse("deliveries_act", args=[brand.slug]), given, follow=True)
    delivery.refresh_from_db()
    assert delivery.publish_at and delivery.publish_at.isoformat() == "2031-01-15T13:00:00+00:00"
    page = answer.content.decode()
    assert 'value="2031-01-15T08:00"' in page and "America/New_York" in page
    for wrong, words in (("2001-01-01T08:00", "has passed"), ("soon", "such as 2026"), ("9999-12-31T23:00", "such as")):
        given = {"verb": "schedule", "delivery": [str(delivery.pk)], "publish_at": wrong}  # type: ignore[dict-item]
        page = client.post(reverse("deliveries_act", args=[brand.slug]), given, follow=True).content.decode()
        assert words in page, wrong


def test_a_time_that_the_clocks_leave_out_is_refused(brand: Brand) -> None:
    brand.time_zone = "Europe/Berlin"
    with pytest.raises(Exception, match="clocks go forward"):
        parse_wall_time("2027-03-28T02:30", brand)
    assert parse_wall_time("2027-10-31T02:30", brand) is not None
    assert parse_wall_time(" ", brand) is None


# -- one delivery ------------------------------------------------------------------------------------------------------


def test_one_delivery_shows_what_is_served_and_its_attempts(
    brand: Brand, shop: Destination, viewer: User, page_client: Pages
) -> None:
    served = [
        {"name": "a.jpg", "url": "https://cdn.example/a.jpg", "outcome": "alike", "distance": 3, "message": ""},
        {"name": "b.jpg", "url": "", "outcome": "different", "distance": 120, "message": ""},
        {"name": "c.jpg", "url": "", "outcome": "same", "distance": None, "message": ""},
    ]
    delivery = create_delivery(brand, shop, observed="present", verification=served, verified_at=timezone.now())
    delivery.attempt_rows.create(number=1, started_at=timezone.now(), message="answered 500")
    page = page_client(viewer).get(reverse("delivery", args=[brand.slug, delivery.pk])).content.decode()
    for words in ("3 of 256 bits differ", "another image is served", "served as sent", "answered 500", "cdn.example"):
        assert words in page, words


def test_an_alt_text_is_edited_on_the_page(brand: Brand, shop: Destination, manager: User, page_client: Pages) -> None:
    delivery = create_delivery(brand, shop, observed="present")
    client, address = page_client(manager), reverse("delivery_alt", args=[brand.slug, delivery.pk])
    answer = client.post(address, {"alt_text": "A sage mug"}, follow=True)
    assert "The alt text is changed." in answer.content.decode()
    delivery.refresh_from_db()
    assert (delivery.alt_text, delivery.due_at is not None) == ("A sage mug", True)
    assert client.post(address, {"alt_text": "x" * 513}).status_code == 422


def test_a_delivery_of_another_brand_does_not_exist(
    brand: Brand, other_brand: Brand, lead: User, page_client: Pages
) -> None:
    delivery = create_delivery(other_brand, factories.DestinationFactory(brand=other_brand))
    for name in ("delivery", "delivery_product"):
        assert page_client(lead).get(reverse(name, args=[brand.slug, delivery.pk])).status_code == 404
    address = reverse("delivery_alt", args=[brand.slug, delivery.pk])
    assert page_client(lead).post(address, {"alt_text": "x"}).status_code == 404


def test_the_progress_is_read_again_while_something_moves(
    brand: Brand, shop: Destination, viewer: User, page_client: Pages
) -> None:
    delivery = create_delivery(brand, shop, observed="present")
    client, address = page_client(viewer), reverse("deliveries", args=[brand.slug])
    assert "hx-trigger" not in client.get(address).content.decode()
    Delivery.objects.filter(pk=delivery.pk).update(observed="sending")
    part = client.get(address, headers={"HX-Request": "true"}).content.decode()
    assert 'hx-trigger="every 4s"' in part and "<html" not in part


def test_rows_that_changed_are_read_again_and_no_others(
    brand: Brand, shop: Destination, viewer: User, page_client: Pages
) -> None:
    long_ago = timezone.now() - timedelta(minutes=5)
    done, other = (create_delivery(brand, shop, observed="sending") for _ in range(2))
    outside = create_delivery(brand, shop, observed="failed", error="500.")
    Delivery.objects.update(changed_at=long_ago)
    client, address = page_client(viewer), reverse("deliveries", args=[brand.slug])
    page = client.get(address, {"state": "sending"}).content.decode()
    query = re.search(r'hx-get="[^"]*\?([^"]*)"', page)
    assert query and f'id="state-{other.pk}"' in page
    polled = f"{address}?{html.unescape(query[1])}"
    Delivery.objects.filter(pk__in=[done.pk, outside.pk]).update(
        observed="present", error="", changed_at=timezone.now()
    )
    with CaptureQueriesContext(connection) as queries:
        part = client.get(polled, headers={"HX-Request": "true"}).content.decode()
    assert f'<div id="state-{done.pk}" hx-swap-oob="true">' in part and "live" in part, "also when it left the filter"
    assert f'id="served-{done.pk}"' in part and f'id="time-{done.pk}"' in part
    assert f"state-{other.pk}" not in part and f"state-{outside.pk}" not in part, "not changed; not on this page"
    assert "since=" in part and 'hx-trigger="every 4s"' in part
    assert len([query for query in queries if "review_delivery" in query["sql"]]) == 2
    for broken in ("first=x&last=1&since=1", "first=1&last=1&since=999999999999999"):
        answer = client.get(f"{address}?{broken}", headers={"HX-Request": "true"})
        assert answer.status_code == 200 and "oob" not in answer.content.decode()
