"""A list of images for existing products: SKU, image, and optionally position, role and alt text.

Magento and others export the images separately from the products, one row per image.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import repeat

from campaigns.feeds import cells, columns, vocabulary
from campaigns.feeds.base import FeedRow, Header
from campaigns.feeds.cells import Row
from campaigns.feeds.generic import Columns, GenericLayout, PlainTable


class ImageTable(PlainTable):
    """A table whose rows have no key of their own; they belong to a subject."""

    needs_name = False

    def __init__(self, header: Header, kind: str, fields: Mapping[int, str]) -> None:
        super().__init__(header, kind, fields)
        self.key = self.indices.key or 0
        self.position, self.role = header.find(vocabulary.POSITION), header.find(["role"])
        self.names = set()
        self._previous, self._count = "", 0

    def rows_of(self, row: Row) -> Iterator[FeedRow]:
        key = row.read(self.key, cells.key, "")
        if not key and not row.issues:
            row.add_issue(self.key, "key_missing", "the SKU is empty; expected that of a product.")
        alt = row.read(self.indices.alt, cells.text, "")[: cells.MAX_ALT]
        images = [(source, role) for index, role in self.indices.photos for source in row.read(index, cells.photos, ())]
        before = self._count if key == self._previous else 0
        photos = cells.numbered_photos(images, repeat(alt), before)
        self._previous, self._count = key, before + len(photos)
        if photos and row.has(self.position):
            photos[0]["position"] = row.read(self.position, cells.position, 1)
        role = row.read(self.role, str.strip, "").lower()
        if role in vocabulary.ROLES:
            photos = [photo | {"role": role} for photo in photos]
        if key:
            yield FeedRow(row.number, "", self.kind, parent_key=key, photos=photos)


def is_images(indices: Columns) -> bool:
    other_attributes = set(indices.attributes.values()) - {"role", *vocabulary.POSITION}
    described = indices.name is not None or indices.parent is not None or bool(indices.options)
    return indices.key is not None and bool(indices.photos) and not described and not other_attributes


class ImageLayout(GenericLayout):
    """A key, images, and no other description of a product."""

    name = "images"
    label = "A list of images"

    def matches(self, header: Header) -> bool:
        return is_images(Columns(columns.suggest_fields(header)))

    def suggest(self, header: Header) -> dict[int, str]:
        fields = super().suggest(header)
        return {at: columns.LAYOUT if field.startswith(columns.ATTRIBUTE) else field for at, field in fields.items()}

    def bind(self, header: Header, kind: str, fields: Mapping[int, str]) -> PlainTable:
        """Return a plain table instead if people mapped other columns."""
        return ImageTable(header, kind, fields) if is_images(Columns(fields)) else PlainTable(header, kind, fields)
