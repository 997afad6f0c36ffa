"""Test deliveries of AVIF files: where they arrive, and what is said where they are not taken."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from core import stored_files
from generation.finishing import encode
from generation.models import Rendition
from generation.provenance import marks
from review.choices import ObservedState
from review.delivery.wordpress.site import AVIF_HINT
from review.models import Delivery, ReviewTask
from review.selectors import public_files
from review.services import deliveries
from tests.support import site_deliveries
from tests.support.engines import noise_pixels
from tests.support.shopify_deliveries import approve, attempt, create_destination, create_image_and_product
from tests.support.shopify_server import serving_shop
from tests.support.wordpress_server import WordPressServer, serving

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def private_addresses(settings: Any, clean_redis: Any) -> None:
    settings.PROOFLINE = settings.PROOFLINE | {"allow_private_webhooks": True}


@pytest.fixture
def site() -> Iterator[WordPressServer]:
    with serving() as running:
        yield running


def make_avif(task: ReviewTask) -> Rendition:
    """Make the only file of the image an AVIF, as finishing encodes one."""
    rendition = Rendition.objects.get(version__asset=task.asset_id)
    file = encode.encode(noise_pixels(1, 96, 96), "avif")
    stored = stored_files.put(file.data, suffix="avif")
    Rendition.objects.filter(pk=rendition.pk).update(
        sha256=stored.sha256, storage_key=stored.key, bytes=stored.bytes, width=96, height=96, image_format="avif"
    )
    return Rendition.objects.get(pk=rendition.pk)


def test_shopify_takes_no_avif_and_the_delivery_says_which_spec_to_change(brand: Any, lead: Any, reviewer: Any) -> None:
    with serving_shop() as server:
        create_destination(brand, lead, server)
        task, _product = create_image_and_product(brand, server)
        spec = make_avif(task).output_spec.slug
        approve(task, reviewer)
        delivery = attempt()
        assert delivery.observed != ObservedState.PRESENT
        sentence = "is image/avif, which Shopify does not take for products: choose another format (JPEG, PNG, WebP)"
        assert sentence in delivery.error and f"output spec {spec}," in delivery.error
        assert not [file for file in server.shop.files.values() if file.created_at]


def test_wordpress_gets_a_marked_avif_and_an_old_one_says_what_it_needs(
    brand: Any, lead: Any, reviewer: Any, site: WordPressServer
) -> None:
    site_deliveries.create_destination(site, brand, lead, "wordpress")
    site.add_entry("posts", "spring-mugs")
    task = site_deliveries.create_task(brand, b"", kind="article", key="spring-mugs")
    make_avif(task)
    site_deliveries.approve(task, reviewer)
    site_deliveries.make_due()
    deliveries.attempt_due()
    assert site_deliveries.delivery().error.endswith(f"not allowed to upload this file type. {AVIF_HINT}")
    site.takes_avif = True
    Delivery.objects.all().make_due()
    site_deliveries.finish()
    assert site_deliveries.delivery().observed == ObservedState.PRESENT
    [media] = site.media.values()
    assert media.name.endswith(".avif")
    found = marks.read(media.content)
    assert found.has_profile and found.fields.source_type and found.credentials.state == "valid"


def test_the_public_address_of_an_avif_ends_with_avif(brand: Any, reviewer: Any) -> None:
    task = site_deliveries.create_task(brand, b"")
    rendition = make_avif(task)
    site_deliveries.approve(task, reviewer)
    name = public_files.public_url(rendition.pk, rendition.image_format).rpartition("/")[2]
    assert name.endswith(".avif")
    assert public_files.get_public_file(name) == rendition
