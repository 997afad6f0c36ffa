"""Test image feeds: what is in each layout, read by other programs, and which images are chosen or left out."""

from __future__ import annotations

import csv
import io
import json
from typing import Any
from xml.etree import ElementTree

import pytest

from campaigns.models import ReferencePhoto, Subject
from campaigns.services import imports
from core.models import Brand, User
from generation.models import Asset, Rendition
from review.choices import ObservedState
from review.image_feeds.base import LAYOUTS
from review.models import ImageFeed
from review.selectors import feed_products
from review.services import image_feed_files
from review.services import image_feeds as services
from tests.support import factories
from tests.support.image_feeds import approve, create_campaign, create_feed, create_mug, read_file
from tests.support.marked_images import mark_released_files

pytestmark = pytest.mark.django_db

G = "{http://base.google.com/ns/1.0}"


@pytest.fixture
def campaign(brand: Brand) -> Any:
    return create_campaign(brand)


@pytest.fixture
def mug(brand: Brand) -> Subject:
    return create_mug(brand)


def read_rss(feed: ImageFeed) -> list[Any]:
    root = ElementTree.fromstring(read_file(feed))  # noqa: S314 - our own file
    assert (root.tag, root.attrib) == ("rss", {"version": "2.0"})
    assert all(root.findtext(f"channel/{name}") for name in ("title", "link", "description"))
    return root.findall("channel/item")


def file_addresses(asset: Asset) -> dict[str, str]:
    """Return output spec -> the end of the address of its file."""
    rows = Rendition.objects.filter(version=asset.current_version)
    return {slug: f"/feeds/images/{pk}-" for slug, pk in rows.values_list("output_spec__slug", "pk")}


def assert_addresses(actual: list[str], expected: list[str]) -> None:
    assert len(actual) == len(expected), actual
    for address, part in zip(actual, expected, strict=True):
        assert part in address, actual


# -- layouts ----------------------------------------------------------------------------------------------------------


def test_google_gets_the_main_image_the_others_and_the_scene(
    campaign: Any, mug: Subject, brand: Brand, lead: User, reviewer: User
) -> None:
    older = file_addresses(approve(campaign, reviewer, mug))
    newer = file_addresses(approve(campaign, reviewer, mug))
    [item] = read_rss(create_feed(brand, lead))
    assert item.findtext(f"{G}id") == "MUG-1"
    assert_addresses([item.findtext(f"{G}image_link")], [newer["web"]])
    additional = [link.text for link in item.findall(f"{G}additional_image_link")]
    assert_addresses(additional, [newer["square"], older["square"], older["scene"]])
    assert_addresses([item.findtext(f"{G}lifestyle_image_link")], [newer["scene"]])
    assert item.findtext(f"{G}image_link").endswith(".jpg")


def test_the_table_for_google_has_the_same_as_the_xml(
    campaign: Any, mug: Subject, brand: Brand, lead: User, reviewer: User
) -> None:
    approve(campaign, reviewer, mug)
    approve(campaign, reviewer, mug)
    [item] = read_rss(create_feed(brand, lead))
    [row] = csv.DictReader(io.StringIO(read_file(create_feed(brand, lead, "google_merchant_tsv"))), dialect="excel-tab")
    assert row["id"] == item.findtext(f"{G}id")
    assert row["image_link"] == item.findtext(f"{G}image_link")
    assert row["lifestyle_image_link"] == item.findtext(f"{G}lifestyle_image_link")
    additional = [link.text for link in item.findall(f"{G}additional_image_link")]
    assert row["additional_image_link"].split(",") == additional


def test_google_gets_ten_additional_images_and_the_rest_is_named(
    campaign: Any, mug: Subject, brand: Brand, lead: User, reviewer: User
) -> None:
    for _number in range(7):
        approve(campaign, reviewer, mug)
    feed = create_feed(brand, lead)
    [item] = read_rss(feed)
    links = item.findall(f"{G}additional_image_link") + item.findall(f"{G}lifestyle_image_link")
    assert len(links) == 10
    report = image_feed_files.report(feed, most=100)
    assert (report.products, report.images, report.counts) == (1, 11, {"too_many": 4})


@pytest.mark.parametrize(
    ("layout", "headings"),
    [
        ("shopify_csv", ["URL handle", "Title", "Product image URL", "Image position", "Image alt text"]),
        ("shopify_csv_legacy", ["Handle", "Title", "Image Src", "Image Position", "Image Alt Text"]),
    ],
)
def test_shopify_gets_a_row_per_image_which_our_own_import_reads_back(
    layout: str, headings: list[str], campaign: Any, mug: Subject, brand: Brand, other_brand: Brand, lead: User,
    reviewer: User, person: Any,
) -> None:  # fmt: skip
    approve(campaign, reviewer, mug)
    factories.DeliveryFactory(
        asset=approve(campaign, reviewer, mug), destination__brand=brand, alt_text="A sage mug, “seen” from above"
    )
    text = read_file(create_feed(brand, lead, layout))
    first, *others = csv.DictReader(io.StringIO(text))
    assert list(first) == headings
    handle, title, address, position, alt = headings
    assert (first[handle], first[title]) == ("sage-mug", "Mug & “Saucer”, sage")
    assert first[alt] == "A sage mug, “seen” from above"
    assert [row[position] for row in (first, *others)] == ["1", "2", "3", "4", "5"]
    assert {(row[handle], row[title]) for row in others} == {("sage-mug", "")}

    by = person("lead", brand=other_brand)
    done = imports.import_feed(brand=other_brand, file=io.BytesIO(text.encode()), file_name="images.csv", by=by)
    assert (done.status, done.dialect.get("layout")) == ("applied", "shopify"), list(
        done.issues.values_list("message", flat=True)
    )
    subject = Subject.objects.get(brand=other_brand)
    assert (subject.key, subject.name) == ("sage-mug", mug.name)
    photos = ReferencePhoto.objects.filter(subject=subject).order_by("position")
    assert [photo.source for photo in photos] == [row[address] for row in (first, *others)]
    assert photos[0].alt_text == first[alt]


def test_json_says_all_that_is_known_of_an_image(
    campaign: Any, mug: Subject, brand: Brand, lead: User, reviewer: User
) -> None:
    asset = approve(campaign, reviewer, mug)
    feed = create_feed(brand, lead, "json")
    [unmarked] = json.loads(read_file(feed))["products"]
    assert {(image["sha256"], image["bytes"]) for image in unmarked["images"]} == {(None, None)}
    tag = feed_products.content_tag(feed)
    mark_released_files()
    assert feed_products.content_tag(feed) != tag
    content = json.loads(read_file(feed))
    assert (content["version"], content["brand"]) == (1, brand.name)
    [product] = content["products"]
    assert (product["id"], product["key"], product["name"]) == ("MUG-1", "MUG-1", mug.name)
    main, *others = product["images"]
    file = Rendition.objects.get(version=asset.current_version, output_spec__slug="web")
    assert file.marked_file is not None
    assert main | {"url": ""} == {
        "url": "", "role": "main", "is_scene": False, "alt_text": mug.name, "media_type": "image/jpeg", "width": 1600,
        "height": 800, "bytes": file.marked_file.bytes, "sha256": file.marked_file.sha256, "output": "web",
        "asset": asset.pk, "file": file.pk, "disclaimer": "",
    }  # fmt: skip
    assert [(image["role"], image["output"], image["is_scene"]) for image in others] == [
        ("additional", "square", False),
        ("additional", "scene", True),
    ]


@pytest.mark.parametrize("layout", LAYOUTS.names())
def test_a_file_without_products_is_complete(layout: str, brand: Brand, lead: User) -> None:
    text = read_file(create_feed(brand, lead, layout, main_spec="", additional_specs=[]))
    if layout == "google_merchant":
        assert ElementTree.fromstring(text).findall("channel/item") == []  # noqa: S314
    elif layout == "json":
        assert json.loads(text)["products"] == []
    else:
        assert len(text.splitlines()) == 1


# -- which images -----------------------------------------------------------------------------------------------------


def test_only_active_products_with_an_approval_in_effect_are_in_it(
    campaign: Any, mug: Subject, brand: Brand, lead: User, reviewer: User
) -> None:
    approve(campaign, reviewer, mug)
    retired = factories.SubjectFactory(brand=brand, is_active=False)
    article = factories.SubjectFactory(brand=brand, kind="article")
    for subject in (retired, article):
        approve(campaign, reviewer, subject)
    feed = create_feed(brand, lead)
    assert [item.findtext(f"{G}id") for item in read_rss(feed)] == ["MUG-1"]
    other = factories.CampaignFactory(brand=brand)
    assert read_rss(create_feed(brand, lead, campaign=other)) == []


def test_images_that_the_receiver_cannot_take_are_left_out_with_a_reason(
    campaign: Any, mug: Subject, brand: Brand, lead: User, reviewer: User
) -> None:
    approve(campaign, reviewer, mug, square={"bytes": 16_000_001}, scene={"width": 8192, "height": 8192})
    feed = create_feed(brand, lead)
    [item] = read_rss(feed)
    assert item.findall(f"{G}additional_image_link") == []
    assert item.findtext(f"{G}lifestyle_image_link") is None
    report = image_feed_files.report(feed, most=100)
    assert [problem.message for problem in report.examples["large"]] == [
        "The file has 16.0 MB; Google takes at most 16 MB.",
        "The image has 67.1 megapixels; Google takes at most 64.",
    ]
    assert all(problem.is_left_out for problem in report.examples["large"])


def test_small_images_are_in_the_file_and_warned_about(
    campaign: Any, mug: Subject, brand: Brand, lead: User, reviewer: User
) -> None:
    approve(campaign, reviewer, mug, web={"width": 499, "height": 500}, square={"width": 500, "height": 500})
    feed = create_feed(brand, lead)
    assert len(read_rss(feed)) == 1
    report = image_feed_files.report(feed, most=100)
    [problem] = report.examples["small"]
    assert report.counts == {"small": 1}
    assert not problem.is_left_out
    assert problem.message == (
        "The image has 499 × 500 px. Google refuses images below 500 × 500 px from 31 January 2027 on."
    )


def test_a_product_whose_main_image_cannot_be_used_is_left_out(
    campaign: Any, mug: Subject, brand: Brand, lead: User, reviewer: User
) -> None:
    approve(campaign, reviewer, mug, web={"bytes": 17_000_000})
    feed = create_feed(brand, lead)
    assert read_rss(feed) == []
    report = image_feed_files.report(feed, most=100)
    assert (report.products, report.left_out, report.counts) == (0, 1, {"large": 1, "no_main": 1})


def test_images_with_a_disclaimer_need_a_decision(
    campaign: Any, mug: Subject, brand: Brand, lead: User, reviewer: User
) -> None:
    asset = approve(campaign, reviewer, mug)
    endpoint = asset.current_version.job.endpoint
    endpoint.disclaimer = "demo model"
    endpoint.save()
    feed = create_feed(brand, lead)
    assert read_rss(feed) == []
    assert image_feed_files.report(feed, most=100).counts["disclaimer"] == 3
    services.change(feed_id=feed.pk, by=lead, takes_disclaimers=True)
    assert len(read_rss(feed)) == 1


def test_the_id_is_that_of_the_chosen_column(
    campaign: Any, mug: Subject, brand: Brand, lead: User, reviewer: User
) -> None:
    approve(campaign, reviewer, mug)
    approve(campaign, reviewer, factories.SubjectFactory(brand=brand, key="BOWL-1", attributes={}))
    feed = create_feed(brand, lead, id_attribute="google_id")
    assert [item.findtext(f"{G}id") for item in read_rss(feed)] == ["shopify_DE_1"]
    [problem] = image_feed_files.report(feed, most=100).examples["no_id"]
    assert (problem.key, problem.message) == ("BOWL-1", "Its product feed has no value for google_id.")


def test_google_gets_an_entry_for_each_variant(
    campaign: Any, mug: Subject, brand: Brand, lead: User, reviewer: User
) -> None:
    for position, (key, google_id) in enumerate((("MUG-S", "de-1"), ("MUG-L", "de-2"), ("MUG-XL", ""))):
        factories.VariantFactory(subject=mug, key=key, position=position, attributes={"google_id": google_id})
    approve(campaign, reviewer, mug)
    feed = create_feed(brand, lead)
    items = read_rss(feed)
    assert [item.findtext(f"{G}id") for item in items] == ["MUG-S", "MUG-L", "MUG-XL"]
    assert len({item.findtext(f"{G}image_link") for item in items}) == 1
    rows = csv.DictReader(io.StringIO(read_file(create_feed(brand, lead, "google_merchant_tsv"))), dialect="excel-tab")
    assert [row["id"] for row in rows] == ["MUG-S", "MUG-L", "MUG-XL"]
    services.change(feed_id=feed.pk, by=lead, id_attribute="google_id")
    assert [item.findtext(f"{G}id") for item in read_rss(feed)] == ["de-1", "de-2"]
    feed.refresh_from_db()
    assert [problem.key for problem in image_feed_files.report(feed, most=9).examples["no_id"]] == ["MUG-XL"]
    [product] = json.loads(read_file(create_feed(brand, lead, "json")))["products"]
    assert (product["id"], product["variants"]) == ("MUG-1", ["MUG-S", "MUG-L", "MUG-XL"])


def test_the_ids_are_those_of_the_merchant_feed_that_was_imported(
    campaign: Any, brand: Brand, lead: User, reviewer: User
) -> None:
    lines = (
        "id\titem_group_id\ttitle\timage_link\tsize",
        "V-S\tVASE\tVase\t\tS",
        "V-L\tVASE\tVase\t\tL",
        "B-1\t\tBowl\t\t",
    )
    content = io.BytesIO("\n".join(lines).encode())
    done = imports.import_feed(brand=brand, file=content, file_name="products.tsv", by=lead)
    assert (done.status, done.dialect["layout"]) == ("applied", "google-merchant")
    for subject in Subject.objects.filter(brand=brand, key__in=["VASE", "B-1"]).order_by("pk"):
        approve(campaign, reviewer, subject)
    assert {item.findtext(f"{G}id") for item in read_rss(create_feed(brand, lead))} == {"V-S", "V-L", "B-1"}


def test_images_that_are_live_at_the_destination_have_its_address(
    campaign: Any, mug: Subject, brand: Brand, lead: User, reviewer: User
) -> None:
    asset = approve(campaign, reviewer, mug)
    web = Rendition.objects.get(version=asset.current_version, output_spec__slug="web")
    destination = factories.DestinationFactory(brand=brand)
    delivery = factories.DeliveryFactory(
        asset=asset, destination=destination, observed=ObservedState.PRESENT,
        files=[{"spec": "web", "sha256": web.sha256, "name": "a.jpg", "url": "https://cdn.example/a.jpg?v=1&w=2"}],
    )  # fmt: skip
    feed = create_feed(brand, lead, destination=destination)
    [item] = read_rss(feed)
    assert item.findtext(f"{G}image_link") == "https://cdn.example/a.jpg?v=1&w=2"
    assert_addresses(
        [link.text for link in item.findall(f"{G}additional_image_link")], [file_addresses(asset)["square"]]
    )
    delivery.observed = ObservedState.FAILED
    delivery.save()
    [item] = read_rss(feed)
    assert_addresses([item.findtext(f"{G}image_link")], [file_addresses(asset)["web"]])
