"""Tests of products in the JSON of the Shopify, WooCommerce and Magento APIs."""

from __future__ import annotations

import json
from typing import Any

import pytest

from campaigns.feeds.base import FeedRow
from tests.support.feed_files import parsed

SHOPIFY: dict[str, Any] = {
    "id": 670001, "title": "Mug Ada", "handle": "mug-ada", "body_html": "<p>A <b>mug</b></p>", "vendor": "Kiln",
    "tags": ["new", "clay"],
    "variants": [
        {"id": 401, "title": "Sage", "option1": "Sage", "option2": None, "sku": "MUG-SG", "price": "12.90"},
        {"id": 402, "title": "Clay", "option1": "Clay", "option2": None, "sku": "MUG-CL", "price": "13.90"},
    ],
    "images": [
        {"id": 2, "position": 2, "src": "https://cdn.shop.example/side.jpg"},
        {"id": 1, "position": 1, "src": "https://cdn.shop.example/mug.jpg", "alt": "Front"},
    ],
    "options": [{"name": "Colour", "position": 1, "values": ["Sage", "Clay"]}],
}  # fmt: skip
WOO: dict[str, Any] = {
    "id": 12, "name": "Hoodie &amp; Hat", "slug": "hoodie", "permalink": "https://s.example/hoodie", "type": "variable",
    "status": "publish", "catalog_visibility": "visible", "description": "<p>Warm</p>", "sku": "HOOD", "price": "42",
    "regular_price": "", "sale_price": "", "categories": [{"id": 9, "name": "Hoodies", "slug": "hoodies"}], "tags": [],
    "images": [{"id": 7, "src": "https://s.example/a.jpg", "name": "a", "alt": "Front"}], "parent_id": 0,
    "attributes": [
        {"id": 0, "name": "Color", "variation": True, "options": ["Blue", "Green"]},
        {"id": 1, "name": "Fabric", "variation": False, "options": ["Cotton"]},
    ],
    "variations": [13, 14],
}  # fmt: skip
VARIATION: dict[str, Any] = {
    "id": 13, "type": "variation", "parent_id": 12, "sku": "HOOD-B", "regular_price": "45", "sale_price": "42",
    "permalink": "https://s.example/hoodie?color=blue", "image": {"id": 8, "src": "https://s.example/blue.jpg"},
    "attributes": [{"id": 0, "name": "Color", "option": "Blue"}],
}  # fmt: skip
MAGENTO: dict[str, Any] = {
    "id": 3, "sku": "MH01", "name": "Chaz Hoodie", "attribute_set_id": 9, "price": 0, "status": 1, "visibility": 4,
    "type_id": "configurable", "created_at": "2026-01-01 00:00:00",
    "extension_attributes": {"website_ids": [1], "configurable_product_links": [1, 2]},
    "media_gallery_entries": [
        {"id": 2, "media_type": "image", "label": "", "position": 2, "disabled": False, "file": "/m/h/back.jpg"},
        {"id": 1, "media_type": "image", "label": "Front", "position": 1, "disabled": False, "file": "/m/h/main.jpg"},
        {"id": 3, "media_type": "image", "label": "", "position": 3, "disabled": True, "file": "/m/h/old.jpg"},
    ],
    "custom_attributes": [
        {"attribute_code": "description", "value": "<b>Warm</b>"}, {"attribute_code": "material", "value": "Cotton"},
        {"attribute_code": "image", "value": "/m/h/main.jpg"}, {"attribute_code": "category_ids", "value": ["2"]},
    ],
}  # fmt: skip
CHILD: dict[str, Any] = {
    "id": 1, "sku": "MH01-XS", "name": "Chaz Hoodie-XS", "attribute_set_id": 9, "price": 52, "status": 1,
    "visibility": 1, "type_id": "simple", "custom_attributes": [{"attribute_code": "size", "value": "XS"}],
}  # fmt: skip


def read(feed: Any) -> list[FeedRow]:
    rows, issues = parsed(json.dumps(feed))
    assert not issues
    return rows


def as_lines(values: list[Any]) -> str:
    return "".join(json.dumps(value) + "\n" for value in values)


@pytest.mark.parametrize(
    "feed",
    [
        json.dumps({"products": [SHOPIFY]}),
        json.dumps([SHOPIFY, SHOPIFY | {"handle": "mug-bea"}]),
        json.dumps({"data": {"products": [SHOPIFY]}}),
        as_lines([SHOPIFY, SHOPIFY | {"handle": "mug-bea"}]),
        json.dumps({"products": [SHOPIFY | {"options": []}]}).replace('"Colour"', '"Color"'),
    ],
    ids=["products.json", "array", "deep", "lines", "without options"],
)
def test_a_shopify_product_has_its_handle_as_key_and_its_variants_their_skus(feed: str) -> None:
    rows, issues = parsed(feed)
    assert not issues
    product, sage, clay = rows[:3]
    assert (product.key, product.name) == ("mug-ada", "Mug Ada")
    assert product.attributes == {
        "description": "A mug", "vendor": "Kiln", "tags": "new, clay", "price": "12.90"
    }  # fmt: skip
    assert [(photo["source"], photo["alt"]) for photo in product.photos] == [
        ("https://cdn.shop.example/mug.jpg", "Front"), ("https://cdn.shop.example/side.jpg", "")
    ]  # fmt: skip
    assert [(row.key, row.parent_key, row.attributes["price"]) for row in (sage, clay)] == [
        ("MUG-SG", "mug-ada", "12.90"), ("MUG-CL", "mug-ada", "13.90")
    ]  # fmt: skip
    assert list(sage.options.values()) == ["Sage"]


def test_a_shopify_product_without_handle_or_skus_is_known_by_its_number_and_options() -> None:
    item = {name: value for name, value in SHOPIFY.items() if name != "handle"}
    item["variants"] = [variant | {"sku": ""} for variant in SHOPIFY["variants"]]
    assert [(row.key, row.parent_key) for row in read({"products": [item]})] == [
        ("670001", ""), ("670001/Sage", "670001"), ("670001/Clay", "670001")
    ]  # fmt: skip


def test_the_only_variant_of_a_shopify_product_has_no_option() -> None:
    only = {"id": 1, "title": "Default Title", "option1": "Default Title", "sku": "M1", "price": "5.00"}
    product, variant = read({"products": [SHOPIFY | {"variants": [only]}]})
    assert (product.attributes["sku"], product.attributes["price"]) == ("M1", "5.00")
    assert (variant.key, variant.options) == ("M1", {})


def test_a_plain_item_without_sku_has_the_key_of_its_handle_or_number() -> None:
    variants = [{"sku": "A-1", "size": "S"}, {"sku": "A-2", "size": "M"}]
    rows = read([{"id": 5, "name": "Mug", "variants": variants}, {"id": 6, "slug": "cup", "name": "Cup", "variants": [
        {"sku": "C-1", "size": "S"}]}])  # fmt: skip
    assert [(row.key, row.parent_key) for row in rows] == [
        ("5", ""), ("A-1", "5"), ("A-2", "5"), ("cup", ""), ("C-1", "cup")
    ]  # fmt: skip


@pytest.mark.parametrize(
    "feed",
    [
        [WOO, VARIATION],
        [VARIATION, WOO],
        {"products": [WOO, VARIATION]},
        [WOO | {"variations": [VARIATION]}],
        [WOO, {name: value for name, value in VARIATION.items() if name != "type"}],
    ],
    ids=["after", "before", "within an object", "embedded", "without type"],
)
def test_a_woocommerce_product_of_the_rest_api_is_read_with_its_variations(feed: Any) -> None:
    rows = {row.key: row for row in read(feed)}
    hoodie, blue = rows["HOOD"], rows["HOOD-B"]
    assert (hoodie.name, hoodie.parent_key) == ("Hoodie & Hat", "")
    assert {name: hoodie.attributes.get(name) for name in ("description", "category", "fabric", "color", "price")} == {
        "description": "Warm", "category": "Hoodies", "fabric": "Cotton", "color": None, "price": None
    }  # fmt: skip
    assert [(photo["source"], photo["alt"]) for photo in hoodie.photos] == [("https://s.example/a.jpg", "Front")]
    assert (blue.parent_key, list(blue.options.values())) == ("HOOD", ["Blue"])
    assert (blue.attributes["price"], blue.attributes["sale_price"]) == ("45.00", "42.00")
    assert [photo["source"] for photo in blue.photos] == ["https://s.example/blue.jpg"]


def test_a_woocommerce_product_without_sku_has_the_key_that_its_export_gives_it() -> None:
    (card,) = read([WOO | {"id": 15, "sku": "", "type": "simple", "regular_price": "25", "variations": []}])
    assert (card.key, card.attributes["price"]) == ("id:15", "25.00")


@pytest.mark.parametrize("feed", [[CHILD, MAGENTO], [MAGENTO, CHILD], {"items": [CHILD, MAGENTO], "total_count": 2}])
def test_a_magento_product_of_the_rest_api_is_read_with_its_children(feed: Any) -> None:
    rows = {row.key: row for row in read(feed)}
    hoodie, small = rows["MH01"], rows["MH01-XS"]
    assert (hoodie.name, hoodie.parent_key) == ("Chaz Hoodie", "")
    assert hoodie.attributes == {"description": "Warm", "material": "Cotton"}
    assert [(photo["source"], photo["alt"]) for photo in hoodie.photos] == [
        ("m/h/main.jpg", "Front"), ("m/h/back.jpg", "")
    ]  # fmt: skip
    assert (small.parent_key, small.options, small.attributes["price"]) == ("MH01", {"Size": "XS"}, "52.00")


def test_a_hidden_magento_product_that_no_other_names_stays_a_product() -> None:
    (lone,) = read({"items": [CHILD]})
    assert (lone.key, lone.parent_key) == ("MH01-XS", "")
