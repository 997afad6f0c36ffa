"""Tests of Shopify's product CSV: old and new headings, several rows per product, images, variants, no SKUs."""

from __future__ import annotations

import csv
import io

from campaigns.feeds import FeedRow
from tests.support.feed_files import REAL, needs_real_feeds, only_issue, opened, parsed

OLD = [
    "Handle", "Title", "Body (HTML)", "Vendor", "Type", "Tags", "Published", "Option1 Name", "Option1 Value",
    "Option2 Name", "Option2 Value", "Variant SKU", "Variant Grams", "Variant Inventory Qty", "Variant Price",
    "Variant Barcode", "Image Src", "Image Position", "Image Alt Text", "Variant Image", "Status",
]  # fmt: skip
NEW = [
    "Title", "URL handle", "Description", "Vendor", "Product category", "Type", "Tags", "Published on online store",
    "Status", "SKU", "Barcode", "Option1 name", "Option1 value", "Option1 Linked To", "Option2 name", "Option2 value",
    "Price", "Compare-at price", "Inventory quantity", "Weight value (grams)", "Product image URL", "Image position",
    "Image alt text", "Variant image URL", "Color (product.metafields.shopify.color-pattern)",
    "Glaze (product.metafields.custom.glaze-name)", "Google Shopping / Gender", "Price / Switzerland",
]  # fmt: skip
#: The same shop with the headings of both templates.
IN_NEW = {
    "Handle": "URL handle", "Body (HTML)": "Description", "Option1 Name": "Option1 name",
    "Option1 Value": "Option1 value", "Option2 Name": "Option2 name", "Option2 Value": "Option2 value",
    "Variant SKU": "SKU",
    "Variant Barcode": "Barcode",
    "Variant Grams": "Weight value (grams)", "Variant Price": "Price", "Image Src": "Product image URL",
    "Image Position": "Image position", "Image Alt Text": "Image alt text", "Variant Image": "Variant image URL",
}  # fmt: skip
SHOP = [
    {"Handle": "mug", "Title": "Mug", "Body (HTML)": "<p>Hand&nbsp;thrown<br>in clay</p>", "Vendor": "Kiln",
     "Option1 Name": "Size", "Option1 Value": "S", "Option2 Name": "Colour", "Option2 Value": "Sage",
     "Variant SKU": "0001", "Variant Price": "12.00", "Image Src": "https://x.test/1.jpg", "Image Position": "1",
     "Image Alt Text": "A mug"},
    {"Handle": "mug", "Option1 Value": "L", "Option2 Value": "Sage", "Variant SKU": "0002", "Variant Price": "15.00",
     "Image Src": "https://x.test/2.jpg", "Image Position": "2", "Variant Image": "https://x.test/v.jpg"},
    {"Handle": "mug", "Image Src": "https://x.test/3.jpg", "Image Position": "3"},
    {"Handle": "bowl", "Title": "Bowl", "Option1 Name": "Title", "Option1 Value": "Default Title",
     "Variant Price": "20.00"},
    {"Handle": "jar", "Title": "Jar", "Option1 Name": "Title", "Option1 Value": "Default Title",
     "Variant SKU": "J-7", "Variant Price": "9.00"},
]  # fmt: skip


def table(header: list[str], rows: list[dict[str, str]]) -> str:
    written = io.StringIO(newline="")
    writer = csv.DictWriter(written, header, restval="", lineterminator="\r\n")
    writer.writeheader()
    writer.writerows(rows)
    return written.getvalue()


def renamed(rows: list[dict[str, str]]) -> list[dict[str, str]]:
    return [{IN_NEW.get(name, name): value for name, value in row.items()} for row in rows]


def subjects(rows: list[FeedRow]) -> list[FeedRow]:
    return [row for row in rows if not row.parent_key]


def test_one_product_over_several_rows_is_one_subject_with_variants_and_images() -> None:
    rows, issues = parsed(table(OLD, SHOP))
    assert not issues
    mug, bowl, jar = subjects(rows)
    assert (mug.row, mug.key, mug.name) == (2, "mug", "Mug")
    assert mug.attributes == {
        "description": "Hand thrown in clay",
        "vendor": "Kiln",
        "price": "12.00",
        "colour": "Sage",
    }
    assert [(photo["source"][-5:], photo["position"], photo["role"], photo["alt"]) for photo in mug.photos] == [
        ("1.jpg", 1, "front", "A mug"),
        ("2.jpg", 2, "angle", ""),
        ("v.jpg", 3, "angle", ""),
        ("3.jpg", 3, "angle", ""),
    ]
    assert [(row.row, row.key, row.options) for row in rows if row.parent_key == "mug"] == [
        (2, "0001", {"Size": "S", "Colour": "Sage"}),
        (3, "0002", {"Size": "L", "Colour": "Sage"}),
    ]
    assert bowl.attributes == {"price": "20.00"}
    assert jar.attributes["sku"] == "J-7"
    assert [row.key for row in rows if row.parent_key in ("bowl", "jar")] == ["J-7"]


def test_old_and_new_headings_give_the_same_products() -> None:
    old, _ = parsed(table(OLD, SHOP))
    new, issues = parsed(table(NEW, renamed(SHOP)))
    assert not issues
    assert opened(table(NEW, renamed(SHOP))).dialect["layout"] == "shopify"
    assert new == old


def test_headings_are_found_in_any_case_and_order() -> None:
    old, _ = parsed(table(OLD, SHOP))
    shouting = table(OLD[::-1], SHOP)
    head, _, body = shouting.partition("\r\n")
    assert parsed(head.upper() + "\r\n" + body)[0] == old


def test_without_skus_the_handle_is_the_key_and_variants_are_named_by_their_options() -> None:
    bare = [{name: value for name, value in row.items() if name != "Variant SKU"} for row in SHOP]
    rows, issues = parsed(table(OLD, bare))
    assert not issues
    assert [row.key for row in subjects(rows)] == ["mug", "bowl", "jar"]
    assert [row.key for row in rows if row.parent_key] == ["mug/S/Sage", "mug/L/Sage"]


def test_a_sku_that_two_variants_share_does_not_make_them_one() -> None:
    shared = [dict(row) for row in SHOP]
    shared[1]["Variant SKU"] = "0001"
    rows, _ = parsed(table(OLD, shared))
    assert [row.key for row in rows if row.parent_key == "mug"] == ["mug/S/Sage", "mug/L/Sage"]
    assert {row.attributes["sku"] for row in rows if row.parent_key == "mug"} == {"0001"}


def test_metafields_become_attributes_and_the_shops_colour_is_the_colour() -> None:
    rows, _ = parsed(table(NEW, [{
        "Title": "Vase", "URL handle": "vase", "Price": "1", "Google Shopping / Gender": "unisex",
        "Color (product.metafields.shopify.color-pattern)": "Teal",
        "Glaze (product.metafields.custom.glaze-name)": "matte",
        "Price / Switzerland": "99",
    }]))  # fmt: skip
    assert rows[0].attributes == {
        "price": "1.00",
        "colour": "Teal",
        "glaze_name": "matte",
        "google_shopping_gender": "unisex",
    }


def test_a_new_template_without_handles_makes_them_of_the_titles() -> None:
    rows, issues = parsed(table([name for name in NEW if name != "URL handle"], [
        {"Title": "Café Mug", "SKU": "1", "Option1 name": "Size", "Option1 value": "S"},
        {"SKU": "2", "Option1 value": "L"},
    ]))  # fmt: skip
    assert not issues
    assert [(row.key, row.parent_key) for row in rows] == [("café-mug", ""), ("1", "café-mug"), ("2", "café-mug")]


def test_images_of_a_product_whose_title_stands_elsewhere_point_at_it() -> None:
    rows, issues = parsed(table(OLD, [SHOP[3], SHOP[4], {"Handle": "bowl", "Image Src": "https://x.test/late.jpg"}]))
    assert not issues
    assert (rows[-1].key, rows[-1].parent_key, rows[-1].photos[0]["source"]) == ("", "bowl", "https://x.test/late.jpg")


def test_a_first_row_without_handle_is_named() -> None:
    issue = only_issue(table(OLD, [{"Title": "", "Variant SKU": "1"}]))
    assert (issue.cell, issue.cause) == ("A2", "key_missing")


def test_a_scientific_sku_and_a_bad_price_are_named_with_their_cells() -> None:
    bad = [dict(row) for row in SHOP]
    bad[1] |= {"Variant SKU": "4.0E+12", "Variant Price": "1.5x"}
    _, issues = parsed(table(OLD, bad))
    assert [(issue.cell, issue.column) for issue in issues] == [("L3", "Variant SKU"), ("O3", "Variant Price")]


@needs_real_feeds
def test_a_real_shop_without_skus_is_read_whole() -> None:
    data = (REAL / "shopify-apparel.csv").read_bytes()
    with io.StringIO(data.decode(), newline="") as text:
        titles = {row["Handle"]: row["Title"] for row in csv.DictReader(text) if row["Title"]}
    rows, issues = parsed(data)
    assert not issues
    assert {row.key: row.name for row in subjects(rows)} == titles
    assert [row.key for row in rows if row.parent_key == "classic-varsity-top"] == [
        "classic-varsity-top/Small",
        "classic-varsity-top/Medium",
        "classic-varsity-top/Large",
    ]
