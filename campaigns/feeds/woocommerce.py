"""WooCommerce's product export: variable products and their variations in one file, attributes in numbered columns.

https://woocommerce.com/document/product-csv-importer-exporter/. Headings are in the language of the shop's admin. A
variation names its product in `Parent`, by SKU or as `id:12`. A product without a SKU also has the key `id:12`. While
reading, only the id and key of each variable product are kept in memory.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping

from campaigns.feeds import cells, columns
from campaigns.feeds.base import FeedRow, Header
from campaigns.feeds.cells import Row
from campaigns.feeds.generic import PlainTable, attribute
from campaigns.feeds.woocommerce_headings import translate_headings

MARKERS = {"regular_price", "attribute_1_name", "is_featured", "visibility_in_catalog", "in_stock", "tax_status"}
ATTRIBUTES = {
    "regular_price": "price", "sale_price": "sale_price", "description": "description",
    "short_description": "short_description", "categories": "category", "tags": "tags", "brands": "brand",
    "gtin_upc_ean_or_isbn": "gtin",
}  # fmt: skip
STATES = {"1": "published", "0": "private", "-1": "draft"}
_IMAGES = re.compile(r",\s")
_VALUES = re.compile(r"(?<!\\),\s*")
_FIELD = re.compile(r"attribute_(\d+)_(name|value_s)")


class WooCommerceTable(PlainTable):
    """The layout for one header."""

    def __init__(self, header: Header, kind: str, fields: Mapping[int, str]) -> None:
        super().__init__(header, kind, fields)
        self.type, self.id = header.find(["type"]), header.find(["id"])
        self.published = header.find(["published"])
        indices = {match.groups(): i for i, name in enumerate(header.names) if (match := _FIELD.fullmatch(name))}
        self.pairs = [
            (index, indices[number, "value_s"])
            for (number, what), index in indices.items()
            if what == "name" and (number, "value_s") in indices
        ]
        self.names |= {"status"} if self.published is not None else set()
        self._keys: dict[str, str] = {}

    def key_of(self, row: Row, kind: str, name: str) -> str:
        number = row.read(self.id, str.strip, "")
        if row.has(self.indices.key):
            key = row.read(self.indices.key, cells.key, "")
        elif number:
            key = f"id:{number[:20]}"
        else:
            return super().key_of(row, kind, name)
        if number and self._type(row) == "variable":
            self._keys[number] = key
        return key

    def _type(self, row: Row) -> str:
        return row.read(self.type, str.strip, "").lower().partition(",")[0]

    def parent_of(self, row: Row) -> str:
        parent = super().parent_of(row)
        if parent.startswith("id:"):
            number = parent[3:].strip()
            return self._keys.get(number, f"id:{number}")
        return parent

    def rows_of(self, row: Row) -> Iterator[FeedRow]:
        index = self.indices.parent
        if index is not None and self._type(row) == "variation" and not row.has(index):
            sentence = "a variation has no parent; expected the SKU of its product, or id: and its number."
            row.add_issue(index, "parent_missing", sentence)
            return
        yield from super().rows_of(row)

    def variant(self, row: Row, kind: str, parent: str, key: str, name: str) -> FeedRow:
        # The name comes from the product's own row.
        return super().variant(row, kind, parent, key, "")

    def options(self, row: Row) -> dict[str, str]:
        taken = ((row.read(n, cells.text, ""), row.read(v, cells.text, "")) for n, v in self.pairs)
        return super().options(row) | {name: value for name, value in taken if name and value}

    def attributes(self, row: Row, names: Mapping[int, str]) -> dict[str, str]:
        attributes = super().attributes(row, names)
        if state := row.read(self.published, str.strip, ""):
            attributes["status"] = STATES.get(state, state)
        if names is not self.as_attributes:
            return attributes
        for index, values in self.pairs:
            name, value = row.read(index, cells.text, ""), row.read(values, cells.text, "")
            several = [part.replace("\\,", ",") for part in _VALUES.split(value) if part]
            # An attribute in which the variations differ is not an attribute of the variable product.
            if name and several and (len(several) == 1 or self._type(row) != "variable"):
                attributes[attribute(name)] = ", ".join(several)
            self.names |= {attribute(name)} if name else set()
        return attributes

    def reader(self, name: str) -> Callable[[str], str]:
        return _description if name in ("description", "short_description") else cells.text

    def sources(self, cell: str) -> tuple[str, ...]:
        return cells.photos(_IMAGES.sub("\n", cell) if "//" not in cell else cell)


def _description(cell: str) -> str:
    return cells.description(cell.replace("\\n", "\n"))


class WooCommerceLayout:
    """SKU or ID, type, name, and at least two more of WooCommerce's headings."""

    name = "woocommerce"
    label = "WooCommerce"

    def matches(self, header: Header) -> bool:
        names = set(translate_headings(header).names)
        return {"type", "name"} <= names and bool({"sku", "id"} & names) and len(MARKERS & names) >= 2

    def suggest(self, header: Header) -> dict[int, str]:
        fields: dict[int, str] = {}
        simple = {"sku": columns.KEY, "name": columns.NAME, "parent": columns.PARENT, "images": columns.PHOTO}
        structure = {"id", "type", "published"}
        header = translate_headings(header)
        for index, name in enumerate(header.names):
            if name in simple:
                fields[index] = simple[name]
            elif name in structure or _FIELD.fullmatch(name):
                fields[index] = columns.LAYOUT
            elif name in ATTRIBUTES:
                fields[index] = columns.ATTRIBUTE + ATTRIBUTES[name]
            elif name:
                fields[index] = columns.PHOTOS_MORE if index in header.images else columns.IGNORE
        if "sku" not in header.names and (number := header.find(["id"])) is not None:
            fields[number] = columns.KEY
        return fields

    def bind(self, header: Header, kind: str, fields: Mapping[int, str]) -> WooCommerceTable:
        return WooCommerceTable(translate_headings(header), kind, fields)
