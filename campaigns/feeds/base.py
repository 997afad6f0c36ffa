"""The interface of feeds: a header, rows that name subjects, and issues that name cells.

A `Layout` is a plug-in: it recognises a header and turns rows of text into `FeedRow`s. File formats (CSV, XLSX) are
beneath it and give every layout the same: text cells and the row numbers that a spreadsheet shows.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib.metadata import entry_points
from typing import Any, Protocol

from core.fetching import without_secrets

MAX_VALUE = 300
"""Characters of a bad value that an issue repeats."""
MAX_PLACE = 200
"""Characters of a cell's name: `A14`, or a path such as `products[12].price`."""

CAUSES = {
    "unreadable": ("file that cannot be read", "files that cannot be read"),
    "encoding": ("file whose encoding is not known", "files whose encoding is not known"),
    "json_broken": ("place where the JSON is broken", "places where the JSON is broken"),
    "xml_broken": ("place where the XML is broken", "places where the XML is broken"),
    "item_unusable": ("item that is no object", "items that are no objects"),
    "header_below": ("row above the headings", "rows above the headings"),
    "column_missing": ("missing column", "missing columns"),
    "mapping": ("column that is mapped to what it cannot be", "columns that are mapped to what they cannot be"),
    "column_twice": ("heading used twice", "headings used twice"),
    "column_unnamed": ("value without a heading", "values without a heading"),
    "no_rows": ("file without rows", "files without rows"),
    "ragged": ("row with too few or too many cells", "rows with too few or too many cells"),
    "quote": ("row with broken quotes", "rows with broken quotes"),
    "cell_too_large": ("cell that is too large", "cells that are too large"),
    "control_character": (
        "cell with characters that cannot be text", "cells with characters that cannot be text",
    ),
    "formula": ("cell that is a formula", "cells that are formulas"),
    "key_missing": ("row without a key", "rows without a key"),
    "key_scientific": ("key in scientific notation", "keys in scientific notation"),
    "key_date": ("key that a spreadsheet turned into a date", "keys that a spreadsheet turned into dates"),
    "key_unreadable": ("key that cannot be used", "keys that cannot be used"),
    "name_missing": ("row without a name", "rows without a name"),
    "too_long": ("text that is too long", "texts that are too long"),
    "price_unreadable": ("price that cannot be read", "prices that cannot be read"),
    "price_ambiguous": ("price that can be read in two ways", "prices that can be read in two ways"),
    "price_negative": ("price below zero", "prices below zero"),
    "hex_unreadable": ("hex colour that cannot be read", "hex colours that cannot be read"),
    "kind_unknown": ("unknown kind", "unknown kinds"),
    "photo_unusable": (
        "photo that is neither a web address nor a file name", "photos that are neither web addresses nor file names",
    ),
    "number_unreadable": ("position that is not a number", "positions that are not numbers"),
    "duplicate_key": ("key that stood before", "keys that stood before"),
    "duplicate_variant": ("variant that stood before", "variants that stood before"),
    "parent_missing": ("variation without a product", "variations without a product"),
    "parent_unknown": ("row of a product that does not exist", "rows of products that do not exist"),
}  # fmt: skip
"""cause -> what one such issue is called, and what several are."""


class Number(str):
    """The text of a numeric spreadsheet cell: digits with a point at most, so never ambiguous."""

    __slots__ = ()


class Dated(str):
    """The ISO text of a spreadsheet cell that holds a date."""

    __slots__ = ()


UNPLACED = "\x1f"
"""The parent of a variant whose product is named by another row of the file. No key can be this."""

Cells = Sequence[str]
Record = tuple[int, Cells]
"""Row number as a spreadsheet shows it (of a JSON or XML item: its number from 1), and the row's cells."""


@dataclass(frozen=True, slots=True)
class Issue:
    """One mistake: where (row 1 is the sheet's first, `cell` like A14, `column` its heading), and what is expected."""

    row: int
    cell: str
    column: str
    value: str
    cause: str
    message: str

    def __post_init__(self) -> None:
        """Remove logins and queries from the sentence, which pages show; `value` stays for the returned file."""
        object.__setattr__(self, "message", without_secrets(self.message))


class FeedRefused(Exception):
    """Nothing can be read from this file, or no further; `issues` (at least one) say where and why."""

    def __init__(self, *issues: Issue) -> None:
        super().__init__(issues[0].message)
        self.issues = issues


def refused(
    cause: str, message: str, *, row: int = 0, value: str = "", column: str = "", cell: str = ""
) -> FeedRefused:
    """The refusal of a whole file; row 0 says that no row is to blame."""
    return FeedRefused(Issue(row, cell, column[:200], value[:MAX_VALUE], cause, message))


@dataclass(frozen=True, slots=True)
class FeedRow:
    """One subject (`parent_key` empty), one variant of it, or (`key` empty too) pictures for the subject `parent_key`.

    name: of a subject; that of a variant names its product if nothing else does, else it is empty.
    row: where to point when this is wrong. attributes and options: text to text.
    photos: [{"source", "role", "position", "alt"}], each source once.
    """

    row: int
    key: str
    kind: str
    name: str = ""
    parent_key: str = ""
    attributes: Mapping[str, str] = field(default_factory=dict)
    options: Mapping[str, str] = field(default_factory=dict)
    photos: Sequence[Mapping[str, Any]] = ()


def letter(index: int) -> str:
    """0 -> A, 25 -> Z, 26 -> AA."""
    name = ""
    index += 1
    while index:
        index, rest = divmod(index - 1, 26)
        name = chr(65 + rest) + name
    return name


_NOT_WORD = re.compile(r"\W+")


def normalised(heading: str) -> str:
    """A heading as it is compared: `Variant SKU`, `variant_sku` and ` VARIANT-SKU*` are the same."""
    return _NOT_WORD.sub("_", heading.strip().lower()).strip("_")


@dataclass(frozen=True)
class Header:
    """The row of headings: as written, and normalised for comparing. `row` is where it stands (0: nowhere).

    place: how cells are named where the file is no sheet, with {row}, {item} (counted from 0) and {heading}.
    ignored: indices of columns that are there and not read; their `names` are empty.
    images: indices of columns whose values are addresses of images, whatever their headings say.
    """

    row: int
    cells: tuple[str, ...]
    names: tuple[str, ...]
    place: str = ""
    ignored: frozenset[int] = frozenset()
    images: frozenset[int] = frozenset()

    @classmethod
    def of(cls, record: Record) -> Header:
        """Raises FeedRefused for headings that are the same or far too many; trailing empty ones are dropped."""
        row, cells = record[0], [cell.strip().lstrip("\ufeff") for cell in record[1]]
        while cells and not cells[-1]:
            cells.pop()
        if len(cells) > 1000:
            raise refused(
                "column_missing", f"Row {row} has {len(cells)} columns; expected headings, at most 1,000.", row=row
            )
        names = tuple(normalised(cell) for cell in cells)
        for index, name in enumerate(names):
            if name and (first := names.index(name)) < index:
                place = f"{letter(index)}{row}"
                raise refused(
                    "column_twice",
                    f"{place}: the heading “{cells[index][:80]}” already stands in {letter(first)}{row}; "
                    "expected each heading once. Rename or remove one.",
                    row=row,
                    value=cells[index],
                    column=cells[index],
                    cell=place,
                )
        return cls(row, tuple(cells), names)

    def __len__(self) -> int:
        return len(self.cells)

    def find(self, aliases: Iterable[str]) -> int | None:
        """Index of the first alias that is a heading here."""
        for alias in aliases:
            if alias in self.names:
                return self.names.index(alias)
        return None

    def without(self, ignored: Collection[int]) -> Header:
        """The same header with columns that nothing reads."""
        if not ignored:
            return self
        names = tuple("" if index in ignored else name for index, name in enumerate(self.names))
        return replace(self, names=names, ignored=frozenset(ignored))

    def cell(self, row: int, index: int) -> str:
        """The cell as a person looks for it: `A14` in a sheet, `products[12].price` in JSON."""
        if not self.place:
            return f"{letter(index)}{row}"
        heading = self.cells[index] if index < len(self.cells) else ""
        return self.place.format(row=row, item=row - 1, heading=heading)[:MAX_PLACE]

    def issue(self, row: int, index: int, value: str, cause: str, sentence: str) -> Issue:
        """An issue in one cell; the message begins with the cell's name."""
        place = self.cell(row, index)
        heading = self.cells[index] if index < len(self.cells) else ""
        message = f"{place}: {sentence}"
        return Issue(row, place, (heading or letter(index))[:200], value[:MAX_VALUE], cause, message[:500])


Mend = Callable[[Header, Record], Record]
"""Changes a record before its layout reads it: a fix that a person applied to all rows."""


class Binding(Protocol):
    """A layout tied to one header.

    attribute_names: every attribute that this feed speaks about (an empty cell means that it has none).
    columns: index of the columns "key", "name" and "variant", for issues that only the database can find.
    groups: the feed has variants only, and a product is what they share. Both names and groups hold after `read`.
    """

    @property
    def attribute_names(self) -> Collection[str]: ...

    columns: Mapping[str, int]
    groups: bool

    def read(self, records: Iterable[Record | Issue]) -> Iterator[FeedRow | Issue]:
        """One pass, a bounded number of rows in memory; a row with an issue may still be yielded."""


class Layout(Protocol):
    """One arrangement of columns, such as a shop system's export."""

    name: str

    def matches(self, header: Header) -> bool: ...

    def suggest(self, header: Header) -> dict[int, str]:
        """Index of a column -> the field that it is taken for (campaigns/feeds/columns.py)."""

    def bind(self, header: Header, kind: str, fields: Mapping[int, str]) -> Binding:
        """`kind` is that of rows which do not say; `fields` what each column is. Raises FeedRefused when a required
        column is missing, or a field cannot be had with this layout."""


_layouts: dict[str, Layout] = {}


def register(layout: Layout) -> None:
    """Make a layout known; earlier ones are asked first, `generic` last."""
    _layouts[layout.name] = layout


def names() -> list[str]:
    return [layout.name for layout in _known()]


def _known() -> list[Layout]:
    for entry in entry_points(group="proofline.feeds"):
        if entry.name not in _layouts:
            register(entry.load())
    return sorted(_layouts.values(), key=lambda layout: layout.name == "generic")


def choose(header: Header) -> Layout:
    """The first layout that recognises the header; `generic` recognises every one."""
    return next(layout for layout in _known() if layout.matches(header))
