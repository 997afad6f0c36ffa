"""Tests of image columns in feeds: odd URLs, several in a cell, columns recognised by their values."""

from __future__ import annotations

import pytest

from core.fetching import urls
from tests.campaigns.test_feeds_markup import WOO, table
from tests.support.feed_files import only_issue, opened, parsed

MATRIXIFY = ["ID", "Handle", "Title", "Body HTML", "Image Src", "Image Position", "Image Alt Text", "Variant ID",
             "Option1 Name", "Option1 Value", "Variant SKU", "Variant Price"]  # fmt: skip


def sources(cell: str, heading: str = "image") -> list[str]:
    rows, issues = parsed(table(["sku", "name", heading], ["1", "Mug", cell]))
    assert not issues
    return [photo["source"] for photo in rows[0].photos]


@pytest.mark.parametrize(
    "heading", ["picture", "Pictures", "picture_url", "Picture image link", "main_image", "Bild", "photo_front"]
)
def test_a_column_of_photos_is_known_by_its_heading(heading: str) -> None:
    assert sources("mug-side.jpg", heading) == ["mug-side.jpg"]


@pytest.mark.parametrize(
    "address",
    [
        "https://shop.example/img/blue mug (front).jpg",
        "https://shop.example/uploads/My Photo 1.jpg",
        "http://shop.example/a b/c d.png?v=1 2",
        "https://shop.example/Größe M.jpg",
        "HTTPS://shop.example/x y",
    ],
)
def test_an_address_with_blanks_is_kept_and_can_be_fetched(address: str) -> None:
    assert sources(address) == [address]
    assert "%20" in urls.parse(address).path and " " not in urls.parse(address).path


def test_addresses_with_blanks_are_distinguished_in_a_woocommerce_export() -> None:
    cell = "https://shop.example/My Photo 1.jpg, https://shop.example/b.jpg, //cdn.shop.example/c.jpg"
    rows, issues = parsed(table([*WOO, "Images"], ["1", "simple", "P-1", "Pen", "1", "x", "9", "1", "taxable", cell]))
    assert not issues
    assert [photo["source"] for photo in rows[0].photos] == [
        "https://shop.example/My Photo 1.jpg", "https://shop.example/b.jpg", "https://cdn.shop.example/c.jpg"
    ]  # fmt: skip


@pytest.mark.parametrize(
    "address",
    ["https:// shop.example/a.jpg", "https://", "http:///a.jpg", "https//a.example/x.jpg", "https://a b.com/x.jpg"],
)
def test_an_address_without_a_host_is_refused(address: str) -> None:
    assert only_issue(table(["sku", "name", "image"], ["1", "Mug", address])).cause == "photo_unusable"


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("//cdn.shop.example/files/mug.jpg?v=12", "https://cdn.shop.example/files/mug.jpg?v=12"),
        ("//bücher.de/mug.jpg", "https://bücher.de/mug.jpg"),
        ("www.shop.example/img/bowl.jpg", "https://www.shop.example/img/bowl.jpg"),
        ("cdn.shop.example/files/cup.jpg", "https://cdn.shop.example/files/cup.jpg"),
        ("shop.de/img/1.jpg", "https://shop.de/img/1.jpg"),
        ("my-shop.co.uk/1.jpg", "https://my-shop.co.uk/1.jpg"),
        ("shop.example:8443/1.jpg", "https://shop.example:8443/1.jpg"),
    ],
)
def test_a_host_without_scheme_is_read_as_https(written: str, read: str) -> None:
    assert sources(written) == [read]


@pytest.mark.parametrize(
    "name", ["mug.jpg", "m/b/mb04-black-0.jpg", "img.v2/front.jpg", "2026.11/mug.jpg", "mug.front.jpg", "a.jpg/b.jpg"]
)
def test_a_file_name_stays_one(name: str) -> None:
    assert sources(name) == [name]


@pytest.mark.parametrize(
    ("cell", "count"),
    [
        ("https://a.example/1.jpg;https://a.example/2.jpg", 2),
        ("https://a.example/1.jpg, https://a.example/2.jpg ; https://a.example/3.jpg", 3),
        ("https://a.example/1.jpg|https://a.example/2.jpg", 2),
        ("https://a.example/1.jpg\nhttps://a.example/2.jpg\r\n", 2),
        ("https://a.example/1.jpg https://a.example/2.jpg", 2),
        ("//a.example/1.jpg;//a.example/2.jpg;", 2),
        ("www.a.example/1.jpg,www.a.example/2.jpg", 2),
        ("1.jpg;2.jpg", 2),
        ("1.jpg, 2.webp,3.PNG", 3),
        ('["https://a.example/1.jpg", "https://a.example/2.jpg"]', 2),
        ("https://a.example/w_200,h_200/1.jpg", 1),
        ("https://a.example/1.jpg;v=2", 1),
        ("Mug, sage.jpg", 1),
        ("https://a.example/1.jpg,,https://a.example/2.jpg,", 2),
        ("N/A", 0),
        ("none", 0),
    ],
)
def test_several_images_in_a_cell_are_distinguished(cell: str, count: int) -> None:
    assert len(sources(cell)) == count
    assert all(not source.endswith((";", ",", " ")) for source in sources(cell))


def test_escaped_addresses_are_read_as_they_are_meant() -> None:
    assert sources("https://a.example/i?w=1&amp;h=2") == ["https://a.example/i?w=1&h=2"]


@pytest.mark.parametrize("separator", [";", "; ", ",", "|", "\n"])
def test_several_images_in_a_cell_of_a_shopify_table_get_their_texts(separator: str) -> None:
    cell = separator.join(["https://c.example/1.jpg", "https://c.example/2.jpg"])
    row = ["67", "mug-ada", "Mug Ada", "<p>A mug</p>", cell, "1", "front;side", "401", "Color", "Sage", "M-S", "12.90"]
    rows, issues = parsed(table(MATRIXIFY, row))
    assert not issues
    assert list(rows[0].photos) == [
        {"source": "https://c.example/1.jpg", "role": "front", "position": 1, "alt": "front"},
        {"source": "https://c.example/2.jpg", "role": "angle", "position": 2, "alt": "side"},
    ]


@pytest.mark.parametrize(("cell", "causes"), [("n/a", []), ("ftp://c.example/1.jpg", ["photo_unusable"])])
def test_a_shopify_row_with_an_alt_text_and_no_image_is_read(cell: str, causes: list[str]) -> None:
    row = ["67", "mug-ada", "Mug Ada", "<p>A mug</p>", cell, "1", "front", "401", "Color", "Sage", "M-S", "12.90"]
    rows, issues = parsed(table(MATRIXIFY, row))
    assert [issue.cause for issue in issues] == causes
    assert not rows[0].photos


@pytest.mark.parametrize(
    ("headings", "cells", "count"),
    [
        (["SKU", "Name", "Bilder"], ["A1", "Tasse", "https://s.example/1.jpg"], 1),
        (["sku", "name", "main_image_url", "other_image_url1"],
         ["A1", "Mug", "https://s.example/1.jpg", "https://s.example/2.jpg"], 2),
        (["ID", "Active (0/1)", "Name *", "Image URLs (x,y,z...)"],
         ["1", "1", "Mug", "https://p.example/1.jpg,https://p.example/2.jpg"], 2),
        (["product_number", "name", "media"], ["SW-1", "Becher", "https://s.example/1.jpg|https://s.example/2.jpg"], 2),
        (["sku", "name", "Abbildung"], ["1", "Tasse", "//s.example/1.webp?v=3"], 1),
        (["sku", "name", "Ürün Görseli"], ["1", "Fincan", "https://s.example/a b.png"], 1),
        (["sku", "name", "Zdjęcie główne"], ["1", "Kubek", "https://s.example/i/778"], 1),
        (["sku", "name", "画像"], ["1", "カップ", "https://s.example/i/778"], 1),
    ],
)  # fmt: skip
def test_a_column_of_images_is_known_by_its_content(headings: list[str], cells: list[str], count: int) -> None:
    rows, issues = parsed(table(headings, cells))
    assert not issues
    assert [photo["role"] for photo in rows[0].photos] == ["front", "angle"][:count]


@pytest.mark.parametrize(
    ("heading", "value", "words"),
    [
        ("brand_logo", "https://s.example/logo.png", "images"),
        ("swatch", "https://s.example/sage.png", "images"),
        ("product page", "https://s.example/mug", "web pages or files"),
        ("Datenblatt", "https://s.example/mug.pdf", "web pages or files"),
        ("thumbnail", "https://s.example/small.jpg", "images"),
    ],
)
def test_a_column_of_addresses_that_stays_an_attribute_is_remarked_on(heading: str, value: str, words: str) -> None:
    feed = table(["sku", "name", heading], ["1", "Mug", value])
    (remark,) = opened(feed).dialect["remarks"]
    assert f"“{heading}” holds addresses of {words}" in remark
    assert "remarks" not in opened(feed, mapping={heading: "attribute:other"}).dialect


@pytest.mark.parametrize(
    ("heading", "values"),
    [
        ("link", ["https://s.example/mug"]),
        ("note", ["https://s.example/1.jpg", "see the shop"]),
        ("colour", ["sage"]),
        ("note", [""]),
        ("file", ["mug.jpg"]),
    ],
)
def test_a_column_that_holds_no_addresses_of_images_is_left_alone(heading: str, values: list[str]) -> None:
    rows, issues = parsed(
        table(["sku", "name", "image", heading], *[[str(i), "Mug", "a.jpg", v] for i, v in enumerate(values)])
    )
    assert not issues
    assert [photo["source"] for photo in rows[0].photos] == ["a.jpg"]
