"""The product export of Magento (Adobe Commerce), and similar tables with several lines in a cell.

https://experienceleague.adobe.com/en/docs/commerce-admin/systems/data-transfer/data-attributes-product. A configurable
product names its children in `configurable_variations`, usually after the children's own rows. A child that is not
visible individually is a variant, not a product. `additional_attributes` is like `color=Blue,material=Cotton|Linen`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from functools import partial

from campaigns.feeds import cells, columns, vocabulary
from campaigns.feeds.base import PARENT_IN_OTHER_ROW, FeedRow, Header
from campaigns.feeds.cells import Row
from campaigns.feeds.generic import GenericLayout, PlainTable, attribute

MARKERS = {
    "additional_attributes", "configurable_variations", "attribute_set_code", "attribute_set", "product_websites",
    "store_view_code",
}  # fmt: skip
STRUCTURE = (
    "store_view_code", "product_type", "visibility", "additional_attributes", "configurable_variations",
    "configurable_variation_labels",
)  # fmt: skip
LEFT_OUT = {
    "attribute_set_code", "attribute_set", "product_websites", "product_online", "tax_class_name", "small_image",
    "small_image_label", "thumbnail_image", "thumbnail_image_label", "swatch_image", "swatch_image_label",
    "additional_image_labels", "qty", "out_of_stock_qty", "is_in_stock", "min_cart_qty", "max_cart_qty", "website_id",
    "created_at", "updated_at", "new_from_date", "new_to_date", "special_price_from_date", "special_price_to_date",
    "display_product_options_in", "gift_message_available", "hide_from_product_page", "page_layout", "custom_options",
    "map_price", "msrp_display_actual_price_type",
}  # fmt: skip
#: Beginnings of headings about stock and links between products.
LEFT_OUT_BEGINNINGS = (
    "use_config_", "related_", "crosssell_", "upsell_", "bundle_", "custom_design", "associated_", "notify_on",
    "enable_qty", "qty_", "backorders", "allow_backorders", "manage_stock", "is_qty", "is_decimal",
)  # fmt: skip
_PACKED = re.compile(r'(?:^|,)\s*"?([A-Za-z]\w*)=')
_BETWEEN_IMAGES = re.compile(r"[,|\n\r]+")
_OF_PRODUCTS = {"description", "short_description"}


def unpack_attributes(packed: str) -> dict[str, str]:
    """Return `color=Blue,size=S|M` as name -> text. Values may contain commas; several values become a list."""
    matches = list(_PACKED.finditer(packed))
    ends = [*(match.start() for match in matches[1:]), len(packed)][: len(matches)]
    values = ((match[1], packed[match.end() : end]) for match, end in zip(matches, ends, strict=True))
    return {name.lower(): join_lines(value.strip().strip('"').replace("|", "\n")) for name, value in values}


def join_lines(cell: str) -> str:
    return ", ".join(filter(None, map(str.strip, cells.text(cell).splitlines())))


class MagentoTable(PlainTable):
    def __init__(self, header: Header, kind: str, fields: Mapping[int, str]) -> None:
        super().__init__(header, kind, fields)
        self.at = {name: header.find([name]) for name in STRUCTURE}

    def _cell(self, row: Row, name: str) -> str:
        return row.read(self.at[name], str.strip, "")

    def rows_of(self, row: Row) -> Iterator[FeedRow]:
        # A row with a store view repeats the product in another language.
        if self._cell(row, "store_view_code"):
            return
        for feed_row in super().rows_of(row):
            yield feed_row
            if not feed_row.parent_key:
                variations = partial(self._variations, row, feed_row)
                yield from row.read(self.at["configurable_variations"], variations, ())

    def parent_of(self, row: Row) -> str:
        is_child = self._cell(row, "visibility").casefold() == "not visible individually"
        return super().parent_of(row) or (PARENT_IN_OTHER_ROW if is_child else "")

    def _variations(self, row: Row, product: FeedRow, cell: str) -> tuple[FeedRow, ...]:
        labels = unpack_attributes(self._cell(row, "configurable_variation_labels"))
        variants: list[FeedRow] = []
        for packed in cell.split("|"):
            options = unpack_attributes(packed)
            sku = cells.key(options.pop("sku", ""))
            options = {
                labels.get(name) or vocabulary.OPTIONS.get(name, name.replace("_", " ").capitalize()): value
                for name, value in options.items()
                if value and name != "display"
            }
            if sku:
                variants.append(FeedRow(product.row, sku, product.kind, parent_key=product.key, options=options))
        return tuple(variants)

    def attributes(self, row: Row, names: Mapping[int, str]) -> dict[str, str]:
        attributes = super().attributes(row, names)
        nothing: dict[str, str] = {}
        packed = row.read(self.at["additional_attributes"], unpack_attributes, nothing)
        packed = {attribute(name): value for name, value in packed.items() if value}
        self.names |= packed.keys()
        return packed | attributes

    def reader(self, name: str) -> Callable[[str], str]:
        if name in _OF_PRODUCTS:
            return cells.description
        return (lambda cell: join_lines(cell).replace("Default Category/", "")) if name == "category" else join_lines

    def sources(self, cell: str) -> tuple[str, ...]:
        return cells.photos(cell if "//" in cell else _BETWEEN_IMAGES.sub("\n", cell))


class MagentoLayout(GenericLayout):
    """SKU, name, and a heading that only Magento uses."""

    name = "magento"
    label = "Magento or Adobe Commerce"
    table = MagentoTable
    fixed = {
        **dict.fromkeys(STRUCTURE, columns.LAYOUT), **dict.fromkeys(LEFT_OUT, columns.IGNORE),
        "base_image_label": columns.ALT, "categories": columns.ATTRIBUTE + "category",
    }  # fmt: skip
    left_out = LEFT_OUT_BEGINNINGS

    def matches(self, header: Header) -> bool:
        names = set(header.names)
        return {"sku", "name"} <= names and bool(MARKERS & names)
