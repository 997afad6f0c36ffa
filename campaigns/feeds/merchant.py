"""Google Merchant Center's product feed, as TSV, RSS 2.0 or Atom: one item per variant, joined by `item_group_id`.

https://support.google.com/merchants/answer/7052112. An item without a group is a product. A group has no item of
its own: its name is that of its first variant without the options, and it has the attributes that all variants share.
"""

from __future__ import annotations

from collections.abc import Callable

from campaigns.feeds import cells, columns
from campaigns.feeds.base import Header
from campaigns.feeds.generic import GenericLayout, PlainTable

MARKERS = {
    "image_link", "item_group_id", "google_product_category", "additional_image_link", "availability", "condition",
    "gtin", "mpn", "identifier_exists", "lifestyle_image_link", "link",
}  # fmt: skip
LEFT_OUT = (
    "shipping", "tax", "installment", "loyalty", "cost_of_goods", "ads_", "adwords_", "availability_date",
    "expiration_date", "mobile_link", "link_template", "excluded_destination", "included_destination", "promotion_id",
    "sale_price_effective_date", "unit_pricing", "min_handling", "max_handling", "transit_time", "return_",
)  # fmt: skip


class MerchantTable(PlainTable):
    groups = True

    def reader(self, name: str) -> Callable[[str], str]:
        return cells.description if name == "description" else cells.text


class MerchantLayout(GenericLayout):
    """id, title, and at least two more of Google's attributes."""

    name = "google-merchant"
    label = "Google Merchant Center"
    table = MerchantTable
    fixed = {"lifestyle_image_link": columns.PHOTOS_MORE}
    left_out = LEFT_OUT

    def matches(self, header: Header) -> bool:
        names = set(header.names)
        return {"id", "title"} <= names and len(MARKERS & names) >= 2 and bool({"image_link", "availability"} & names)
