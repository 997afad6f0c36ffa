"""Test the addresses of image feeds and of their images: who can open them, when they end, and what is sent again."""

from __future__ import annotations

import gzip
import threading
import tracemalloc
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit
from xml.etree import ElementTree

import pytest
from django.db import connection, transaction
from django.test import Client
from django.test.utils import CaptureQueriesContext

from benchmarks.approved_images import create_approved_images
from campaigns.models import OutputSpec, Subject
from core.errors import NotAllowed
from core.models import Brand, Event, User
from generation.models import Asset, AssetVersion, MarkedFile, Rendition
from review.models import Delivery, ImageFeed
from review.selectors import feed_products, public_files
from review.selectors import image_feeds as selectors
from review.services import image_feed_files, retractions
from review.services import image_feeds as services
from tests.support import factories
from tests.support.image_feeds import approve, create_campaign, create_feed, create_mug, read_file

pytestmark = pytest.mark.django_db


@pytest.fixture
def mug(brand: Brand) -> Subject:
    return create_mug(brand)


@pytest.fixture
def asset(brand: Brand, mug: Subject, reviewer: User) -> Asset:
    return approve(create_campaign(brand), reviewer, mug)


@pytest.fixture
def feed(asset: Asset, brand: Brand, lead: User) -> ImageFeed:
    return create_feed(brand, lead)


def fetch(feed: ImageFeed, method: str = "get", **headers: str) -> Any:
    """Return the answer with all its bytes as `body`."""
    answer: Any = getattr(Client(), method)(selectors.address_of(feed), headers=headers)
    answer.body = answer.getvalue()
    return answer


def image_path(asset: Asset) -> str:
    file = Rendition.objects.get(version=asset.current_version, output_spec__slug="web")
    return urlsplit(public_files.public_url(file.pk, file.image_format)).path


# -- the file ---------------------------------------------------------------------------------------------------------


def test_an_unchanged_file_is_not_sent_again(feed: ImageFeed) -> None:
    first = fetch(feed)
    assert first.body.startswith(b"<?xml")
    for headers in ({"if-none-match": first["ETag"]}, {"if-modified-since": first["Last-Modified"]}):
        again = fetch(feed, **headers)
        assert (again.status_code, again.body) == (304, b""), headers
        assert (again["ETag"], again["Last-Modified"]) == (first["ETag"], first["Last-Modified"])
    feed.refresh_from_db()
    assert feed.fetched_at is not None
    assert feed.content_changed_at is not None


def test_a_request_for_an_unchanged_file_takes_three_statements(feed: ImageFeed) -> None:
    tag = fetch(feed)["ETag"]
    with CaptureQueriesContext(connection) as caught:
        assert fetch(feed, **{"if-none-match": tag}).status_code == 304
    statements = [query["sql"].split()[0] for query in caught]
    assert statements == ["SELECT", "SELECT", "UPDATE", "SELECT"]


def _rename(asset: Asset) -> None:
    Subject.objects.filter(pk=asset.subject_id).update(name="Another name")


def _change_attribute(asset: Asset) -> None:
    Subject.objects.filter(pk=asset.subject_id).update(attributes={"handle": "another"})


def _retire(asset: Asset) -> None:
    Subject.objects.filter(pk=asset.subject_id).update(is_active=False)


def _add_variant(asset: Asset) -> None:
    factories.VariantFactory(subject=asset.subject)


def _write_alt_text(asset: Asset) -> None:
    factories.DeliveryFactory(asset=asset, version=asset.current_version, alt_text="A mug on a table")


def _revoke(asset: Asset) -> None:
    lead = factories.UserFactory(is_superuser=True)
    retractions.revoke(asset_id=asset.pk, by=lead, note="wrong colour")


def _change_asset_type(asset: Asset) -> None:
    OutputSpec.objects.filter(campaign=asset.campaign_id, slug="square").update(asset_type="scene")


def _add_disclaimer(asset: Asset) -> None:
    endpoint = asset.current_version.job.endpoint
    endpoint.disclaimer = "demo model"
    endpoint.save()


def _deliver(asset: Asset) -> None:
    Delivery.objects.filter(asset=asset).update(
        observed="present", files=[{"spec": "web", "url": "https://x.example/a"}]
    )


def _change_settings(asset: Asset) -> None:
    ImageFeed.objects.filter(brand=asset.brand_id).update(additional_specs=["square"])


CHANGES = [
    _rename, _change_attribute, _add_variant, _retire, _write_alt_text, _revoke, _change_asset_type, _add_disclaimer,
    _deliver, _change_settings,
]  # fmt: skip


@pytest.mark.parametrize("change", CHANGES)
def test_every_change_of_the_content_gives_another_tag(
    change: Callable[[Asset], None], asset: Asset, feed: ImageFeed, brand: Brand
) -> None:
    destination = factories.DestinationFactory(brand=brand)
    factories.DeliveryFactory(asset=asset, destination=destination, version=asset.current_version)
    ImageFeed.objects.filter(pk=feed.pk).update(destination=destination)
    first = fetch(feed)
    change(asset)
    again = fetch(feed, **{"if-none-match": first["ETag"]})
    assert again.status_code == 200
    assert again["ETag"] != first["ETag"]
    assert again["Last-Modified"] > first["Last-Modified"], "HTTP dates have whole seconds"
    later = fetch(feed, **{"if-modified-since": first["Last-Modified"]})
    assert later.status_code == 200


def test_other_changes_do_not_give_another_tag(asset: Asset, feed: ImageFeed, brand: Brand, other_brand: Brand) -> None:
    tag = fetch(feed)["ETag"]
    factories.SubjectFactory(brand=brand)
    factories.SubjectFactory(brand=other_brand)
    asset.save()
    services.renew_address(feed_id=feed.pk, by=factories.UserFactory(is_superuser=True))
    feed.refresh_from_db()
    assert fetch(feed)["ETag"] == tag


@pytest.mark.django_db(transaction=True)
def test_a_change_that_is_committed_late_gives_another_tag(asset: Asset, feed: ImageFeed) -> None:
    """Its time is before that of the change which a receiver has seen, so the newest time would not do."""
    is_renamed, may_commit = threading.Event(), threading.Event()

    def rename_slowly() -> None:
        try:
            with transaction.atomic():
                Subject.objects.get(pk=asset.subject_id).save()
                Subject.objects.filter(pk=asset.subject_id).update(name="Named first, committed last")
                is_renamed.set()
                assert may_commit.wait(20)
        finally:
            connection.close()

    slow = threading.Thread(target=rename_slowly)
    slow.start()
    assert is_renamed.wait(20)
    _write_alt_text(asset)
    tag = fetch(feed)["ETag"]
    may_commit.set()
    slow.join()
    assert fetch(feed, **{"if-none-match": tag}).status_code == 200


def test_head_has_the_headers_and_sends_nothing(feed: ImageFeed) -> None:
    full, head = fetch(feed), fetch(feed, "head")
    assert (head.status_code, head.body) == (200, b"")
    assert {name: head[name] for name in ("ETag", "Content-Type")} == {
        name: full[name] for name in ("ETag", "Content-Type")
    }


def test_the_file_is_compressed_for_those_who_ask(feed: ImageFeed) -> None:
    plain = fetch(feed).body
    answer = fetch(feed, **{"accept-encoding": "gzip"})
    assert answer["Content-Encoding"] == "gzip"
    assert gzip.decompress(answer.body) == plain
    again = fetch(feed, **{"accept-encoding": "gzip", "if-none-match": answer["ETag"]})
    assert again.status_code == 304


def test_a_wrong_key_opens_nothing(feed: ImageFeed) -> None:
    address = selectors.address_of(feed)
    path, _mark, _query = address.partition("?")
    for wrong in (
        path,
        f"{path}?key=",
        address[:-1],
        f"{address}x",
        f"{path}?key=ä",
        address.replace(f"/{feed.pk}/", "/9999/"),
    ):
        answer = Client().get(wrong)
        assert answer.status_code == 404, wrong
    feed.sealed_key = "unreadable"
    feed.save()
    assert Client().get(address).status_code == 404


def test_a_renewed_address_ends_the_old_one(feed: ImageFeed, lead: User) -> None:
    old = selectors.address_of(feed)
    renewed = services.renew_address(feed_id=feed.pk, by=lead)
    assert Client().get(old).status_code == 404
    assert fetch(renewed).status_code == 200


def test_a_feed_that_is_switched_off_or_deleted_ends(feed: ImageFeed, lead: User) -> None:
    address = selectors.address_of(feed)
    services.change(feed_id=feed.pk, by=lead, is_enabled=False)
    assert Client().get(address).status_code == 404
    services.change(feed_id=feed.pk, by=lead, is_enabled=True)
    assert fetch(feed).status_code == 200
    services.delete(feed_id=feed.pk, by=lead)
    assert Client().get(address).status_code == 404


def test_no_event_has_the_key(feed: ImageFeed, lead: User) -> None:
    services.change(feed_id=feed.pk, by=lead, name="Renamed")
    renewed = services.renew_address(feed_id=feed.pk, by=lead)
    keys = [feed.key, renewed.key]
    services.delete(feed_id=feed.pk, by=lead)
    events = Event.objects.filter(object_type="image_feed")
    assert list(events.values_list("type", flat=True)) == [
        "review.image_feed.saved",
        "review.image_feed.saved",
        "review.image_feed.address_renewed",
        "review.image_feed.deleted",
    ]
    assert not [key for key in keys for event in events if key in str(event.payload)]


@pytest.mark.parametrize("role", ["viewer", "reviewer", "integrator", "campaign_manager"])
def test_only_those_who_edit_the_brand_change_feeds(role: str, feed: ImageFeed, person: Callable[..., User]) -> None:
    user = person(role)
    for forbidden in (
        lambda: create_feed(feed.brand, user),
        lambda: services.change(feed_id=feed.pk, by=user, name="x"),
        lambda: services.renew_address(feed_id=feed.pk, by=user),
        lambda: services.delete(feed_id=feed.pk, by=user),
    ):
        with pytest.raises(NotAllowed):
            forbidden()


# -- images -----------------------------------------------------------------------------------------------------------


def test_the_images_of_a_feed_open_without_a_session(asset: Asset, feed: ImageFeed) -> None:
    addresses = [
        link.text
        for item in ElementTree.fromstring(read_file(feed)).iter("item")  # noqa: S314
        for link in item
        if link.tag.endswith("link")
    ]
    assert len(addresses) == 3
    for address in addresses:
        answer = Client().get(address)
        assert (answer.status_code, answer["Content-Type"]) == (200, "image/jpeg")
        assert answer["Cache-Control"] == "public, max-age=3600"
        file = MarkedFile.objects.get(rendition=address.rsplit("/", 1)[-1].partition("-")[0])
        assert answer["ETag"] == f'"{file.sha256}"'
        assert len(answer.getvalue()) == file.bytes
        assert Client().get(address, headers={"if-none-match": answer["ETag"]}).status_code == 304


def test_an_image_that_is_no_longer_approved_is_gone(asset: Asset, feed: ImageFeed, lead: User) -> None:
    path = image_path(asset)
    assert Client().get(path).status_code == 200
    retractions.revoke(asset_id=asset.pk, by=lead, note="wrong colour")
    answer = Client().get(path)
    assert answer.status_code == 410
    assert Client().get(path, headers={"if-none-match": "*"}).status_code == 410


def test_other_versions_and_files_are_never_public(asset: Asset, lead: User) -> None:
    other = factories.RenditionFactory(
        version=asset.current_version,
        recipe_version=2,
        output_spec=OutputSpec.objects.get(campaign=asset.campaign_id, slug="web"),
    )
    assert Client().get(urlsplit(public_files.public_url(other.pk, "jpeg")).path).status_code == 410
    version = factories.AssetVersionFactory(asset=asset, candidate=2)
    unpicked = factories.RenditionFactory(version=version)
    assert AssetVersion.objects.filter(asset=asset).count() == 2
    assert Client().get(urlsplit(public_files.public_url(unpicked.pk, "jpeg")).path).status_code == 410


def test_changed_addresses_of_images_open_nothing(asset: Asset) -> None:
    path = image_path(asset)
    stem, _dot, extension = path.rpartition(".")
    number, _dash, signature = stem.rpartition("/")[2].partition("-")
    changed = [
        f"{stem}.png", f"{stem}x.{extension}", stem, f"/feeds/images/{int(number) + 1}-{signature}.jpg",
        f"/feeds/images/{number}.jpg", f"/feeds/images/{number}-.jpg", "/feeds/images/-.jpg", "/feeds/images/ä-ä.jpg",
    ]  # fmt: skip
    for address in changed:
        assert Client().get(address).status_code == 404, address


# -- size -------------------------------------------------------------------------------------------------------------

_FILES = """
INSERT INTO generation_rendition (version_id, output_spec_id, recipe_version, sha256, storage_key, image_format, width,
                                  height, bytes, created_at)
SELECT current_version_id, %s, 1, lpad('', 64, 'a'), 'x', 'jpeg', 1600, 1600, 1000, now() FROM generation_asset
WHERE brand_id = %s
"""


def create_large_feed(products: int) -> ImageFeed:
    """Return a feed of so many products with one image each."""
    brand, _user = create_approved_images(products, {"renditions": {"web": "a" * 64}})
    spec = factories.OutputSpecFactory(campaign=Asset.objects.filter(brand=brand)[0].campaign, slug="web")
    with connection.cursor() as cursor:
        cursor.execute(_FILES, [spec.pk, brand.pk])
        cursor.execute("ANALYZE")
    return factories.ImageFeedFactory(brand=brand, main_spec="web")


def count_statements(feed: ImageFeed) -> tuple[int, int]:
    """Return the number of items and of statements."""
    with CaptureQueriesContext(connection) as caught:
        items = sum(piece.count(b"<item>") for piece in image_feed_files.stream(feed))
    return items, len(caught)


def measure_memory(feed: ImageFeed) -> int:
    """Return the most bytes of memory that the stream took at a time."""
    tracemalloc.start()
    try:
        for _piece in image_feed_files.stream(feed):
            pass
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_each_chunk_of_products_costs_the_same() -> None:
    small, large = create_large_feed(2 * feed_products.CHUNK), create_large_feed(10_000)
    of_one_chunk, last = 4, 1  # products, images, files, variants; and the products after the last chunk
    assert count_statements(small) == (2 * feed_products.CHUNK, 2 * of_one_chunk + last)
    assert count_statements(large) == (10_000, 10_000 // feed_products.CHUNK * of_one_chunk + last)
    few, many = measure_memory(small), measure_memory(large)
    assert many < 1.3 * few, (few, many)
