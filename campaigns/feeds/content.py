"""Finds columns of image addresses by the values in the first rows, not by their headings."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from campaigns.feeds import addresses, columns
from campaigns.feeds.base import Header, Record

MAX_SAMPLE_ROWS = 200  # rows that are examined; fewer if they are long
MAX_SAMPLE_CHARACTERS = 1 << 20
_IMAGE_WORDS = (
    "image", "img", "photo", "foto", "picture", "pic_", "bild", "imag", "immag", "afbeeld", "zdj", "obraz", "obráz",
    "media", "изобр", "фото", "картин", "billede", "kuva", "画像", "图片", "圖片", "이미지",
)  # fmt: skip
_OTHER_IMAGES = (
    "logo", "icon", "flag", "swatch", "thumb", "banner", "badge", "avatar", "chart", "label", "certif", "energy",
    "datasheet", "datenblatt", "manual", "video", "brand", "marke", "hersteller", "category", "kategorie",
)  # fmt: skip
"""Words in headings of images that do not show the product."""


def image_columns(header: Header, rows: Sequence[Record]) -> frozenset[int]:
    """Return the indices of the columns that hold addresses of images of the product and nothing else."""
    return frozenset(
        index
        for index, name in enumerate(header.names)
        if name
        and not any(word in name for word in _OTHER_IMAGES)
        and (parts := _parts(rows, index))
        and (any(word in name for word in _IMAGE_WORDS) or all(map(addresses.is_image, parts)))
    )


def _parts(rows: Sequence[Record], index: int) -> list[str]:
    """Return the addresses in a column; an empty list if one of its values is not an address."""
    web_addresses: list[str] = []
    for _, cells in rows:
        if index >= len(cells) or not (cell := cells[index].strip()):
            continue
        parts = [addresses.add_scheme(part) for part in addresses.split_images(cell)] if "/" in cell else [cell]
        if not all(map(addresses.is_web_address, parts)):
            return []
        web_addresses += parts
    return web_addresses


def address_column_remarks(
    header: Header, fields: Mapping[int, str], rows: Sequence[Record], chosen: Collection[str]
) -> list[str]:
    """Return sentences about columns of addresses that become attributes.

    chosen: headings for which people chose the field; they get no remark. Addresses of web pages get one only if the
    file has no images at all.
    """
    has_images = any(field in columns.PHOTO_ROLES for field in fields.values())
    sentences = []
    for index, heading in enumerate(header.cells):
        if heading in chosen or not fields.get(index, "").startswith(columns.ATTRIBUTE):
            continue
        parts = _parts(rows, index)
        are_images = all(map(addresses.is_image, parts))
        if parts and (are_images or not has_images):
            kind = "images" if are_images else "web pages or files"
            sentences.append(
                f"The column “{heading[:80]}” holds addresses of {kind} and is imported as an attribute. If they show "
                "the product, choose “More photos” for it under “Which column is what”."
            )
    return sentences
