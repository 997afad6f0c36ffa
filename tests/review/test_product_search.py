"""Test the search for a destination's product, at shops of ours over real sockets, and the page that offers it."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse
from PIL import Image

from core.errors import NotAllowed
from core.models import Brand, User
from review.models import Delivery, Destination
from review.services import deliveries, destination_checks
from tests.support import factories, site_deliveries
from tests.support.images_in_review import create_image_in_review
from tests.support.shopify_deliveries import approve, create_destination
from tests.support.shopify_server import ShopifyServer, serving_shop
from tests.support.wordpress_server import serving

pytestmark = pytest.mark.django_db(transaction=True)

Pages = Callable[[User], Client]


@pytest.fixture
def server(settings: Any) -> Iterator[ShopifyServer]:
    settings.PROOFLINE = settings.PROOFLINE | {"allow_private_webhooks": True}
    with serving_shop() as running:
        yield running


@pytest.fixture
def shop(brand: Brand, lead: User, server: ShopifyServer) -> Destination:
    """Return a shop with two mugs and a bowl; the sage mug has an image, the bowl's file is no image."""
    for title, sku in (("Sage mug", "SM-1"), ("Clay mug", "CM-1"), ("Sage bowl", "SB-1")):
        product = server.shop.add_product(sku)
        product.title = title
        if sku != "CM-1":
            content = jpeg() if sku == "SM-1" else b"<html>"
            product.media.append(server.shop.add_file(f"{sku}.jpg", content, title, created_at=0.0).id)
    return create_destination(brand, lead, server)


def jpeg() -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (8, 8), (120, 150, 120)).save(buffer, "JPEG")
    return buffer.getvalue()


def search(destination: Destination, text: str, by: User) -> list[tuple[str, str]]:
    found = destination_checks.find_products(destination_id=destination.pk, text=text, by=by)
    assert not found.error
    return [(offer.product.title, offer.product.sku) for offer in found.products]


@pytest.mark.parametrize(
    ("text", "skus"),
    [
        ("mug", {"SM-1", "CM-1"}),
        ("sage mu", {"SM-1"}),
        ("sb-1", {"SB-1"}),
        ('"mug" OR (x:y)', set()),
        ("-mug", {"SM-1", "CM-1"}),
        ("*:*", set()),
        ("teapot", set()),
    ],
)
def test_shopify_finds_products_by_words_and_skus(text: str, skus: set[str], shop: Destination, lead: User) -> None:
    assert {sku for _title, sku in search(shop, text, lead)} == skus


def test_the_image_of_a_product_is_carried_in_the_page(shop: Destination, lead: User, viewer: User) -> None:
    found = destination_checks.find_products(destination_id=shop.pk, text="sage", by=lead)
    images = {offer.product.sku: offer.image for offer in found.products}
    assert images == {"SM-1": f"data:image/jpeg;base64,{base64.b64encode(jpeg()).decode()}", "SB-1": ""}
    with pytest.raises(NotAllowed):
        destination_checks.find_products(destination_id=shop.pk, text="sage", by=viewer)


def test_an_error_of_the_shop_is_said(shop: Destination, server: ShopifyServer, lead: User) -> None:
    server.shop.scopes.remove("read_products")
    found = destination_checks.find_products(destination_id=shop.pk, text="mug", by=lead)
    assert found.products == [] and "Access denied" in found.error


def test_woocommerce_finds_names_skus_and_variations(settings: Any, brand: Brand, lead: User) -> None:
    settings.PROOFLINE = settings.PROOFLINE | {"allow_private_webhooks": True}
    with serving() as site:
        destination = site_deliveries.create_destination(site, brand, lead, "woocommerce")
        mug = site.add_product("MUG-1", [site.add_media()])
        site.products[mug]["name"] = "Sage mug"
        variation = site.add_variation(mug, "MUG-1-L")
        site.add_product("BOWL-1", [])
        assert search(destination, "sage", lead) == [("Sage mug", "MUG-1")]
        found = destination_checks.find_products(destination_id=destination.pk, text="MUG-1-L", by=lead)
        assert [offer.product.id for offer in found.products] == [f"{mug}/{variation}"]
        assert search(destination, "MUG-1", lead) == [("Sage mug", "MUG-1")], "named once, found twice"


def test_a_product_is_searched_and_chosen_on_the_page(
    brand: Brand, shop: Destination, server: ShopifyServer, reviewer: User, lead: User, page_client: Pages
) -> None:
    task = create_image_in_review(brand)
    approve(task, reviewer)
    assert deliveries.attempt_due() == 1
    delivery = Delivery.objects.get()
    assert delivery.needs == "product" and "choose one" in delivery.error
    client, address = page_client(lead), reverse("delivery_product", args=[brand.slug, delivery.pk])
    assert address in client.get(reverse("deliveries", args=[brand.slug])).content.decode()
    page = client.get(address).content.decode()
    assert f'value="{task.asset.subject.name}"' in page and "product-choice" not in page
    for headers in ({}, {"HX-Request": "true"}):
        page = client.get(address, {"q": "sage mug"}, headers=headers).content.decode()
        assert "<b>Sage mug</b>" in page and "data:image/jpeg" in page
    page = client.get(address, {"q": "teapot"}).content.decode()
    assert "The destination found no product." in page
    product = next(row for row in server.shop.products.values() if row.title == "Sage mug")
    assert client.post(address, {"product": product.id}).status_code == 302
    assert deliveries.attempt_due() == 1 and len(product.media) == 2
    delivery.refresh_from_db()
    assert (delivery.observed, delivery.needs) == ("present", "")


def test_a_kind_without_a_search_offers_none(brand: Brand, lead: User) -> None:
    folder = factories.DestinationFactory(brand=brand)
    assert not destination_checks.can_search(folder)
