"""The interface of feeds: a header, rows that name subjects, and issues that name cells.

A `Layout` is a plug-in: it recognises a header and turns rows of text into `FeedRow`s. File formats (CSV, XLSX) are
below it and give every layout the same: text cells and the row numbers that a spreadsheet shows.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from core.fetching import redact_text
from core.registry import Registry

MAX_VALUE = 300  # characters of a bad value that an issue repeats
MAX_PLACE = 200  # characters of a cell's name: `A14`, or a path such as `products[12].price`

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
"""cause -> the name of one such issue, and of several."""


class NumberText(str):
    """The text of a numeric spreadsheet cell: only digits and at most a point, so never ambiguous."""

    __slots__ = ()


class DateText(str):
    """The ISO text of a spreadsheet cell that holds a date."""

    __slots__ = ()


PARENT_IN_OTHER_ROW = "\x1f"  # the parent of a variant whose product another row of the file names; never a key

Cells = Sequence[str]
Record = tuple[int, Cells]
"""Row number as a spreadsheet shows it (of a JSON or XML item: its number from 1), and the row's cells."""


@dataclass(frozen=True, slots=True)
class Issue:
    """One mistake: its place (row 1 is the first, `cell` like A14, `column` its heading), and what is expected."""

    row: int
    cell: str
    column: str
    value: str
    cause: str
    message: str

    def __post_init__(self) -> None:
        """Remove logins and queries from the message, which pages show; `value` stays for the returned file."""
        object.__setattr__(self, "message", redact_text(self.message))


class FeedRefused(Exception):
    """The file cannot be read, or not to its end; `issues` (at least one) say where and why."""

    def __init__(self, *issues: Issue) -> None:
        super().__init__(issues[0].message)
        self.issues = issues


def file_refusal(
    message: str, *, cause: str = "unreadable", row: int = 0, value: str = "", column: str = "", cell: str = ""
) -> FeedRefused:
    """Return the refusal of a whole file; row 0 means that no single row is wrong."""
    return FeedRefused(Issue(row, cell, column[:200], value[:MAX_VALUE], cause, message))


@dataclass(frozen=True, slots=True)
class FeedRow:
    """One subject (`parent_key` empty), one variant of it, or (`key` empty) images for the subject `parent_key`.

    name: of a subject; a variant has a name only if no other row names its product.
    row: the row number for issues. attributes and options: text to text.
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


def column_letter(index: int) -> str:
    """Return the letters of a column: 0 -> A, 25 -> Z, 26 -> AA."""
    name = ""
    while index >= 0:
        name = chr(65 + index % 26) + name
        index = index // 26 - 1
    return name


_NOT_WORD = re.compile(r"\W+")


def normalise_heading(heading: str) -> str:
    """Return a heading for comparison: `Variant SKU`, `variant_sku` and ` VARIANT-SKU*` are equal."""
    return _NOT_WORD.sub("_", heading.strip().lower()).strip("_")


@dataclass(frozen=True)
class Header:
    """The row of headings: as written, and normalised for comparison. `row` is its number (0: there is no such row).

    place: how cells are named if the file is not a sheet, with {row}, {item} (counted from 0) and {heading}.
    ignored: indices of columns that are not read; their `names` are empty.
    images: indices of columns whose values are addresses of images, whatever the headings are.
    """

    row: int
    cells: tuple[str, ...]
    names: tuple[str, ...]
    place: str = ""
    ignored: frozenset[int] = frozenset()
    images: frozenset[int] = frozenset()

    def __len__(self) -> int:
        return len(self.cells)

    def find(self, aliases: Iterable[str]) -> int | None:
        """Return the index of the first alias that is a heading."""
        return next((self.names.index(alias) for alias in aliases if alias in self.names), None)

    def cell(self, row: int, index: int) -> str:
        """Return the name by which people find the cell: `A14` in a sheet, `products[12].price` in JSON."""
        if not self.place:
            return f"{column_letter(index)}{row}"
        heading = self.cells[index] if index < len(self.cells) else ""
        return self.place.format(row=row, item=row - 1, heading=heading)[:MAX_PLACE]

    def issue(self, row: int, index: int, value: str, cause: str, sentence: str) -> Issue:
        """Return an issue in one cell; the message begins with the cell's name."""
        place = self.cell(row, index)
        heading = self.cells[index] if index < len(self.cells) else ""
        message = f"{place}: {sentence}"
        return Issue(row, place, (heading or column_letter(index))[:200], value[:MAX_VALUE], cause, message[:500])

    def refusal(self, index: int, cause: str, sentence: str) -> FeedRefused:
        return FeedRefused(self.issue(self.row, index, self.cells[index], cause, sentence))


RecordFix = Callable[[Header, Record], Record]
"""Changes a record before its layout reads it: a fix that a person applied to all rows."""


class Binding(Protocol):
    """A layout tied to one header.

    attribute_names: every attribute of this feed (an empty cell means that the subject does not have it).
    columns: indices of the columns "key", "name" and "variant", for issues that only the database can find.
    groups: the feed has variants only; a product is what they share. attribute_names and groups are final after `read`.
    """

    @property
    def attribute_names(self) -> Collection[str]: ...

    columns: Mapping[str, int]
    groups: bool

    def read(self, records: Iterable[Record | Issue]) -> Iterator[FeedRow | Issue]:
        """Read all records once, with a bounded number of rows in memory. A row with an issue may still be yielded."""


class Layout(Protocol):
    """A set of columns, such as a shop system's export. label: its name for people."""

    name: str
    label: str

    def matches(self, header: Header) -> bool: ...

    def suggest(self, header: Header) -> dict[int, str]:
        """Return index of a column -> the field that it probably is (campaigns/feeds/columns.py)."""

    def bind(self, header: Header, kind: str, fields: Mapping[int, str]) -> Binding:
        """Tie the layout to a header. `kind` is that of rows without one; `fields` maps each column to a field.

        Raises FeedRefused when a required column is missing, or the layout does not support a field.
        """


_LAST = "generic"
LAYOUTS: Registry[type[Layout]] = Registry(
    "feed layout",
    "proofline.feeds",
    {
        "images": "campaigns.feeds.images:ImageLayout",
        "magento": "campaigns.feeds.magento:MagentoLayout",
        "google-merchant": "campaigns.feeds.merchant:MerchantLayout",
        "shopify": "campaigns.feeds.shopify:ShopifyLayout",
        "woocommerce": "campaigns.feeds.woocommerce:WooCommerceLayout",
        _LAST: "campaigns.feeds.generic:GenericLayout",
    },
)
"""All layouts, in the order in which they are tried; the last is tried after those of other packages, too."""


def choose_layout(header: Header) -> Layout:
    """Return the first layout that recognises the header; `generic` recognises every header."""
    layouts = sorted(LAYOUTS, key=lambda layout: layout.name == _LAST)
    return next(layout for kind in layouts if (layout := kind()).matches(header))
