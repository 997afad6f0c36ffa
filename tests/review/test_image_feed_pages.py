"""Test the pages and the API of image feeds: setting one up, its address, its content, and who may do what."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.test import Client
from rest_framework.test import APIClient

from campaigns.models import Subject
from core.models import Brand, StoredResponse, User
from generation.models import Asset
from review.models import ImageFeed
from review.selectors import image_feeds as selectors
from tests.support import factories
from tests.support.image_feeds import approve, create_campaign, create_feed, create_mug

pytestmark = pytest.mark.django_db

Pages = Callable[[User], Client]
Clients = Callable[[User], APIClient]


@pytest.fixture
def campaign(brand: Brand) -> Any:
    return create_campaign(brand)


@pytest.fixture
def mug(brand: Brand) -> Subject:
    return create_mug(brand)


@pytest.fixture
def asset(campaign: Any, mug: Subject, reviewer: User) -> Asset:
    return approve(campaign, reviewer, mug, web={"width": 400, "height": 400})


@pytest.fixture
def feed(asset: Asset, brand: Brand, lead: User) -> ImageFeed:
    return create_feed(brand, lead)


def text(answer: Any) -> str:
    return str(answer.content.decode())


# -- pages ------------------------------------------------------------------------------------------------------------


def test_a_lead_sets_up_a_feed_and_copies_its_address(
    campaign: Any, brand: Brand, lead: User, page_client: Pages
) -> None:
    client, base = page_client(lead), f"/brands/{brand.slug}/image-feeds/"
    assert "No image feed yet" in text(client.get(base))
    form = text(client.get(f"{base}new/"))
    assert "square (800 × 800 px)" in form
    values = {"name": "Google", "layout": "google_merchant", "main_spec": "web", "additional_specs": ["square"]}
    answer = client.post(f"{base}new/", values, follow=True)
    feed = ImageFeed.objects.get()
    assert (feed.brand, feed.layout, feed.main_spec, feed.additional_specs) == (
        *(brand, "google_merchant", "web", ["square"]),
    )
    assert f'value="{selectors.address_of(feed)}"' in text(answer)
    assert "Google is set up. Copy its address to the receiver." in text(answer)
    assert "Google" in text(client.get(base))


def test_mistakes_are_shown_beside_their_fields(campaign: Any, brand: Brand, lead: User, page_client: Pages) -> None:
    client, base = page_client(lead), f"/brands/{brand.slug}/image-feeds/"
    answer = client.post(f"{base}new/", {"name": "Google", "layout": "google_merchant", "additional_specs": ["web"]})
    assert answer.status_code == 422
    assert "Choose the output of the main image too." in text(answer)
    answer = client.post(f"{base}new/", {"name": "", "layout": "fax", "main_spec": "poster"})
    assert answer.status_code == 422
    assert not ImageFeed.objects.exists()


def test_additional_outputs_keep_their_order(campaign: Any, brand: Brand, lead: User, page_client: Pages) -> None:
    feed = create_feed(brand, lead, additional_specs=["square", "scene"])
    values = {"name": "Shop", "layout": "json", "main_spec": "square", "additional_specs": ["scene", "square", "web"]}
    page_client(lead).post(f"/brands/{brand.slug}/image-feeds/{feed.pk}/", values)
    feed.refresh_from_db()
    assert (feed.layout, feed.additional_specs) == ("json", ["square", "scene", "web"])


def test_the_page_says_what_is_in_the_file(feed: ImageFeed, asset: Asset, integrator: User, page_client: Pages) -> None:
    shown = text(page_client(integrator).get(f"/brands/{feed.brand.slug}/image-feeds/{feed.pk}/content/"))
    assert "<b>1</b> product with 3 images." in shown
    assert "<b>1</b> small image" in shown
    assert "The image has 400 × 400 px. Google refuses images below 500 × 500 px from 31 January 2027 on." in shown
    assert f"/brands/{feed.brand.slug}/assets/{asset.pk}/" in shown


def test_addresses_on_http_are_warned_about(feed: ImageFeed, lead: User, page_client: Pages, settings: Any) -> None:
    address = f"/brands/{feed.brand.slug}/image-feeds/{feed.pk}/"
    settings.SITE_URL = "http://10.0.0.1:8000"
    assert "The addresses begin with http://10.0.0.1:8000" in text(page_client(lead).get(address))
    settings.SITE_URL = "https://images.example"
    shown = text(page_client(lead).get(address))
    assert "The addresses begin with" not in shown
    assert "https://images.example/feeds/" in shown


def test_a_feed_is_switched_renewed_and_deleted(feed: ImageFeed, lead: User, page_client: Pages) -> None:
    client, base = page_client(lead), f"/brands/{feed.brand.slug}/image-feeds/{feed.pk}/"
    assert "its address answers 404" in text(client.post(f"{base}off/", follow=True))
    assert "at the same address" in text(client.post(f"{base}on/", follow=True))
    key = feed.key
    assert "There is a new address" in text(client.post(f"{base}renew/", follow=True))
    feed.refresh_from_db()
    assert (feed.key != key, feed.is_enabled) == (True, True)
    assert client.post(f"{base}explode/").status_code == 404
    assert "Shop is deleted." in text(client.post(f"{base}delete/", follow=True))
    assert not ImageFeed.objects.exists()


def test_a_feed_with_an_unreadable_key_can_be_renewed(feed: ImageFeed, lead: User, page_client: Pages) -> None:
    ImageFeed.objects.update(sealed_key="unreadable")
    address = f"/brands/{feed.brand.slug}/image-feeds/{feed.pk}/"
    assert "The address cannot be read" in text(page_client(lead).get(address))
    page_client(lead).post(f"{address}renew/")
    feed.refresh_from_db()
    assert selectors.address_of(feed)


@pytest.mark.parametrize(
    ("role", "can_see", "can_change"),
    [("viewer", False, False), ("reviewer", False, False), ("integrator", True, False), ("lead", True, True)],
)
def test_pages_need_the_rights_of_destinations(
    role: str, can_see: bool, can_change: bool, feed: ImageFeed, person: Callable[..., User], page_client: Pages
) -> None:
    client, base = page_client(person(role)), f"/brands/{feed.brand.slug}/image-feeds/"
    for path in ("", f"{feed.pk}/", f"{feed.pk}/content/"):
        assert client.get(base + path).status_code == (200 if can_see else 403), path
    assert client.get(f"{base}new/").status_code == (200 if can_change else 403)
    assert client.post(f"{base}{feed.pk}/renew/").status_code == (302 if can_change else 403)
    assert ("Renew the address" in text(client.get(f"{base}{feed.pk}/"))) == can_change


def test_a_feed_of_another_brand_is_not_found(
    feed: ImageFeed, other_brand: Brand, person: Callable[..., User], page_client: Pages, api_client: Clients
) -> None:
    stranger = person("lead", brand=other_brand)
    base = f"/brands/{other_brand.slug}/image-feeds/{feed.pk}/"
    assert page_client(stranger).get(base).status_code == 404
    assert page_client(stranger).post(f"{base}delete/").status_code == 404
    client = api_client(stranger)
    assert client.get(f"/api/v1/image-feeds/{feed.pk}/address/").status_code == 404
    assert client.delete(f"/api/v1/image-feeds/{feed.pk}/").status_code == 404


# -- API --------------------------------------------------------------------------------------------------------------


def test_a_feed_by_the_api(campaign: Any, brand: Brand, lead: User, api_client: Clients) -> None:
    client, base = api_client(lead), "/api/v1/image-feeds/"
    values = {
        "brand": brand.slug, "name": "Shop", "layout": "shopify_csv", "campaign": campaign.pk, "main_spec": "web",
        "additional_specs": ["scene"],
    }  # fmt: skip
    made = client.post(base, values, format="json", headers={"idempotency-key": "one"})
    assert made.status_code == 201, made.content
    one = f"{base}{made.json()['id']}/"
    assert [row["id"] for row in client.get(base).json()["results"]] == [made.json()["id"]]
    address = client.get(f"{one}address/")
    assert Client().get(address.json()["address"]).getvalue().startswith(b"URL handle,Title")
    assert address["Cache-Control"] == "no-store"

    assert client.patch(one, {"name": "x"}, format="json").status_code == 428
    changed = client.patch(
        one, {"name": "Shop 2", "is_enabled": False}, format="json", headers={"if-match": made["ETag"]}
    )
    assert (changed.json()["name"], changed.json()["is_enabled"]) == ("Shop 2", False)
    assert client.post(f"{one}renew/").json()["address"] != address.json()["address"]
    assert client.delete(one).status_code == 204
    assert client.get(one).status_code == 404


def test_the_api_never_stores_or_lists_the_address(
    feed: ImageFeed, lead: User, brand: Brand, api_client: Clients
) -> None:
    client = api_client(lead)
    values = {"brand": brand.slug, "name": "Shop", "layout": "json"}
    made = client.post("/api/v1/image-feeds/", values, format="json", headers={"idempotency-key": "one"})
    key = ImageFeed.objects.get(pk=made.json()["id"]).key
    assert key not in text(made)
    assert not [row for row in StoredResponse.objects.all() if key in str(row.body)]
    assert feed.key not in text(client.get("/api/v1/image-feeds/"))


def test_the_report_by_the_api(feed: ImageFeed, asset: Asset, integrator: User, api_client: Clients) -> None:
    report = api_client(integrator).get(f"/api/v1/image-feeds/{feed.pk}/report/").json()
    [problem] = report.pop("problems")
    assert report == {"products": 1, "images": 3, "left_out": 0, "has_more": False, "counts": {"small": 1}}
    assert (problem["kind"], problem["key"], problem["asset"], problem["is_left_out"]) == (
        *("small", "MUG-1", asset.pk, False),
    )


@pytest.mark.parametrize(
    ("values", "pointer"),
    [
        ({"layout": "fax"}, "layout"),
        ({"main_spec": "poster"}, "main_spec"),
        ({"additional_specs": ["web"]}, "main_spec"),
        ({"main_spec": "web", "additional_specs": ["poster"]}, "additional_specs"),
        ({"name": " "}, "name"),
    ],
)
def test_the_api_refuses_what_cannot_be_used(
    values: dict[str, Any], pointer: str, campaign: Any, brand: Brand, lead: User, api_client: Clients
) -> None:
    whole = {"brand": brand.slug, "name": "Shop", "layout": "json"} | values
    answer = api_client(lead).post("/api/v1/image-feeds/", whole, format="json")
    assert answer.status_code == 422, answer.content
    assert [error["pointer"].strip("/") for error in answer.json()["errors"]] == [pointer]


def test_rows_of_another_brand_cannot_be_named(
    brand: Brand, other_brand: Brand, person: Any, api_client: Clients
) -> None:
    user = person("lead")
    factories.MembershipFactory(brand=other_brand, user=user, role="lead")
    for name, row in (
        ("campaign", factories.CampaignFactory(brand=other_brand)),
        ("destination", factories.DestinationFactory(brand=other_brand)),
    ):
        values = {"brand": brand.slug, "name": "Shop", "layout": "json", name: row.pk}
        answer = api_client(user).post("/api/v1/image-feeds/", values, format="json")
        assert answer.status_code == 422
        assert name in answer.json()["errors"][0]["pointer"]
