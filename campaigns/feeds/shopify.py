"""Shopify's product CSV, as the admin exports and imports it: the template of 2025 and the one before.

https://help.shopify.com/manual/products/import-export/using-csv. A product takes several rows that share a
handle: the first has its title, and each may add a variant, an image, or both. The handle is the product's key, because
it stays the same when variants change, and a shop may have no SKUs. The SKU is the variant's key, and an attribute of a
product that has exactly one. Stock, tax, shipping and market columns do not matter for images and are left out.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import groupby
from typing import Any

from campaigns.feeds import cells, columns
from campaigns.feeds.base import FeedRow, Header, Issue, Record, normalise_heading
from campaigns.feeds.cells import Row
from campaigns.feeds.generic import slug

MAX_PRODUCT_ROWS = 5000  # rows of one product. Shopify allows 2,048 variants and 250 images.
ALIASES = {
    "handle": ("url_handle", "handle"),
    "title": ("title",),
    "sku": ("variant_sku", "sku"),
    "image": ("image_src", "product_image_url"),
    "image_position": ("image_position",),
    "image_alt": ("image_alt_text",),
    "variant_image": ("variant_image", "variant_image_url"),
}
VARIANT_ATTRIBUTES = {
    "variant_price": "price", "price": "price", "variant_compare_at_price": "compare_at_price",
    "compare_at_price": "compare_at_price", "variant_barcode": "barcode", "variant_barcodes": "barcode",
    "barcode": "barcode", "variant_grams": "grams", "weight_value_grams": "grams",
}  # fmt: skip
PRODUCT_ATTRIBUTES = {
    "body_html": "description", "description": "description", "vendor": "vendor", "type": "type", "tags": "tags",
    "product_category": "product_category", "status": "status", "seo_title": "seo_title",
    "seo_description": "seo_description",
}  # fmt: skip
MARKERS = {
    "url_handle", "option1_name", "option1_value", "variant_sku", "variant_price", "image_src", "product_image_url",
    "variant_inventory_qty", "body_html", "published_on_online_store", "variant_image", "variant_image_url",
}  # fmt: skip
#: A file that only adds images has no others of the older headings.
IMAGE_HEADINGS = {"handle", "image_src", "image_position", "image_alt_text"}
COLOUR_OPTIONS = {"color", "colour", "farbe", "couleur", "colore", "kleur"}
_METAFIELD = re.compile(r"\(product\.metafields\.([\w-]+)\.([\w-]+)\)", re.IGNORECASE)
_NOTHING = "Default Title"
_MONEY = {"price", "compare_at_price"}
_title = partial(cells.text, limit=cells.MAX_NAME)


@dataclass
class Product:
    """One product while its rows are read."""

    row: int
    handle: str
    name: str = ""
    attributes: dict[str, str] = field(default_factory=dict)
    option_names: list[str] = field(default_factory=lambda: ["Option1", "Option2", "Option3"])
    variants: list[FeedRow] = field(default_factory=list)
    photos: dict[str, dict[str, Any]] = field(default_factory=dict)


class ShopifyTable:
    """The layout for one header. extra: index -> attribute that people chose. FeedRefused without handle and title."""

    groups = False

    def __init__(self, header: Header, kind: str, extra: Mapping[int, str] | None = None) -> None:
        self.header, self.kind = header, kind
        self.at = {role: header.find(aliases) for role, aliases in ALIASES.items()}
        if self.at["handle"] is None and self.at["title"] is None:
            raise columns.missing_column_refusal(header, "URL handle", ("URL handle", "Handle", "Title"))
        self.key = _first(self.at["handle"], self.at["title"])
        self.title = _first(self.at["title"], self.at["handle"])
        self.options = [
            (header.find([f"option{number}_name"]), header.find([f"option{number}_value"])) for number in (1, 2, 3)
        ]
        self.of_variant = {i: VARIANT_ATTRIBUTES[n] for i, n in enumerate(header.names) if n in VARIANT_ATTRIBUTES}
        self.of_product = self._of_product() | dict(extra or {})
        variant = _first(self.options[0][1], self.at["sku"], self.key)
        self.columns: Mapping[str, int] = {"key": self.key, "name": self.title, "variant": variant}
        self.attribute_names = frozenset({*self.of_product.values(), *self.of_variant.values(), "colour", "sku"})

    def _of_product(self) -> dict[int, str]:
        names: dict[int, str] = {}
        for index, (heading, name) in enumerate(zip(self.header.cells, self.header.names, strict=True)):
            metafield = _METAFIELD.search(heading)
            if metafield:
                space, key = (part.lower().replace("-", "_") for part in metafield.groups())
                chosen = "colour" if (space, key) == ("shopify", "color_pattern") else key
            elif name in PRODUCT_ATTRIBUTES or name.startswith("google_shopping_"):
                chosen = PRODUCT_ATTRIBUTES.get(name, name)
            else:
                continue
            names[index] = name if chosen in names.values() else chosen
        return names

    def read(self, records: Iterable[Record | Issue]) -> Iterator[FeedRow | Issue]:
        for handle, group in groupby(self._rows(records), key=lambda pair: pair[1]):
            product: Product | None = None
            for count, (row, _) in enumerate(group):
                if handle and count < MAX_PRODUCT_ROWS:
                    product = product or Product(row.number, handle)
                    self._add(product, row)
                elif handle and count == MAX_PRODUCT_ROWS:
                    sentence = f"more than {MAX_PRODUCT_ROWS:,} rows of one product; expected less."
                    row.add_issue(self.key, "ragged", sentence)
                yield from row.issues
            if product:
                yield from self._rows_of(product)

    def _rows(self, records: Iterable[Record | Issue]) -> Iterator[tuple[Row, str]]:
        """Yield each row with its product's handle: its own, one made from the title, or else that of the row above."""
        above = ""
        for record in cells.iter_valid_records(self.header, records):
            if isinstance(record, Issue):
                row = Row(self.header, (record.row, [""] * len(self.header)))
                row.issues.append(record)
                yield row, above
                continue
            row = Row(self.header, record)
            handle = self._handle(row, above)
            above = handle or above
            yield row, handle

    def _handle(self, row: Row, above: str) -> str:
        if row.has(self.at["handle"]):
            return row.read(self.at["handle"], cells.key, "")
        if self.at["title"] is not None and row.has(self.title):
            return slug(row.read(self.title, _title, ""))
        if not above:
            row.add_issue(self.key, "key_missing", "the handle is empty; expected that of the product.")
        return above

    def _add(self, product: Product, row: Row) -> None:
        if self.at["title"] is not None and row.has(self.title) and not product.name:
            product.name = row.read(self.title, _title, "")
        for index, name in self.of_product.items():
            reader = cells.description if name == "description" else cells.text
            if name not in product.attributes and (value := row.read(index, reader, "")):
                product.attributes[name] = value
        self._add_photos(product, row)
        self._add_variant(product, row)

    def _add_photos(self, product: Product, row: Row) -> None:
        for role in ("image", "variant_image"):
            if not row.has(self.at[role]):
                continue
            sources = row.read(self.at[role], cells.photos, ())
            texts = [""] * len(sources)
            place = len(product.photos) + 1
            if role == "image":
                position, text = self.at["image_position"], self.at["image_alt"]
                if row.has(position):
                    place = row.read(position, cells.position, place)
                texts = cells.alts(row.read(text, cells.text, ""), len(sources))
            for source, alt in zip(sources, texts, strict=True):
                if source in product.photos:
                    continue
                shown = "front" if place == 1 else "angle"
                product.photos[source] = {"source": source, "role": shown, "position": place, "alt": alt[:600]}
                place += 1

    def _add_variant(self, product: Product, row: Row) -> None:
        options: dict[str, str] = {}
        for number, (name, value) in enumerate(self.options):
            if row.has(name):
                product.option_names[number] = row.read(name, cells.text, "")
            if row.has(value):
                options[product.option_names[number]] = row.read(value, cells.text, "")
        sku = row.read(self.at["sku"], cells.key, "")
        if list(options.values()) == [_NOTHING]:
            options = {}
        attributes: dict[str, str] = {}
        for index, attribute in self.of_variant.items():
            if row.has(index) and (text := row.read(index, _amount if attribute in _MONEY else cells.text, "")):
                attributes[attribute] = text
        for attribute, text in attributes.items():
            product.attributes.setdefault(attribute, text)
        if options or sku:
            attributes |= {"sku": sku} if sku else {}
            product.variants.append(FeedRow(row.number, sku, self.kind, "", product.handle, attributes, options))

    def _rows_of(self, product: Product) -> Iterator[FeedRow]:
        """Yield the product (only its images if another row had the title) and its variants, with unique keys."""
        skus = [variant.key for variant in product.variants if variant.key]
        options = [option for variant in product.variants for option in variant.options.items()]
        colours = {value for name, value in options if name.casefold() in COLOUR_OPTIONS}
        if len(colours) == 1:
            product.attributes.setdefault("colour", *colours)
        if len(set(skus)) == 1:
            product.attributes["sku"] = skus[0]
        photos = list(product.photos.values())
        if product.name:
            yield FeedRow(product.row, product.handle, self.kind, product.name, "", product.attributes, {}, photos)
        elif photos or not product.variants:
            yield FeedRow(product.row, "", self.kind, parent_key=product.handle, photos=photos)
        for variant in product.variants:
            is_own = variant.key and skus.count(variant.key) == 1
            key = variant.key if is_own else cells.shorten_key("/".join([product.handle, *variant.options.values()]))
            yield replace(variant, key=key)


def _amount(cell: str) -> str:
    return cells.price(cell)[0]


def _first(*candidates: int | None) -> int:
    return next((index for index in candidates if index is not None), 0)


class ShopifyLayout:
    """Handle or title, and at least two more headings that only Shopify uses; or the older ones of images alone."""

    name = "shopify"
    label = "Shopify"

    def matches(self, header: Header) -> bool:
        has_key = "title" in header.names or header.find(ALIASES["handle"]) is not None
        names = set(header.names)
        return has_key and (len(MARKERS & names) >= 2 or names >= IMAGE_HEADINGS)

    def suggest(self, header: Header) -> dict[int, str]:
        products = ShopifyTable(header, "product")
        fields = {index: columns.IGNORE for index, name in enumerate(header.names) if name}
        attributes = {**products.of_product, **products.of_variant}
        fields |= {index: columns.ATTRIBUTE + name for index, name in attributes.items()}
        for number, pair in enumerate(products.options, start=1):
            fields |= {index: f"{columns.OPTION}Option{number}" for index in pair if index is not None}
        fields |= {index: columns.LAYOUT for index in products.at.values() if index is not None}
        return fields | {products.title: columns.NAME, products.key: columns.KEY}

    def bind(self, header: Header, kind: str, fields: Mapping[int, str]) -> ShopifyTable:
        suggested = self.suggest(replace(header, names=tuple(map(normalise_heading, header.cells))))
        extra: dict[int, str] = {}
        for index, target in fields.items():
            if target in (suggested.get(index), columns.IGNORE):
                continue
            if not target.startswith(columns.ATTRIBUTE):
                sentence = (
                    f"“{header.cells[index][:60]}” cannot be mapped to {target[:40]}: a Shopify export is read by its "
                    "own headings; expected its columns to be left out or made attributes only."
                )
                raise header.refusal(index, "mapping", sentence)
            extra[index] = target.removeprefix(columns.ATTRIBUTE)
        return ShopifyTable(header, kind, extra)
