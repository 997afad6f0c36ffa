"""The plain layout: one row per subject, columns found by their usual names, everything else an attribute.

Rows of kind article or concept need no key: a missing key is made from the title.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from itertools import chain, repeat
from typing import Any

from campaigns.feeds import cells, columns, vocabulary
from campaigns.feeds.base import Cells, FeedRefused, FeedRow, Header, Issue, Record, normalise_heading
from campaigns.feeds.cells import Row

_LABELS = tuple(name.replace("_", " ") for name in vocabulary.OPTIONS)
MAX_SLUG = 120  # characters of a key made from a title; unchangeable, because the keys of long titles depend on it
_name = partial(cells.text, limit=cells.MAX_NAME)
_alt = partial(cells.text, limit=cells.MAX_ALT)
# Anything that some reader refuses or changes: control characters, lone surrogates, tags, entities, and a line that
# begins as a formula, with an apostrophe or as a spreadsheet's error.
_UNUSUAL_CHARACTERS = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f\ud800-\udfff]|<[/!?A-Za-z]|&[#A-Za-z]|(?:^\\s*|\n[^\\S\n]*)[=+\\-@'#]"
)
_PLAIN_KEY = re.compile(r"[A-Za-z0-9][A-Za-z0-9_./-]{0,119}")
_FILE = re.compile(r"[\w-](?:[\w -]|\.(?!\.)|/(?![./]))*(?<! )")
_ADDRESS = re.compile(r"https?://[^\s/?#|,;\"'][^\s|,;\"']*")
_SEVERAL = re.compile(r"[;|\n]")
QuickReader = Callable[[int, Cells], FeedRow | None]


def slug(title: str) -> str:
    """Return a key made from a title: letters and digits of any script, with hyphens, at most MAX_SLUG characters."""
    return normalise_heading(unicodedata.normalize("NFKC", title)).replace("_", "-")[:MAX_SLUG].strip("-")


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


def _is_plain_file(source: str) -> bool:
    """Return True for a plain file name whose first folder is neither like a host nor like a scheme without colon."""
    folder, slash, _ = source.partition("/")
    is_odd = slash and ("." in folder or folder.lower() in ("http", "https"))
    return _FILE.fullmatch(source) is not None and "." in source and not is_odd


class Columns:
    """The meaning of each column. `photos` are (index, role); `attributes` and `options` map index to name."""

    def __init__(self, fields: Mapping[int, str]) -> None:
        first = {field: index for index, field in sorted(fields.items(), reverse=True)}
        plain = (columns.KEY, columns.NAME, columns.KIND, columns.PARENT, columns.ALT, columns.HEX)
        self.key, self.name, self.kind, self.parent, self.alt, self.hex = (first.get(field) for field in plain)
        self.photos = [(i, columns.PHOTO_ROLES[f]) for i, f in sorted(fields.items()) if f in columns.PHOTO_ROLES]
        self.photos.sort(key=lambda photo: photo[1] != "front")
        self.attributes, self.options = _names_after(fields, columns.ATTRIBUTE), _names_after(fields, columns.OPTION)


def _names_after(fields: Mapping[int, str], prefix: str) -> dict[int, str]:
    return {index: field.removeprefix(prefix) for index, field in sorted(fields.items()) if field.startswith(prefix)}


class PlainTable:
    """A table with one row per product or variant. Raises FeedRefused if a required key or name has no column."""

    groups = False
    needs_name = True

    def __init__(self, header: Header, kind: str, fields: Mapping[int, str]) -> None:
        indices = Columns(fields)
        missing: list[Issue] = []
        if indices.key is None and kind == "product" and indices.kind is None:
            hint = " (A list of articles or concepts needs none, but says so in a column kind.)"
            missing += columns.missing_column_refusal(header, "SKU", vocabulary.KEY, hint).issues
        name = indices.name if self.needs_name else indices.key
        if name is None:
            missing += columns.missing_column_refusal(header, "name", vocabulary.NAME).issues
        if name is None or missing:
            raise FeedRefused(*missing)
        self.header, self.kind, self.indices, self.name = header, kind, indices, name
        key = indices.key if indices.key is not None else name
        self.columns: Mapping[str, int] = {"key": key, "name": name, "variant": key}
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

    def _quick(self) -> QuickReader | None:
        """Return a fast reader of rows without anything unusual, as most rows of a large feed are, or None.

        It takes a third of the time, and returns None for a row that could be wrong or needs more than stripping: the
        readers in cells.py read that row. There is none if rows of this table need anything beyond this class.
        """
        indices, width, key_index = self.indices, len(self.header), self.indices.key
        if type(self) is not PlainTable or key_index is None or indices.hex is not None:
            return None
        if indices.parent is not None or indices.kind is not None or not all(self.header.names):
            return None
        prices = [(index, name) for index, name in self.as_attributes.items() if name in vocabulary.PRICES]
        texts = [(index, name) for index, name in self.as_attributes.items() if name not in vocabulary.PRICES]

        def read(number: int, row: Cells) -> FeedRow | None:
            if len(row) != width:
                return None
            key, title = row[key_index], row[self.name].strip()
            may_be_scientific = "e" in key or "E" in key
            if type(key) is not str or may_be_scientific or not _PLAIN_KEY.fullmatch(key):
                return None
            if not 0 < len(title) <= cells.MAX_NAME:
                return None
            whole = "\n".join(row)
            if len(whole) > cells.MAX_CELL or _UNUSUAL_CHARACTERS.search(whole):
                return None
            values = {name: value for index, name in texts if (value := row[index].strip())}
            for index, name in prices:
                if cell := row[index]:
                    try:
                        values[name], currency = cells.price(cell)
                    except cells.Unreadable:
                        return None
                    if currency:
                        values.setdefault("currency", currency)
            photos = self._quick_photos(row)
            return None if photos is None else FeedRow(number, key, self.kind, title, "", values, {}, photos)

        return read

    def _quick_photos(self, row: Cells) -> list[dict[str, Any]] | None:
        alt = row[self.indices.alt].strip() if self.indices.alt is not None else ""
        if len(alt) > cells.MAX_ALT or (len(self.indices.photos) > 1 and _SEVERAL.search(alt)):
            return None
        sources: dict[str, str] = {}
        for index, role in self.indices.photos:
            source = row[index]
            if not source or source in sources:
                continue
            if len(source) > cells.MAX_SOURCE or not (_is_plain_file(source) or _ADDRESS.fullmatch(source)):
                return None
            sources[source] = role
        return cells.numbered_photos(sources.items(), chain([alt], repeat("")))

    def rows_of(self, row: Row) -> Iterator[FeedRow]:
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
            attributes, photos = self.attributes(row, self.as_attributes), self.photos(row)
            feed_row = FeedRow(row.number, key, kind, name, attributes=attributes, photos=photos)
        if key:
            yield feed_row

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
            value = currency = ""
            if name not in vocabulary.PRICES:
                value = row.read(index, self.reader(name), "") if row.cells[index] else ""
            elif row.has(index):
                value, currency = row.read(index, cells.price, ("", ""))
            if value:
                attributes[name] = value
            if currency:
                attributes.setdefault("currency", currency)  # unless a column names it
        if row.has(self.indices.hex) and (value := row.read(self.indices.hex, cells.hex_colour, "")):
            attributes["hex"] = value
        return attributes

    def reader(self, name: str) -> Callable[[str], str]:
        return cells.text

    def sources(self, cell: str) -> tuple[str, ...]:
        return cells.photos(cell)

    def photos(self, row: Row) -> list[dict[str, Any]]:
        alt = row.read(self.indices.alt, _alt, "")
        sources: dict[str, str] = {}
        for index, role in self.indices.photos:
            for source in row.read(index, self.sources, ()):
                sources.setdefault(source, role)
        return cells.numbered_photos(sources.items(), cells.alts(alt, len(sources)))


class GenericLayout:
    """Any table with a SKU and a name. Other layouts of such tables inherit from it."""

    name = "generic"
    label = "A table of products"
    table: type[PlainTable] = PlainTable
    fixed: Mapping[str, str] = {}  # heading -> its field in this shop's exports
    left_out: tuple[str, ...] = ()  # beginnings of headings that do not matter for images

    def matches(self, header: Header) -> bool:
        return True

    def suggest(self, header: Header) -> dict[int, str]:
        fields = columns.suggest_fields(header)
        for index, name in enumerate(header.names):
            if name in self.fixed:
                fields[index] = self.fixed[name]
            elif name.startswith(self.left_out):
                fields[index] = columns.IGNORE
        return fields

    def bind(self, header: Header, kind: str, fields: Mapping[int, str]) -> PlainTable:
        return self.table(header, kind, fields)
