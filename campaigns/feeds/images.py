"""A list of images for existing products: SKU, image, and optionally position, role and alt text.

Magento and others export the images separately from the products, one row per image.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from campaigns.feeds import cells, columns, vocabulary
from campaigns.feeds.base import FeedRow, Header, Issue, Record
from campaigns.feeds.cells import Row
from campaigns.feeds.generic import Columns, PlainTable


class ImageRows:
    """The layout for one header. Rows have no key of their own; they belong to a subject."""

    attribute_names: frozenset[str] = frozenset()
    groups = False

    def __init__(self, header: Header, kind: str, fields: Mapping[int, str]) -> None:
        self.header, self.kind, self.indices = header, kind, Columns(fields)
        self.key = self.indices.key or 0
        self.position = header.find(vocabulary.POSITION)
        self.role = header.find(["role"])
        self.columns: Mapping[str, int] = {"key": self.key, "name": self.key}

    def read(self, records: Iterable[Record | Issue]) -> Iterator[FeedRow | Issue]:
        previous, count = "", 0
        for record in cells.iter_valid_records(self.header, records):
            if isinstance(record, Issue):
                yield record
                continue
            row = Row(self.header, record)
            key = row.read(self.key, cells.key, "")
            if not key and not row.issues:
                row.add_issue(self.key, "key_missing", "the SKU is empty; expected that of a product.")
            count = count if key == previous else 0
            photos = self._photos(row, count)
            previous, count = key, count + len(photos)
            yield from row.issues
            if key:
                yield FeedRow(row.number, "", self.kind, parent_key=key, photos=photos)

    def _photos(self, row: Row, before: int) -> list[dict[str, Any]]:
        photos: list[dict[str, Any]] = []
        alt = row.read(self.indices.alt, cells.text, "")[: cells.MAX_ALT]
        for index, role in self.indices.photos:
            for source in row.read(index, cells.photos, cells.NO_PHOTOS):
                place = before + len(photos) + 1
                chosen = role if place == 1 or role != "front" else "angle"
                photos.append({"source": source, "role": chosen, "position": place, "alt": alt})
        if photos and row.has(self.position):
            photos[0]["position"] = row.read(self.position, cells.position, 1)
        role = row.read(self.role, str.strip, "").lower()
        return [photo | {"role": role} for photo in photos] if role in vocabulary.ROLES else photos


def is_images(indices: Columns) -> bool:
    other_attributes = set(indices.attributes.values()) - {"role", *vocabulary.POSITION}
    described = indices.name is not None or indices.parent is not None or bool(indices.options)
    return indices.key is not None and bool(indices.photos) and not described and not other_attributes


class ImageLayout:
    """A key, images, and no other description of a product."""

    name = "images"
    label = "A list of images"

    def matches(self, header: Header) -> bool:
        return is_images(Columns(columns.suggest_fields(header)))

    def suggest(self, header: Header) -> dict[int, str]:
        fields = columns.suggest_fields(header)
        extra = {index: columns.LAYOUT for index, field in fields.items() if field.startswith(columns.ATTRIBUTE)}
        return fields | extra

    def bind(self, header: Header, kind: str, fields: Mapping[int, str]) -> ImageRows | PlainTable:
        """Return a plain table instead if people mapped other columns."""
        return ImageRows(header, kind, fields) if is_images(Columns(fields)) else PlainTable(header, kind, fields)
