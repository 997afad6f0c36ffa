"""Test the layouts of image feeds with values that their formats must escape, and the choice of images alone."""

from __future__ import annotations

import csv
import io
import json
from typing import Any
from xml.etree import ElementTree

import pytest

from review.image_feeds import choosing
from review.image_feeds.base import LAYOUTS, FeedHeading, FeedImage, FeedProduct, Limits

G = "{http://base.google.com/ns/1.0}"
AWKWARD = ['<b>&"1"', "a\x0bb", "tab\there", "two\nlines", "comma, and “quotes”", "=SUM(A1)", "日本 🫖"]


def image(number: int = 1, **values: Any) -> FeedImage:
    fixed: dict[str, Any] = {"asset_id": number, "file_id": number, "spec": "web", "sha256": f"{number}"}
    fixed |= {"url": f"https://x.example/{number},a.jpg?b=1&c=2", "media_type": "image/jpeg"}
    return FeedImage(**fixed | {"width": 800, "height": 800, "bytes": 9} | values)


def write(name: str, value: str) -> str:
    """Return a file with one product whose texts are all the value."""
    layout = LAYOUTS.get(name)()
    product = FeedProduct(value, value, {}, [image(1, alt_text=value), image(2), image(3)])
    heading = FeedHeading(value, "https://x.example/?a&b", value)
    return layout.begin(heading) + layout.product(product, [value]) + layout.end()


@pytest.mark.parametrize("value", AWKWARD)
def test_awkward_texts_are_read_back(value: str) -> None:
    rss = ElementTree.fromstring(write("google_merchant", value))  # noqa: S314 - our own file
    assert rss.findtext(f"channel/item/{G}id") == value.replace("\x0b", ""), "XML cannot have all characters"
    assert rss.findtext(f"channel/item/{G}image_link") == "https://x.example/1,a.jpg?b=1&c=2"

    [row] = csv.DictReader(io.StringIO(write("google_merchant_tsv", value)), dialect="excel-tab")
    assert row["id"] == value.replace("\t", " ").replace("\n", " ")
    assert row["additional_image_link"].split(",") == [f"https://x.example/{n}%2Ca.jpg?b=1&c=2" for n in (2, 3)]

    first, *others = csv.DictReader(io.StringIO(write("shopify_csv", value), newline=""))
    assert (first["URL handle"], first["Title"], first["Image alt text"]) == (value, value, value)
    assert [other["Image position"] for other in others] == ["2", "3"]

    content = json.loads(write("json", value))
    assert (content["title"], content["products"][0]["id"]) == (value, value)


def choose(images: list[FeedImage], **values: Any) -> choosing.ChosenImages:
    choice: dict[str, Any] = {"main": "web", "additional": ["web", "square"], "limits": Limits(), "most": 9}
    return choosing.choose(FeedProduct("A", "A", {}, images), choosing.Choice(**choice | values))


def test_the_same_file_appears_once() -> None:
    chosen = choose([image(1), image(2, sha256="1"), image(3, spec="square")])
    assert [kept.asset_id for kept in chosen.product.images] == [1, 3]


def test_an_output_may_be_the_main_image_and_an_additional_one() -> None:
    chosen = choose([image(3, spec="square"), image(2), image(1)])
    assert [kept.asset_id for kept in chosen.product.images] == [2, 1, 3]


def test_a_large_image_gives_its_place_to_the_next() -> None:
    chosen = choose([image(2, bytes=11), image(1)], limits=Limits(most_bytes=10), receiver="Google")
    assert [kept.asset_id for kept in chosen.product.images] == [1]
    assert [problem.kind for problem in chosen.problems] == ["large"]


def test_types_that_the_receiver_does_not_take_are_left_out() -> None:
    limits = Limits(media_types=frozenset({"image/png"}))
    chosen = choose([image(1)], limits=limits, receiver="Google")
    assert [problem.message for problem in chosen.problems] == [
        "Google does not take image/jpeg.",
        "It has no usable image of the output web.",
    ]
