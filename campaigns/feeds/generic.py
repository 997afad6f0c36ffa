"""The plain layout: one row per subject, columns found by their usual names, everything else an attribute.

Rows of kind article or concept need no key: a missing key is made from the title.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from typing import Any

from campaigns.feeds import cells, clean, columns, vocabulary
from campaigns.feeds.base import FeedRefused, FeedRow, Header, Issue, Record, normalise_heading
from campaigns.feeds.cells import Row

_LABELS = tuple(name.replace("_", " ") for name in vocabulary.OPTIONS)
MAX_SLUG = 120
"""Characters of a key made from a title. Do not change it: long titles would get other keys than they have now."""
_name = partial(cells.text, limit=cells.MAX_NAME)
_alt = partial(cells.text, limit=cells.MAX_ALT)


def slug(title: str) -> str:
    """Return a key made from a title: letters and digits of any script, with hyphens, at most MAX_SLUG characters."""
    plain = unicodedata.normalize("NFKC", title)
    return normalise_heading(plain).replace("_", "-")[:MAX_SLUG].strip("-")


def attribute(option: str) -> str:
    """Return the attribute that stands for an option on a product: `colour` for `Colour`."""
    return vocabulary.ATTRIBUTES.get(normalise_heading(option), normalise_heading(option))


def strip_options(name: str, options: Mapping[str, str]) -> str:
    """Return the product's name for a variant's name: `Mug` for `Mug, sage / M` or `Mug - Colour: Sage - Size M`."""
    while shorter := _strip_last_option(name, options):
        name = shorter
    return name


def _strip_last_option(name: str, options: Mapping[str, str]) -> str:
    """Return the name without the option at its end and that option's label; "" if it ends in no option."""
    bare = name.rstrip(" )")
    for option, value in options.items():
        before = _text_before(bare, value)
        if before is None:
            continue
        labels = (_text_before(before.rstrip(" :="), label) for label in (option, *_LABELS))
        before = next((shorter for shorter in labels if shorter is not None), before)
        shorter = before.rstrip(" \t\xa0-–—/|,;:(")
        if shorter and any(part.isspace() or part in ",;:/|(" for part in before[len(shorter) :]):
            return shorter
    return ""


def _text_before(text: str, end: str) -> str | None:
    """Return what stands before `end`, whatever its case; None if the text does not end with it as a word."""
    at = len(text) - len(end)
    if not end or at < 0 or text[at:].casefold() != end.casefold() or text[:at][-1:].isalnum():
        return None
    return text[:at]


class Columns:
    """The meaning of each column. `photos` are (index, role); `attributes` and `options` map index to name."""

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
        self.attributes, self.options = _names_after(fields, columns.ATTRIBUTE), _names_after(fields, columns.OPTION)


def _names_after(fields: Mapping[int, str], prefix: str) -> dict[int, str]:
    return {index: field.removeprefix(prefix) for index, field in sorted(fields.items()) if field.startswith(prefix)}


class PlainTable:
    """A table with one row per product or variant. Subclasses override how an export of this shape is read.

    Raises FeedRefused when the key or the name has no column and the kind needs one.
    """

    groups = False

    def __init__(self, header: Header, kind: str, fields: Mapping[int, str]) -> None:
        indices = Columns(fields)
        missing: list[Issue] = []
        if indices.key is None and kind == "product" and indices.kind is None:
            hint = " (A list of articles or concepts needs none, but says so in a column kind.)"
            missing += columns.missing_column_refusal(header, "SKU", vocabulary.KEY, hint).issues
        if indices.name is None:
            missing += columns.missing_column_refusal(header, "name", vocabulary.NAME).issues
        if indices.name is None or missing:
            raise FeedRefused(*missing)
        self.header, self.kind, self.indices, self.name = header, kind, indices, indices.name
        key = indices.key if indices.key is not None else indices.name
        self.columns: Mapping[str, int] = {"key": key, "name": indices.name, "variant": key}
        # On a product, an option is an attribute; only variants have options.
        self.as_attributes = indices.attributes | {index: attribute(name) for index, name in indices.options.items()}
        names = set(self.as_attributes.values()) | ({"hex"} if indices.hex is not None else set())
        self.names = names | ({"currency"} if names & vocabulary.PRICES else set())

    @property
    def attribute_names(self) -> frozenset[str]:
        return frozenset(self.names)

    def read(self, records: Iterable[Record | Issue]) -> Iterator[FeedRow | Issue]:
        quick = self._quick()
        for record in records:
            if quick and not isinstance(record, Issue) and (subject := quick(*record)):
                yield subject
                continue
            for sound in cells.iter_valid_records(self.header, (record,)):
                if isinstance(sound, Issue):
                    yield sound
                    continue
                row = Row(self.header, sound)
                feed_rows = list(self.rows_of(row))
                yield from row.issues
                yield from feed_rows

    def _quick(self) -> clean.Read | None:
        """Return the fast reader if the rows of this table need nothing beyond this class, else None."""
        indices = self.indices
        if type(self) is not PlainTable or indices.key is None or indices.hex is not None:
            return None
        if indices.parent is not None or indices.kind is not None or not all(self.header.names):
            return None
        return clean.fast_reader(
            kind=self.kind, width=len(self.header), key=indices.key, name=self.name, alt=indices.alt,
            attributes=self.as_attributes, photos=indices.photos,
        )  # fmt: skip

    def rows_of(self, row: Row) -> Iterator[FeedRow]:
        """Yield the subject or variant that the row describes."""
        index = self.indices.kind
        kind = row.read(index, cells.kind, self.kind) if row.has(index) else self.kind
        parent = self.parent_of(row)
        name = row.read(self.name, _name, "")
        if not name and not row.issues and not parent:
            row.add_issue(self.name, "name_missing", "the name is empty; expected one, such as “Mug, sage”.")
        key = self.key_of(row, kind, name)
        if parent and (parent != key or self.groups):
            feed_row = self.variant(row, kind, parent, key, name)
        else:
            feed_row = self.subject(row, kind, key, name)
        if key:
            yield feed_row

    def subject(self, row: Row, kind: str, key: str, name: str) -> FeedRow:
        attributes, photos = self.attributes(row, self.as_attributes), self.photos(row)
        return FeedRow(row.number, key, kind, name, attributes=attributes, photos=photos)

    def variant(self, row: Row, kind: str, parent: str, key: str, name: str) -> FeedRow:
        attributes, options = self.attributes(row, self.indices.attributes), self.options(row)
        name = strip_options(name, options)
        return FeedRow(row.number, key, kind, name, parent, attributes, options, self.photos(row))

    def parent_of(self, row: Row) -> str:
        return row.read(self.indices.parent, cells.key, "")

    def options(self, row: Row) -> dict[str, str]:
        taken = ((name, row.read(index, cells.text, "")) for index, name in self.indices.options.items())
        return {name: value for name, value in taken if value}

    def key_of(self, row: Row, kind: str, name: str) -> str:
        index = self.indices.key
        if index is not None and row.has(index):
            return row.read(index, cells.key, "")
        if kind != "product":
            return slug(name)
        if index is not None:
            row.add_issue(index, "key_missing", "the SKU is empty; expected one for every product.")
        elif self.indices.kind is not None:
            headings = ", ".join(vocabulary.KEY[:4])
            sentence = f"a product needs a SKU, and there is no such column; expected one of the headings {headings}."
            row.add_issue(self.indices.kind, "key_missing", sentence)
        return ""

    def attributes(self, row: Row, names: Mapping[int, str]) -> dict[str, str]:
        """Return name -> text of the columns that are not empty."""
        attributes: dict[str, str] = {}
        for index, name in names.items():
            if not row.cells[index]:
                continue
            if name not in vocabulary.PRICES:
                value, currency = row.read(index, self.reader(name), ""), ""
            elif row.has(index):
                value, currency = row.read(index, cells.price, ("", ""))
            else:
                continue
            if value:
                attributes[name] = value
            if currency:
                attributes.setdefault("currency", currency)  # unless a column names it
        if row.has(self.indices.hex) and (value := row.read(self.indices.hex, cells.hex_colour, "")):
            attributes["hex"] = value
        return attributes

    def reader(self, name: str) -> Callable[[str], str]:
        """Return the function that reads the text of an attribute."""
        return cells.text

    def sources(self, cell: str) -> tuple[str, ...]:
        """Return the images that a cell names."""
        return cells.photos(cell)

    def photos(self, row: Row) -> list[dict[str, Any]]:
        alt = row.read(self.indices.alt, _alt, "")
        sources: dict[str, str] = {}
        for index, role in self.indices.photos:
            for source in row.read(index, self.sources, cells.NO_PHOTOS):
                sources.setdefault(source, role)
        photos: list[dict[str, Any]] = []
        for (source, role), text in zip(sources.items(), cells.alts(alt, len(sources)), strict=False):
            shown = role if not photos or role != "front" else "angle"
            photos.append({"source": source, "role": shown, "position": len(photos) + 1, "alt": text})
        return photos


class GenericLayout:
    """Any table with a SKU and a name."""

    name = "generic"
    label = "A table of products"

    def matches(self, header: Header) -> bool:
        return True

    def suggest(self, header: Header) -> dict[int, str]:
        return columns.suggest_fields(header)

    def bind(self, header: Header, kind: str, fields: Mapping[int, str]) -> PlainTable:
        return PlainTable(header, kind, fields)
