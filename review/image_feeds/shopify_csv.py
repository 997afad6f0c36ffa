"""Shopify's product CSV with the columns of images: the template of 2025, and the headings before it.

https://help.shopify.com/manual/products/import-export/using-csv. Each image is a row with the product's handle; the
first row also has the title, which Shopify requires. Shopify leaves columns that the file does not have as they are.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable, Sequence
from typing import ClassVar

from review.image_feeds.base import FeedHeading, FeedProduct, ImageFeedLayout, Limits

MOST_ALT_TEXT = 512


class _Lines:
    """Collects the lines that the csv module writes."""

    def __init__(self) -> None:
        self.text = ""

    def write(self, line: str) -> int:
        self.text += line
        return len(line)


def write_rows(rows: Iterable[Sequence[str | int]]) -> str:
    lines = _Lines()
    csv.writer(lines, lineterminator="\n").writerows(rows)
    return lines.text


class ShopifyLayout(ImageFeedLayout):
    """The headings of Shopify's present template."""

    name = "shopify_csv"
    label = "Shopify CSV"
    description = "A product CSV with one row per image: handle, title, address, position and alternative text."
    media_type = "text/csv; charset=utf-8"
    suffix = "csv"
    receiver = "Shopify"
    limits = Limits(
        media_types=frozenset({"image/jpeg", "image/png", "image/gif", "image/webp"}),
        most_bytes=20_000_000,
        most_pixels=20_000_000,
        most_side=4472,
    )
    default_id = "handle"
    #: Headings of handle, title, address, position and alternative text.
    headings: ClassVar[tuple[str, ...]] = (
        *("URL handle", "Title", "Product image URL", "Image position", "Image alt text"),
    )

    def begin(self, heading: FeedHeading) -> str:
        return write_rows([self.headings])

    def product(self, product: FeedProduct, identifiers: Sequence[str]) -> str:
        return write_rows(
            (identifiers[0], "" if number else product.name, image.url, number + 1, image.alt_text[:MOST_ALT_TEXT])
            for number, image in enumerate(product.images)
        )


class LegacyShopifyLayout(ShopifyLayout):
    """The headings of older exports, which many programs still expect."""

    name = "shopify_csv_legacy"
    label = "Shopify CSV, older headings"
    description = "The same with the headings before 2025: Handle, Title, Image Src, Image Position, Image Alt Text."
    headings = ("Handle", "Title", "Image Src", "Image Position", "Image Alt Text")
