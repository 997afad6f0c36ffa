"""The plain layout: one row per subject, columns found by their usual names, everything else an attribute.

Rows of kind article or concept need no key: without one it is made of the title.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator, Mapping
from functools import partial
from typing import Any

from campaigns.feeds import cells, columns, vocabulary
from campaigns.feeds.base import FeedRefused, FeedRow, Header, Issue, Record, normalised, refused, register
from campaigns.feeds.cells import Row

_LAST_PART = re.compile(r"(?:\s+[-–/|]\s+|\s*[,(/|]\s*|\s+)(?P<end>[^\s,(/|]+(?: [^\s,(/|]+)?\)?)$")
KINDS = ("product", "article", "concept")
_name = partial(cells.text, limit=cells.MAX_NAME)
_alt = partial(cells.text, limit=600)


def slug(title: str) -> str:
    """A key made of a title: letters and digits of any script, joined by hyphens, at most 120 characters."""
    plain = unicodedata.normalize("NFKC", title)
    return normalised(plain).replace("_", "-")[: cells.MAX_KEY].strip("-")


def without_options(name: str, options: Iterable[str]) -> str:
    """A product's name, made of a variant's: `Mug, sage / M` of a variant with sage and M is `Mug`."""
    ends = {option.casefold() for option in options}
    while ends and (match := _LAST_PART.search(name)) and match["end"].strip(" ()").casefold() in ends:
        name = name[: match.start()].rstrip()
    return name


def missing_column(header: Header, column: str, aliases: Iterable[str], hint: str = "") -> FeedRefused:
    """The refusal of a header that lacks a required column: says which headings would do, and which are there."""
    accepted = ", ".join(list(aliases)[:6])
    there = ", ".join(name for name in header.cells if name)
    return refused(
        "column_missing",
        f"There is no column for the {column}; expected one of the headings {accepted}.{hint} "
        f"{f'Row {header.row} has' if header.row else 'There are'}: {there[:200]}.",
        row=header.row,
        column=column,
        value=there,
    )


class Columns:
    """Which column is what. `photos` are (index, role); `attributes` and `options` map index to name."""

    def __init__(self, fields: Mapping[int, str]) -> None:
        first = {field: index for index, field in sorted(fields.items(), reverse=True)}
        self.key = first.get(columns.KEY)
        self.name = first.get(columns.NAME)
        self.kind = first.get(columns.KIND)
        self.parent = first.get(columns.PARENT)
        self.alt = first.get(columns.ALT)
        self.hex = first.get(columns.HEX)
        self.photos = [(i, columns.PHOTO_ROLES[f]) for i, f in sorted(fields.items()) if f in columns.PHOTO_ROLES]
        self.photos.sort(key=lambda photo: photo[1] != "front")
        self.attributes = self._behind(fields, columns.ATTRIBUTE)
        self.options = self._behind(fields, columns.OPTION)

    @staticmethod
    def _behind(fields: Mapping[int, str], prefix: str) -> dict[int, str]:
        return {index: f.removeprefix(prefix) for index, f in sorted(fields.items()) if f.startswith(prefix)}


class Plain:
    """The generic layout for one header. Raises FeedRefused when key or name have no column and the kind needs them."""

    def __init__(self, header: Header, kind: str, fields: Mapping[int, str]) -> None:
        found = Columns(fields)
        missing: list[Issue] = []
        if found.key is None and kind == "product" and found.kind is None:
            hint = " (A list of articles or concepts needs none, but says so in a column kind.)"
            missing += missing_column(header, "SKU", vocabulary.KEY, hint).issues
        if found.name is None:
            missing += missing_column(header, "name", vocabulary.NAME).issues
        if found.name is None or missing:
            raise FeedRefused(*missing)
        self.header, self.kind, self.found, self.name = header, kind, found, found.name
        key = found.key if found.key is not None else found.name
        self.columns: Mapping[str, int] = {"key": key, "name": found.name, "variant": key}
        # Of a product, an option is an attribute; only its variants have options.
        self.as_attributes = found.attributes | {
            index: vocabulary.ATTRIBUTES.get(normalised(name), normalised(name))
            for index, name in found.options.items()
        }
        names = set(self.as_attributes.values()) | ({"hex"} if found.hex is not None else set())
        priced = {"currency"} if names & vocabulary.PRICES else set()
        self.attribute_names = frozenset(names | priced)

    def read(self, records: Iterable[Record | Issue]) -> Iterator[FeedRow | Issue]:
        for record in cells.sound(self.header, records):
            if isinstance(record, Issue):
                yield record
                continue
            row = Row(self.header, record)
            subject = self._subject(row)
            yield from row.issues
            if subject:
                yield subject

    def _subject(self, row: Row) -> FeedRow | None:
        kind = self._kind(row)
        parent = self._parent(row)
        name = row.take(self.name, _name, "")
        if not name and not row.issues and not parent:
            row.blame(self.name, "name_missing", "the name is empty; expected one, such as “Mug, sage”.")
        key = self._key(row, kind, name)
        if parent and parent != key:
            return self._variant(row, kind, parent, key, name)
        attributes = self._attributes(row, self.as_attributes)
        photos = self._photos(row)
        return FeedRow(row.number, key, kind, name, attributes=attributes, photos=photos) if key else None

    def _parent(self, row: Row) -> str:
        index = self.found.parent
        return row.take(index, cells.key, "") if index is not None and row.has(index) else ""

    def _variant(self, row: Row, kind: str, parent: str, key: str, name: str) -> FeedRow | None:
        attributes = self._attributes(row, self.found.attributes)
        options: dict[str, str] = {}
        for index, option in self.found.options.items():
            if value := row.take(index, cells.text, ""):
                options[option] = value
        photos = self._photos(row)
        name = without_options(name, options.values())
        return FeedRow(row.number, key, kind, name, parent, attributes, options, photos) if key else None

    def _kind(self, row: Row) -> str:
        index = self.found.kind
        if index is None or not row.has(index):
            return self.kind
        kind = row.cells[index].strip().lower()
        if kind not in KINDS:
            row.blame(index, "kind_unknown", f"“{kind[:40]}” is no kind; expected product, article or concept.")
            return self.kind
        return kind

    def _key(self, row: Row, kind: str, name: str) -> str:
        index = self.found.key
        if index is not None and row.has(index):
            return row.take(index, cells.key, "")
        if kind != "product":
            return slug(name)
        if index is not None:
            row.blame(index, "key_missing", "the SKU is empty; expected one for every product.")
        elif self.found.kind is not None:
            row.blame(
                self.found.kind,
                "key_missing",
                "a product needs a SKU, and there is no such column; expected one of the headings "
                f"{', '.join(vocabulary.KEY[:4])}.",
            )
        return ""

    def _attributes(self, row: Row, names: Mapping[int, str]) -> dict[str, str]:
        found: dict[str, str] = {}
        for index, name in names.items():
            if not row.cells[index]:
                continue
            if name in vocabulary.PRICES:
                _money(row, index, name, found)
            elif value := row.take(index, cells.text, ""):
                found[name] = value
        index_of_hex = self.found.hex
        if index_of_hex is not None and row.has(index_of_hex):
            found |= {"hex": value} if (value := row.take(index_of_hex, cells.hex_colour, "")) else {}
        return found

    def _photos(self, row: Row) -> list[dict[str, Any]]:
        alt = row.take(self.found.alt, _alt, "") if self.found.alt is not None else ""
        photos: list[dict[str, Any]] = []
        for index, role in self.found.photos:
            for source in row.take(index, cells.photos, cells.NO_PHOTOS):
                place = len(photos) + 1
                photos.append({"source": source, "role": role, "position": place, "alt": alt if place == 1 else ""})
        return photos


def _money(row: Row, index: int, name: str, into: dict[str, str]) -> None:
    """The amount as an attribute; the currency too where the cell names it and no column does."""
    if not row.has(index):
        return
    amount, currency = row.take(index, cells.price, ("", ""))
    if amount:
        into[name] = amount
    if currency:
        into.setdefault("currency", currency)


class GenericLayout:
    """Any table with a SKU and a name."""

    name = "generic"

    def matches(self, header: Header) -> bool:
        return True

    def suggest(self, header: Header) -> dict[int, str]:
        return columns.suggest(header)

    def bind(self, header: Header, kind: str, fields: Mapping[int, str]) -> Plain:
        return Plain(header, kind, fields)


register(GenericLayout())
