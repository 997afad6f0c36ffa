"""Google Merchant Center: a supplemental feed with the id and the images of each product, as XML and as a table.

https://support.google.com/merchants/answer/6324350 (image_link), /6324370 (additional_image_link), /9103186
(lifestyle_image_link). A supplemental feed adds to the products of a primary feed that have the same id; variants have
ids of their own there. Images made by AI must keep their IPTC DigitalSourceType; it is in the files, so the feed has no
field for it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from core.xml_text import escape_text
from review.image_feeds.base import FeedHeading, FeedImage, FeedProduct, ImageFeedLayout, Limits

MOST_ADDITIONAL = 10
NAMESPACE = "http://base.google.com/ns/1.0"
LIMITS = Limits(
    media_types=frozenset({"image/jpeg", "image/png", "image/webp", "image/gif", "image/bmp", "image/tiff"}),
    most_bytes=16_000_000,
    most_pixels=64_000_000,
    least_side=500,
    advice="Google refuses images below 500 × 500 px from 31 January 2027 on.",
)


def split_images(images: Iterable[FeedImage]) -> tuple[FeedImage, list[FeedImage], FeedImage | None]:
    """Return the main image, the others, and the first staged scene among them, which has a field of its own."""
    main, *others = images
    scene = next((image for image in others if image.is_scene), None)
    return main, [image for image in others if image is not scene], scene


class GoogleMerchantLayout(ImageFeedLayout):
    """RSS 2.0 with the g: namespace."""

    name = "google_merchant"
    label = "Google Merchant (XML)"
    description = "A supplemental feed: the id of each product or variant, its main image and up to ten others."
    media_type = "application/xml; charset=utf-8"
    suffix = "xml"
    receiver = "Google"
    limits = LIMITS
    most_images = 1 + MOST_ADDITIONAL
    has_variant_ids = reads_variants = True

    def begin(self, heading: FeedHeading) -> str:
        return (
            '<?xml version="1.0" encoding="UTF-8"?>\n'
            f'<rss version="2.0" xmlns:g="{NAMESPACE}">\n<channel>\n'
            f"<title>{escape_text(heading.title)}</title>\n<link>{escape_text(heading.link)}</link>\n"
            f"<description>{escape_text(f'Approved images of {heading.brand}')}</description>\n"
        )

    def product(self, product: FeedProduct, identifiers: Sequence[str]) -> str:
        main, additional, scene = split_images(product.images)
        lines = [_element("image_link", main.url)]
        lines += [_element("additional_image_link", image.url) for image in additional]
        if scene:
            lines.append(_element("lifestyle_image_link", scene.url))
        links = "".join(lines)
        return "".join(f"<item>\n{_element('id', identifier)}{links}</item>\n" for identifier in identifiers)

    def end(self) -> str:
        return "</channel>\n</rss>\n"


class GoogleMerchantTableLayout(GoogleMerchantLayout):
    """The same as text with tabs. Several additional images stand in one cell, separated by commas."""

    name = "google_merchant_tsv"
    label = "Google Merchant (TSV)"
    description = "The same as a table: text with tabs."
    media_type = "text/tab-separated-values; charset=utf-8"
    suffix = "tsv"

    def begin(self, heading: FeedHeading) -> str:
        return "id\timage_link\tadditional_image_link\tlifestyle_image_link\n"

    def product(self, product: FeedProduct, identifiers: Sequence[str]) -> str:
        main, additional, scene = split_images(product.images)
        links = ",".join(image.url.replace(",", "%2C") for image in additional)
        cells = (main.url, links, scene.url if scene else "")
        rows = ((identifier, *cells) for identifier in identifiers)
        return "".join("\t".join(map(_cell, row)) + "\n" for row in rows)

    def end(self) -> str:
        return ""


def _element(name: str, value: str) -> str:
    return f"<g:{name}>{escape_text(value)}</g:{name}>\n"


def _cell(value: str) -> str:
    """Return a cell in one line. Cells with quotation marks are quoted, as in CSV."""
    line = " ".join(value.split()) if any(mark in value for mark in "\t\r\n") else value
    return '"' + line.replace('"', '""') + '"' if '"' in line else line
