"""Fixes: each corrects all mistakes of one cause in a file. They are declared and applied here.

A fix changes only cells that the readers in cells.py refuse for its cause, so that sound cells stay as the file has
them. Fixes that must see all rows at once (keys that occur twice) are only declared here: `is_staged`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace

from campaigns.feeds import addresses, cells, vocabulary
from campaigns.feeds.base import CAUSES, Cells, Header, NumberText, Record

_LIMITS = {"key": cells.MAX_KEY, "parent": cells.MAX_KEY, "name": cells.MAX_NAME, "alt": cells.MAX_ALT}
_AMOUNT = re.compile(r"(?<![\w.,'’])\d+(?:[ .,'’]\d+)*(?![\w'’]|[.,]\w)")
_GROUPED = re.compile(r"\d[\d.,]*")
_LOST_BYTES = re.compile("[\udc80-\udcff]+")


@dataclass(frozen=True)
class FeedColumns:
    """The columns of one feed, for fixes. fields: index -> field name."""

    header: Header
    fields: Mapping[int, str]

    def find(self, name: str) -> int | None:
        return next((index for index, field_name in self.fields.items() if field_name == name), None)


Change = Callable[[str, str], str]  # (a wrong cell, its column's field) -> the cell as it is read instead
RowChange = Callable[[FeedColumns, list[str]], list[str]]  # a row -> what is read instead; an empty list leaves it out


@dataclass(frozen=True)
class Fix:
    """One fix. Either `cell` or `row` does the work; a staged fix has neither."""

    id: str
    label: str  # the text of its button
    explanation: str  # what it does, in one sentence
    cell: Change | None = None
    row: RowChange | None = None
    is_staged: bool = False

    def example(self, value: str, field_name: str = "") -> str:
        """Return `12,90 € → 12.90` for a cell's text, or "" if the fix does not change it."""
        changed = self.cell(value, field_name) if self.cell and value else value
        return "" if changed == value else f"{_display_text(value)} → {_display_text(changed) or 'empty'}"


def _display_text(value: str) -> str:
    plain = cells.mark_unprintable(value).strip()
    return plain if len(plain) <= 40 else f"{plain[:39]}…"


@dataclass(frozen=True)
class ChosenFix:
    """A fix that a person applied to cells with this cause, in these columns (headings; empty means all columns)."""

    cause: str
    fix: str
    columns: tuple[str, ...] = ()


class UnknownFix(ValueError):
    """There is no such fix for this cause; the message lists the existing ones."""


_READERS: dict[str, tuple[Callable[[str], bool], Callable[[str], object]]] = {
    "price": (lambda field: field.removeprefix("attribute:") in vocabulary.PRICES, cells.price),
    "key": (lambda field: field == "key", cells.key),
    "hex": (lambda field: field == "hex", cells.hex_colour),
    "kind": (lambda field: field == "kind", cells.kind),
    "photo": (lambda field: field.startswith("photo"), cells.photos),
    "number": (lambda field: field == "position", cells.position),
}
"""First word of a cause -> a test for the fields in which it occurs, and the reader that refuses their cells for it.

Other causes occur in any field.
"""


def is_wrong(cause: str, cell: str, field: str) -> bool:
    """Return True if a cell of a column with this field has this mistake."""
    if cause == "cell_too_large":
        return len(cell) > cells.MAX_CELL
    if cause == "control_character":
        return cells.UNPRINTABLE.search(cell) is not None
    if cause == "too_long" and field.startswith("photo"):
        return any(len(part.strip()) > cells.MAX_SOURCE for part in addresses.split_images(cell))
    if cause == "too_long":
        return len(cell.strip()) > _LIMITS.get(field, cells.MAX_CELL)
    if not cell.strip():
        return False
    if cause == "formula":
        reader: Callable[[str], object] = cells.key if field == "key" else cells.text
    else:
        reader = _READERS[cause.partition("_")[0]][1]
    try:
        reader(cell)
    except cells.Unreadable as error:
        return error.cause == cause
    return False


def _number_in_text(cell: str, _: str) -> str:
    """Return the only number in the text. A text with no number or with several stays as it is."""
    amounts = _AMOUNT.findall(cell)
    return amounts[0] if len(amounts) == 1 else cell


def _decimal(point: str) -> Change:
    def read(cell: str, _: str) -> str:
        match = _GROUPED.search(cell)
        if match is None:
            return cell
        digits = match.group().replace("." if point == "," else ",", "").replace(",", ".")
        return NumberText(cell[: match.start()] + digits + cell[match.end() :]) if digits.count(".") <= 1 else cell

    return read


def _usable_photos(cell: str, _: str) -> str:
    kept = []
    for part in addresses.split_images(cell):
        with suppress(cells.Unreadable):
            kept.append(cells.photo(part))
    return "|".join(kept)


def _shorten(cell: str, field: str) -> str:
    if field in ("key", "parent"):
        return cells.shorten_key(cell.strip())
    if field.startswith("photo"):
        return "|".join(part for part in addresses.split_images(cell) if len(part.strip()) <= cells.MAX_SOURCE)
    return cell.strip()[: _LIMITS.get(field, cells.MAX_CELL)].rstrip()


def _windows_1252(cell: str, _: str) -> str:
    return _LOST_BYTES.sub(lambda lost: lost[0].encode("ascii", "surrogateescape").decode("cp1252", "ignore"), cell)


def _replace_by(value: str) -> Change:
    return lambda _, __: value


def _drop_ragged(where: FeedColumns, row: list[str]) -> list[str]:
    width = len(where.header)
    return [] if len(row) < width or any(map(str.strip, row[width:])) else row


def _clear_unnamed_columns(where: FeedColumns, row: list[str]) -> list[str]:
    names = where.header.names
    return [cell if index < len(names) and names[index] else "" for index, cell in enumerate(row)]


def _is_product_without(where: FeedColumns, row: Sequence[str], name: str) -> bool:
    index, parent = where.find(name), where.find("parent")
    if index is None or index >= len(row) or row[index].strip():
        return False
    return parent is None or parent >= len(row) or not row[parent].strip()


def _use_key_as_name(where: FeedColumns, row: list[str]) -> list[str]:
    key, name = where.find("key"), where.find("name")
    if key is None or name is None or key >= len(row) or not _is_product_without(where, row, "name"):
        return row
    return [*row[:name], row[key].strip() or row[name], *row[name + 1 :]]


def _drop_products_without(name: str) -> RowChange:
    return lambda where, row: [] if _is_product_without(where, row, name) else row


def _keep_one_of_each(what: str) -> tuple[Fix, ...]:
    return (
        Fix("keep_first", "Keep the first of each", f"Leaves out the later rows of a {what}.", is_staged=True),
        Fix("keep_last", "Keep the last of each", f"Leaves out the earlier rows of a {what}.", is_staged=True),
    )


_LEAVE_EMPTY = Fix("leave_empty", "Leave them empty", "Reads each of these cells as empty.", _replace_by(""))
_LEAVE_OUT = Fix("leave_out", "Leave these rows out", "Reads the file as if these rows were not there.")
_NO_PRICE = replace(_LEAVE_EMPTY, explanation="Reads each of these prices as empty: the products have none then.")

FIXES: dict[str, tuple[Fix, ...]] = {
    "price_unreadable": (
        Fix(
            "number_in_text", "Take the number out of the text",
            "Reads the one number that stands in the cell; cells with none or several stay mistakes.", _number_in_text,
        ),
        _NO_PRICE, _LEAVE_OUT,
    ),
    "price_ambiguous": (
        Fix("point_decimal", "The point is the decimal sign", "Reads commas as separating thousands.", _decimal(".")),
        Fix("comma_decimal", "The comma is the decimal sign", "Reads points as separating thousands.", _decimal(",")),
        _NO_PRICE,
    ),
    "price_negative": (
        Fix(
            "drop_sign", "Without the minus", "Reads each of these prices without its sign.",
            lambda cell, _: cell.replace("-", "").replace("−", ""),
        ),
        _NO_PRICE, _LEAVE_OUT,
    ),
    "key_scientific": (_LEAVE_OUT,),
    "key_date": (_LEAVE_OUT,),
    "key_unreadable": (_LEAVE_OUT,),
    "key_missing": (replace(_LEAVE_OUT, row=_drop_products_without("key")),),
    "name_missing": (
        Fix("key_as_name", "Use the SKU as name", "Gives each nameless row its SKU as name.", row=_use_key_as_name),
        replace(_LEAVE_OUT, row=_drop_products_without("name")),
    ),
    "too_long": (
        Fix(
            "cut", "Cut them to the limit",
            "Keeps the beginning of each text, as much as is allowed; a SKU ends in digits that keep it unique.",
            _shorten,
        ),
        _LEAVE_EMPTY, _LEAVE_OUT,
    ),
    "cell_too_large": (
        Fix("cut", "Cut them to the limit", "Keeps the beginning of each text, as much as is allowed.", _shorten),
        _LEAVE_EMPTY, _LEAVE_OUT,
    ),
    "hex_unreadable": (_LEAVE_EMPTY,),
    "number_unreadable": (_LEAVE_EMPTY,),
    "photo_unusable": (
        Fix("leave_empty", "Leave these photos out", "Keeps the usable photos of each cell.", _usable_photos),
    ),
    "kind_unknown": tuple(
        Fix(f"as_{kind}", f"Treat them as {kind}s", f"Reads each of these rows as {article} {kind}.", _replace_by(kind))
        for kind, article in (("product", "a"), ("article", "an"), ("concept", "a"))
    ),
    "control_character": (
        Fix(
            "windows_1252", "Read them as Windows-1252",
            "Reads single bytes from an older encoding as the letters that they were; other characters stay.",
            _windows_1252,
        ),
        Fix(
            "remove", "Remove them", "Takes out the characters that cannot be text, and keeps the rest.",
            lambda cell, _: cells.UNPRINTABLE.sub("", cell),
        ),
    ),
    "formula": (_LEAVE_EMPTY, _LEAVE_OUT),
    "ragged": (
        Fix(
            "fill", "Fill up short rows", "Reads the cells missing at the end of a short row as empty.",
            row=lambda where, row: row + [""] * (len(where.header) - len(row)),
        ),
        Fix(
            "trim", "Cut off long rows", "Drops cells beyond the last heading.",
            row=lambda where, row: row[: len(where.header)],
        ),
        replace(_LEAVE_OUT, row=_drop_ragged),
    ),
    "column_unnamed": (
        Fix(
            "ignore", "Ignore what has no heading", "Reads cells without a heading as empty.",
            row=_clear_unnamed_columns,
        ),
    ),
    "duplicate_key": _keep_one_of_each("key"),
    "duplicate_variant": _keep_one_of_each("variant"),
    "parent_unknown": (
        Fix("leave_out", "Leave these rows out", "Leaves out variants and photos of unknown products.", is_staged=True),
    ),
}  # fmt: skip
"""cause -> the fixes that people may choose, the most likely first. Other causes must be corrected in the file."""


def find_fix(cause: str, fix: str) -> Fix:
    """Return the fix with this id for this cause. Raises UnknownFix, which lists the possible ones."""
    by_id = {candidate.id: candidate for candidate in FIXES.get(cause, ())}
    if not by_id:
        raise UnknownFix(f"There is no fix for {cause[:60]!r}; known are {', '.join(FIXES)}.")
    if fix not in by_id:
        raise UnknownFix(f"There is no fix {fix[:60]!r} for {cause}; known are {', '.join(by_id)}.")
    return by_id[fix]


def cause_label(cause: str, count: int) -> str:
    """Return the name of the cause: `prices that cannot be read`, or `price that cannot be read` if count is 1."""
    plain = cause.replace("_", " ")
    singular, plural = CAUSES.get(cause, (plain, plain))
    return singular if count == 1 else plural


class FixApplier:
    """Applies chosen fixes to each record before the layout reads it, and counts the changes of each fix."""

    def __init__(self, chosen: Sequence[ChosenFix], fields_of: Callable[[Header], Mapping[str, str]]) -> None:
        self.chosen, self.fields_of = chosen, fields_of
        self.changed = [0] * len(chosen)
        self._where: FeedColumns | None = None
        self._steps: list[tuple[int, Fix, str, list[int]]] = []

    def __call__(self, header: Header, record: Record) -> Record:
        if self._where is None or self._where.header is not header:
            self._where = self._bind(header)
        number, row = record
        for index, fix, cause, columns in self._steps:
            row, changed = _apply_fix(fix, cause, columns, self._where, row)
            self.changed[index] += changed
            if not row:
                # Every reader skips a row whose cells are all empty.
                return number, ("",) * len(header)
        return number, row

    def _bind(self, header: Header) -> FeedColumns:
        fields = self.fields_of(header)
        where = FeedColumns(header, {at: fields.get(cell, "") for at, cell in enumerate(header.cells)})
        self._steps = []
        for index, chosen in enumerate(self.chosen):
            fix = find_fix(chosen.cause, chosen.fix)
            is_concerned, _ = _READERS.get(chosen.cause.partition("_")[0], (lambda field: True, None))
            columns = [
                at
                for at, cell in enumerate(header.cells)
                if (cell in chosen.columns if chosen.columns else is_concerned(where.fields[at]))
            ]
            if not fix.is_staged:
                self._steps.append((index, fix, chosen.cause, columns))
        return where


def _apply_fix(fix: Fix, cause: str, columns: Sequence[int], where: FeedColumns, row: Cells) -> tuple[Cells, int]:
    """Return the row after one fix (empty: left out), and how many cells changed; for a fix of rows, 1 or 0."""
    if fix.row is not None:
        mended = fix.row(where, list(row)) if any(map(str.strip, row)) else list(row)
        return mended, int(mended != list(row))
    wrong = [index for index in columns if index < len(row) and is_wrong(cause, row[index], where.fields[index])]
    if not wrong:
        return row, 0
    if fix.cell is None:
        return (), 1
    mended = list(row)
    for index in wrong:
        mended[index] = fix.cell(row[index], where.fields[index])
    return mended, sum(mended[index] != row[index] for index in wrong)
