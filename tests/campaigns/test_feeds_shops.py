"""Tests of exports of Google Merchant, Magento and WooCommerce, and of tables with a parent column."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable
from typing import Any

import pytest

from campaigns.feeds import FeedRow, magento
from campaigns.models import FeedImport, ReferencePhoto, Subject, Variant
from campaigns.selectors import annotated_files
from campaigns.services import imports
from core.models import Brand, User
from tests.support.feed_files import REAL, needs_real_feeds, only_issue, opened, parsed


@pytest.fixture
def take(brand: Brand, manager: User) -> Callable[..., FeedImport]:
    def make(data: str | bytes, **options: Any) -> FeedImport:
        raw = data.encode() if isinstance(data, str) else data
        return imports.import_feed(brand=brand, file=io.BytesIO(raw), file_name="feed.csv", by=manager, **options)

    return make


def import_applied(take: Callable[..., FeedImport], data: str | bytes, **options: Any) -> FeedImport:
    done = take(data, **options)
    assert done.status == "applied", list(done.issues.values_list("message", flat=True))
    return done


def table(rows: list[dict[str, str]], delimiter: str = ",") -> str:
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, list(dict.fromkeys(name for row in rows for name in row)), delimiter=delimiter)
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def images(key: str) -> list[tuple[str, int]]:
    photos = ReferencePhoto.objects.filter(subject__key=key).order_by("position")
    return list(photos.values_list("source", "position"))


def variants(key: str) -> dict[str, tuple[dict[str, str], dict[str, str]]]:
    return {v.key: (v.options, v.attributes) for v in Variant.objects.filter(subject__key=key)}


# -- Google Merchant ---------------------------------------------------------------------------------------------------

GOOGLE = [
    {
        "id": "M-1", "title": "Stoneware mug - Sage", "item_group_id": "MUG", "color": "Sage", "material": "stoneware",
        "price": "12.90 EUR", "image_link": "https://x.test/m1.jpg", "availability": "in_stock", "gtin": "1",
        "additional_image_link": "https://x.test/m1b.jpg,https://x.test/m1c.jpg", "shipping": "DE::4.90 EUR",
        "description": "<p>Thrown by hand</p>", "size": "",
    },
    {"id": "B", "title": "Bowl", "price": "20.00 EUR", "color": "clay", "image_link": "https://x.test/b.jpg"},
    {
        "id": "M-2", "title": "Stoneware mug - Clay", "item_group_id": "MUG", "color": "Clay", "material": "stoneware",
        "price": "13.90 EUR", "image_link": "https://x.test/m2.jpg", "availability": "in_stock", "gtin": "2",
        "description": "<p>Thrown by hand</p>",
    },
]  # fmt: skip


def test_a_google_feed_makes_a_product_of_each_group(take: Callable[..., FeedImport]) -> None:
    done = import_applied(take, table(GOOGLE, "\t"))
    assert (done.dialect["layout"], done.dialect["delimiter"], done.created) == ("google-merchant", "\t", 2)
    mug = Subject.objects.get(key="MUG")
    assert mug.name == "Stoneware mug"
    assert mug.attributes == {
        "material": "stoneware", "currency": "EUR", "availability": "in_stock", "description": "Thrown by hand"
    }  # fmt: skip
    assert variants("MUG") == {
        "M-1": (
            {"Colour": "Sage", "Material": "stoneware"},
            {"price": "12.90", "currency": "EUR", "gtin": "1", "availability": "in_stock",
             "description": "Thrown by hand"},
        ),
        "M-2": (
            {"Colour": "Clay", "Material": "stoneware"},
            {"price": "13.90", "currency": "EUR", "gtin": "2", "availability": "in_stock",
             "description": "Thrown by hand"},
        ),
    }  # fmt: skip
    assert images("MUG") == [
        ("https://x.test/m1.jpg", 1), ("https://x.test/m1b.jpg", 2), ("https://x.test/m1c.jpg", 3),
        ("https://x.test/m2.jpg", 4),
    ]  # fmt: skip
    assert Subject.objects.get(key="B").attributes == {"price": "20.00", "currency": "EUR", "colour": "clay"}


def test_the_same_google_feed_again_changes_nothing_and_a_new_title_renames_the_group(
    take: Callable[..., FeedImport],
) -> None:
    import_applied(take, table(GOOGLE))
    again = import_applied(take, table(GOOGLE))
    assert (again.created, again.updated, again.unchanged) == (0, 0, 2)
    renamed = [row | {"title": row["title"].replace("mug", "cup")} for row in GOOGLE]
    assert import_applied(take, table(renamed)).updated == 1
    assert Subject.objects.get(key="MUG").name == "Stoneware cup"


def test_a_google_item_that_stands_twice_in_its_group_is_named(take: Callable[..., FeedImport]) -> None:
    done = take(table([*GOOGLE, GOOGLE[0]]))
    assert done.status == "refused"
    issue = done.issues.get()
    assert (issue.cause, issue.cell, issue.column) == ("duplicate_variant", "A5", "id")


# -- a plain table -----------------------------------------------------------------------------------------------------

PLAIN = (
    "sku,name,parent_sku,size,colour,price,photo\n"
    "MUG,Mug,,,sage,12.90,mug.jpg\n"
    "MUG-S,\"Mug, S\",MUG,S,,11.90,\n"
    "MUG-L,\"Mug, L\",MUG,L,,14.90,large.jpg\n"
    "BOWL-1,\"Bowl, clay\",BOWL,,clay,20.00,bowl.jpg\n"
)  # fmt: skip


def test_a_parent_column_makes_variants_of_a_plain_table(take: Callable[..., FeedImport]) -> None:
    assert import_applied(take, PLAIN).created == 2
    assert variants("MUG") == {
        "MUG-S": ({"Size": "S"}, {"price": "11.90"}), "MUG-L": ({"Size": "L"}, {"price": "14.90"})
    }  # fmt: skip
    assert Subject.objects.get(key="MUG").attributes == {"colour": "sage", "price": "12.90"}
    assert images("MUG") == [("mug.jpg", 1), ("large.jpg", 2)]
    bowl = Subject.objects.get(key="BOWL")
    assert (bowl.name, bowl.attributes) == ("Bowl", {"colour": "clay", "price": "20.00"})


def test_variants_alone_do_not_rename_a_product_that_is_known(take: Callable[..., FeedImport]) -> None:
    import_applied(take, PLAIN)
    import_applied(take, 'sku,name,parent_sku,size,price\nMUG-XL,"Mug, XL",MUG,XL,15\n')
    assert Subject.objects.get(key="MUG").name == "Mug"
    assert set(variants("MUG")) == {"MUG-S", "MUG-L", "MUG-XL"}


def test_a_nameless_variant_of_an_unknown_product_is_named(take: Callable[..., FeedImport]) -> None:
    done = take("sku,name,parent_sku\nA,Mug,\nX-1,,X\n")
    assert [(issue.cell, issue.cause) for issue in done.issues.all()] == [("B3", "parent_unknown")]


def test_leaving_out_variants_without_a_product_keeps_those_that_stand_for_their_product(
    take: Callable[..., FeedImport],
) -> None:
    text = 'sku,name,parent_sku\nA,Mug,\nX-1,,X\nY-1,"Jar, S",Y\n'
    fixes = [{"cause": "parent_unknown", "fix": "leave_out"}]
    assert import_applied(take, text, fixes=fixes).created == 2
    assert set(Subject.objects.values_list("key", flat=True)) == {"A", "Y"}


# -- Magento -----------------------------------------------------------------------------------------------------------

MAGENTO = [
    {
        "sku": "MH01-XS", "store_view_code": "", "product_type": "simple", "name": "Chaz Hoodie-XS",
        "visibility": "Not Visible Individually", "price": "52.00", "base_image": "/m/h/xs.jpg",
        "additional_images": "/m/h/xs.jpg,/m/h/xs_back.jpg", "additional_attributes": "size=XS,color=Black",
    },
    {
        "sku": "MH01-S", "product_type": "simple", "name": "Chaz Hoodie-S", "visibility": "Not Visible Individually",
        "price": "54.00", "base_image": "no_selection", "additional_attributes": "size=S,color=Black",
    },
    {
        "sku": "MH01", "product_type": "configurable", "name": "Chaz Hoodie", "visibility": "Catalog, Search",
        "categories": "Default Category/Men,Default Category/Men/Tops", "description": "<b>Warm</b>",
        "base_image": "/m/h/main.jpg", "base_image_label": "From the front", "additional_images": "",
        "additional_attributes": 'material=Cotton|Fleece,care=Wash cold, dry flat,"climate=Cool"',
        "configurable_variations": "sku=MH01-XS,size=XS,color=Black|sku=MH01-S,size=S,color=Black",
        "configurable_variation_labels": "size=Size,color=Colour", "qty": "0",
    },
    {"sku": "MH01", "store_view_code": "de", "name": "Chaz Kapuzenpulli"},
    {"sku": "LONE", "product_type": "simple", "name": "Lone", "visibility": "Not Visible Individually", "price": "5"},
]  # fmt: skip


def test_a_magento_export_joins_children_to_their_configurable_product(take: Callable[..., FeedImport]) -> None:
    done = import_applied(take, table(MAGENTO))
    assert (done.dialect["layout"], done.created) == ("magento", 2)
    hoodie = Subject.objects.get(key="MH01")
    assert hoodie.name == "Chaz Hoodie"
    assert hoodie.attributes == {
        "category": "Men,Men/Tops", "description": "Warm", "material": "Cotton, Fleece",
        "care": "Wash cold, dry flat", "climate": "Cool",
    }  # fmt: skip
    assert variants("MH01") == {
        "MH01-XS": ({"Size": "XS", "Colour": "Black"}, {"size": "XS", "colour": "Black", "price": "52.00"}),
        "MH01-S": ({"Size": "S", "Colour": "Black"}, {"size": "S", "colour": "Black", "price": "54.00"}),
    }
    assert images("MH01") == [("m/h/main.jpg", 1), ("m/h/xs.jpg", 2), ("m/h/xs_back.jpg", 3)]
    assert ReferencePhoto.objects.get(source="m/h/main.jpg").alt_text == "From the front"
    preview = annotated_files.preview_import(done)
    assert [(each.key, each.name, each.variants, len(each.photos)) for each in preview.subjects] == [
        ("MH01", "Chaz Hoodie", ["XS / Black", "S / Black"], 3), ("LONE", "Lone", [], 0),
    ]  # fmt: skip
    # Hidden in the shop, and no configurable product names it: a product all the same.
    assert Subject.objects.get(key="LONE").attributes == {"price": "5.00"}
    again = import_applied(take, table(MAGENTO))
    assert (again.created, again.updated) == (0, 0)


@pytest.mark.parametrize(
    ("packed", "values"),
    [
        ("color=Blue,size=S", {"color": "Blue", "size": "S"}),
        ("care=wash, dry,x=1", {"care": "wash, dry", "x": "1"}),
        ('"a=1,5",b=2', {"a": "1,5", "b": "2"}),
        ("has_options=0,material=Cotton|Linen", {"has_options": "0", "material": "Cotton, Linen"}),
        ("", {}),
        ("nothing here", {}),
        ("empty=,b=2", {"empty": "", "b": "2"}),
    ],
)
def test_packed_attributes_are_unpacked(packed: str, values: dict[str, str]) -> None:
    assert magento.unpack_attributes(packed) == values


@needs_real_feeds
def test_real_bags_and_their_images_are_imported_exactly(take: Callable[..., FeedImport]) -> None:
    bags = import_applied(take, (REAL / "magento-bags.csv").read_bytes())
    assert (bags.rows, bags.created, bags.dialect["layout"]) == (14, 14, "magento")
    duffle = Subject.objects.get(key="24-MB01")
    assert duffle.name == "Joust Duffle Bag"
    assert (duffle.attributes["category"], duffle.attributes["material"], duffle.attributes["price"]) == (
        "Gear, Bags", "Nylon, Polyester", "34.00"
    )  # fmt: skip
    assert duffle.attributes["activity"] == "Gym, Travel, Trail, Overnight"
    assert "<" not in duffle.attributes["description"]
    assert "attribute_set" not in duffle.attributes
    images_import = import_applied(take, (REAL / "magento-bags-images.csv").read_bytes())
    assert (images_import.rows, images_import.created, images_import.updated) == (18, 0, 14)
    assert (Subject.objects.count(), Variant.objects.count(), ReferencePhoto.objects.count()) == (14, 0, 18)
    assert images("24-MB04") == [("m/b/mb04-black-0.jpg", 1), ("m/b/mb04-black-0_alt1.jpg", 2)]


@needs_real_feeds
def test_a_real_shopify_shop_is_imported_exactly(take: Callable[..., FeedImport]) -> None:
    shop = import_applied(take, (REAL / "shopify-apparel.csv").read_bytes())
    assert (shop.rows, shop.created, shop.dialect["layout"]) == (22, 20, "shopify")
    assert (Subject.objects.count(), Variant.objects.count(), ReferencePhoto.objects.count()) == (20, 3, 20)
    assert set(variants("classic-varsity-top")) == {
        "classic-varsity-top/Small", "classic-varsity-top/Medium", "classic-varsity-top/Large"
    }  # fmt: skip


# -- WooCommerce -------------------------------------------------------------------------------------------------------

WOO = [
    {
        "ID": "12", "Type": "variable", "SKU": "HOOD", "Name": "Hoodie", "Published": "1", "Is featured?": "0",
        "Description": "Soft\\n<em>warm</em>", "In stock?": "1", "Regular price": "", "Sale price": "",
        "Categories": "Clothing > Hoodies", "Images": "https://x.test/a.jpg, https://x.test/b,1.jpg", "Parent": "",
        "Attribute 1 name": "Color", "Attribute 1 value(s)": "Blue, Green", "Attribute 2 name": "Fabric",
        "Attribute 2 value(s)": "Cotton",
    },
    {
        "ID": "13", "Type": "variation", "SKU": "HOOD-B", "Name": "Hoodie - Blue", "Published": "1",
        "Regular price": "45", "Sale price": "42", "Images": "https://x.test/blue.jpg", "Parent": "HOOD",
        "Attribute 1 name": "Color", "Attribute 1 value(s)": "Blue",
    },
    {
        "ID": "14", "Type": "variation", "Name": "Hoodie - Green", "Published": "1", "Regular price": "45",
        "Parent": "id:12", "Attribute 1 name": "Color", "Attribute 1 value(s)": "Green",
    },
    {
        "ID": "15", "Type": "simple, virtual", "SKU": "", "Name": "Gift card", "Published": "-1",
        "Regular price": "25", "Attribute 1 name": "Color", "Attribute 1 value(s)": "Red",
    },
]  # fmt: skip


def test_a_woocommerce_export_joins_variations_to_their_product(take: Callable[..., FeedImport]) -> None:
    done = import_applied(take, table(WOO))
    assert (done.dialect["layout"], done.created) == ("woocommerce", 2)
    hoodie = Subject.objects.get(key="HOOD")
    assert hoodie.attributes == {
        "description": "Soft warm", "category": "Clothing > Hoodies", "status": "published", "fabric": "Cotton"
    }  # fmt: skip
    assert variants("HOOD") == {
        "HOOD-B": ({"Color": "Blue"}, {"price": "45.00", "sale_price": "42.00", "status": "published"}),
        "id:14": ({"Color": "Green"}, {"price": "45.00", "status": "published"}),
    }
    assert images("HOOD") == [
        ("https://x.test/a.jpg", 1), ("https://x.test/b,1.jpg", 2), ("https://x.test/blue.jpg", 3)
    ]  # fmt: skip
    assert Subject.objects.get(key="id:15").attributes == {"price": "25.00", "status": "draft", "colour": "Red"}


def test_a_variation_without_parent_or_of_an_unknown_one_is_named(take: Callable[..., FeedImport]) -> None:
    issue = only_issue(table([WOO[0], WOO[1] | {"Parent": ""}]))
    assert (issue.cell, issue.column, issue.cause) == ("M3", "Parent", "parent_missing")
    done = take(table([WOO[0], WOO[1] | {"Parent": "id:99"}]))
    assert [(issue.cause, issue.value) for issue in done.issues.all()] == [("parent_unknown", "id:99")]


@pytest.mark.parametrize(("rows", "layout"), [(GOOGLE, "google-merchant"), (MAGENTO, "magento"), (WOO, "woocommerce")])
def test_each_export_is_recognised_and_can_be_mapped_otherwise(rows: list[dict[str, str]], layout: str) -> None:
    feed = opened(table(rows))
    assert feed.dialect["layout"] == layout
    again, _ = parsed(table(rows), mapping={"price": "ignore", "Regular price": "ignore"})
    assert again and not any("price" in row.attributes for row in again if isinstance(row, FeedRow))
