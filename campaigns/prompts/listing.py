"""List mode: reads a table with one image per row, for planning.

One column has the subject (its SKU); `seed`, `size` and `aspect` are settings of the image; every other column fills
the placeholder of its name. An empty cell changes nothing. The formats are text with commas, semicolons or tabs, XLSX,
and JSON (a list of objects, or one object per line).
"""

from __future__ import annotations

import io
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from math import gcd
from typing import Any

from campaigns.feeds import csv_file, sniffing, xlsx_file
from campaigns.feeds.base import FeedRefused, Issue, column_letter, file_refusal
from campaigns.prompts.axes import MAX_SEED
from campaigns.prompts.rendering import is_name
from core import storable

MAX_ROWS = 10_000
MAX_ISSUES = 200
MAX_VALUE = 400
SHORTEST, LONGEST = 16, 8192  # pixels of an image's side
SUBJECT = ("subject", "sku", "key", "product", "product_id", "article", "concept", "handle", "item")
SIZE = ("size", "image_size", "pixels", "resolution")
ASPECT = ("aspect", "aspect_ratio", "ratio")
_SIZE = re.compile(r"(\d{1,5})(?:\s*(?:[x×*]|by)\s*(\d{1,5}))?\s*(?:px)?", re.IGNORECASE)
_ASPECT = re.compile(r"0*(\d{1,4})\s*[:/x×]\s*0*(\d{1,4})(?::00)?", re.IGNORECASE)
_CANONICAL_SIZE = re.compile(r"(\d{1,5})x(\d{1,5})")
_CANONICAL_ASPECT = re.compile(r"\d{1,4}:\d{1,4}")

_refused = partial(file_refusal, cause="listing")
Row = dict[str, Any]


@dataclass(frozen=True)
class Listing:
    """A table that was read.

    rows: {"subject": SKU, placeholder: text, "seed": number, "size": "1024x1280", "aspect": "4:5"}, without keys for
    empty cells. numbers: their row numbers. issues: rows count from 1, for JSON the items, without cells; rows with an
    issue are left out, so plan only if there is none.
    """

    rows: tuple[Row, ...] = ()
    numbers: tuple[int, ...] = ()
    issues: tuple[Issue, ...] = ()
    issue_count: int = 0

    @property
    def is_valid(self) -> bool:
        return bool(self.rows) and not self.issue_count


class _Wrong(ValueError):
    """One cell cannot be used."""


def read_listing(given: str | bytes) -> Listing:
    """Read a pasted text or an uploaded file. Mistakes are listed in `issues`; it raises nothing for them."""
    try:
        return _open(given.encode() if isinstance(given, str) else given).read()
    except FeedRefused as refusal:
        return Listing(issues=refusal.issues, issue_count=len(refusal.issues))


def image_size(row: Mapping[str, Any]) -> tuple[int, int] | None:
    """Return the requested width and height of a row; None if its "size" is a placeholder's value, such as "XL"."""
    match = _CANONICAL_SIZE.fullmatch(str(row.get("size", "")))
    return (int(match[1]), int(match[2])) if match else None


def image_aspect(row: Mapping[str, Any]) -> str:
    """Return the requested aspect of a row in lowest terms, from its aspect or its size; empty if it has none."""
    if size := image_size(row):
        return lowest_terms(*size)
    aspect = str(row.get("aspect", ""))
    return lowest_terms(*map(int, aspect.split(":"))) if _CANONICAL_ASPECT.fullmatch(aspect) else ""


def placeholders(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return the placeholders that a row fills: its values without subject, size and aspect."""
    sizing = {"subject"} | ({"size"} if image_size(row) else set())
    sizing |= {"aspect"} if image_aspect({"aspect": row.get("aspect", "")}) else set()
    return {name: value for name, value in row.items() if name not in sizing}


def lowest_terms(width: int, height: int) -> str:
    """Return the aspect in lowest terms, such as "4:5"; empty if a side is 0."""
    if not width or not height:
        return ""
    divisor = gcd(width, height)
    return f"{width // divisor}:{height // divisor}"


def _open(data: bytes) -> _Reader:
    start = data.removeprefix(b"\xef\xbb\xbf").lstrip()[:1]
    if not start:
        raise _refused("There is nothing here yet. The first row names the columns, one of them “sku”.")
    if start in (b"{", b"["):
        return _open_json(data)
    stream = io.BytesIO(data)
    _, records = (xlsx_file if sniffing.detect_format(stream) == "xlsx" else csv_file).read(stream)
    filled = ((row, cells) for row, cells in records if any(map(str.strip, cells)))
    row, headings = next(filled, (1, []))
    return _Reader([str(heading).strip().lstrip("\ufeff") for heading in headings], row, filled)


def _open_json(data: bytes) -> _Reader:
    try:
        items = list(_items(data.decode("utf-8-sig")))
    except UnicodeDecodeError:
        raise _refused("This JSON is not in UTF-8; save it as UTF-8.") from None
    except json.JSONDecodeError as error:
        place = f"line {error.lineno}, column {error.colno}"
        raise _refused(f"This is not JSON at {place}: {error.msg}.", row=error.lineno) from None
    except (RecursionError, ValueError):
        message = "This JSON is nested too deeply, or has a number with thousands of digits."
        raise _refused(message) from None
    for number, item in enumerate(items, start=1):
        if not isinstance(item, dict):
            message = f"Item {number} is no object; write {{“sku”: “M-1”, …}}."
            raise _refused(message, row=number, value=str(item)[:80])
        if faults := storable.problems(item):
            raise _refused(f"Item {number}, {faults[0].pointer}: {faults[0].message}", row=number)
    headings = list(dict.fromkeys(str(name) for item in items for name in item))
    records = ((number, [item.get(name) for name in headings]) for number, item in enumerate(items, start=1))
    return _Reader(headings, 0, records)


def _items(text: str) -> Iterator[Any]:
    """Yield the items of a JSON array, or one per line; errors count lines from the first line of the text."""
    if text.lstrip().startswith("["):
        yield from json.loads(text)
        return
    for number, line in enumerate(text.splitlines(), start=1):
        if line.strip():
            try:
                yield json.loads(line)
            except json.JSONDecodeError as error:
                error.lineno = number
                raise


class _Reader:
    """Turns one table into a Listing. heading_row: 0 if there is none (JSON); records: (row number, cells)."""

    def __init__(self, headings: Sequence[str], heading_row: int, records: Iterable[tuple[int, Sequence[Any]]]) -> None:
        self.headings = headings
        self.heading_row = heading_row
        self.records = list(records)
        self.issues: list[Issue] = []
        self.issue_count = 0
        self.roles = self._roles()

    def read(self) -> Listing:
        rows = self._rows()
        return Listing(tuple(rows.values()), tuple(rows), tuple(self.issues), self.issue_count)

    def _rows(self) -> dict[int, Row]:
        rows: dict[int, Row] = {}
        if "subject" not in self.roles.values():
            named = ", ".join(f"“{heading}”" for heading in self.headings if heading)[:200]
            message = "No column says which product the image is of; call it “sku”. "
            message += f"The first row should name the columns; it reads {named}."
            self._wrong(self.heading_row or 1, None, "", message)
            return rows
        if len(self.records) > MAX_ROWS:
            self._wrong(self.records[MAX_ROWS][0], None, "", f"These are more than {MAX_ROWS:,} rows; make two lists.")
        seen: dict[str, int] = {}
        for number, cells in self.records[:MAX_ROWS]:
            row = self._row(number, cells)
            if row is None:
                continue
            if (first := seen.setdefault(json.dumps(row, sort_keys=True), number)) == number:
                rows[number] = row
            else:
                self._wrong(number, None, "", f"This row asks for the same image as row {first}; take one out.")
        if not self.records:
            self._wrong(self.heading_row, None, "", "There is no row below the headings; each row is one image.")
        return rows

    def _roles(self) -> dict[int, str]:
        """Return column -> "subject", "seed", "=size", "=aspect", or the placeholder that it fills."""
        roles: dict[int, str] = {}
        for index, heading in enumerate(self.headings):
            if not heading:
                if any(len(cells) > index and _text(cells[index]) for _, cells in self.records):
                    self._wrong(self.heading_row, index, "", "This column has values but no heading; name it.")
                continue
            role = self._role(index, heading)
            if role in roles.values():
                self._wrong(self.heading_row, index, heading, "Another column has this name or meaning; keep one.")
            elif role.startswith("=") or is_name(role):
                roles[index] = role
            else:
                message = f"“{heading}” cannot be a placeholder's name; use letters, digits and _, such as “backdrop”."
                self._wrong(self.heading_row, index, heading, message)
        return roles

    def _role(self, index: int, heading: str) -> str:
        name = heading.removeprefix("{").removesuffix("}").strip()
        plain = re.sub(r"\W+", "_", name.lower()).strip("_")
        if plain in SUBJECT:
            return "subject"
        if plain == "seed":
            return plain
        if plain in SIZE and self._any(index, _SIZE):
            return "=size"
        return "=aspect" if plain in ASPECT and self._any(index, _ASPECT) else name

    def _any(self, index: int, pattern: re.Pattern[str]) -> bool:
        """Return True if a cell of the column matches. A “size” column without pixels (garments) is a placeholder."""
        return any(pattern.fullmatch(_text(cells[index])) for _, cells in self.records if len(cells) > index)

    def _row(self, number: int, cells: Sequence[Any]) -> Row | None:
        row: Row = {}
        before = self.issue_count
        extra = len(self.headings)
        if any(map(_text, cells[extra:])):
            self._wrong(number, extra, _text(cells[extra]), "This value stands beyond the last heading.")
        for index, role in self.roles.items():
            value = cells[index] if index < len(cells) else ""
            try:
                row |= _values(role, value)
            except _Wrong as wrong:
                self._wrong(number, index, _text(value), str(wrong))
        if "subject" not in row and self.issue_count == before:
            index = next(at for at, role in self.roles.items() if role == "subject")
            self._wrong(number, index, "", "This row names no product; write its SKU.")
        size = image_size(row)
        if size and image_aspect({"aspect": row.get("aspect", "")}) not in ("", lowest_terms(*size)):
            message = f"Its size {row['size']} is {lowest_terms(*size)}, not {row['aspect']}; give one of the two."
            self._wrong(number, None, "", message)
        return None if self.issue_count > before else row

    def _wrong(self, row: int, index: int | None, value: str, message: str) -> None:
        self.issue_count += 1
        if len(self.issues) >= MAX_ISSUES:
            return
        heading = self.headings[index] if index is not None and index < len(self.headings) else ""
        cell = f"{column_letter(index)}{row}" if index is not None and self.heading_row else ""
        self.issues.append(Issue(row, cell, heading, value[:80], "listing", message))


def _values(role: str, value: Any) -> Row:
    """Return the values of one cell; an empty dict if the cell is empty. Raises _Wrong."""
    if isinstance(value, dict | list):
        raise _Wrong("A value is text or a number, not a list or an object.")
    text = _text(value)
    if not text:
        return {}
    if len(text) > MAX_VALUE:
        raise _Wrong(f"This is longer than {MAX_VALUE} characters.")
    if problem := storable.text_problem(text):
        raise _Wrong(problem)
    if role == "seed":
        if not (text.isascii() and text.isdigit()) or int(text[:20]) > MAX_SEED:
            raise _Wrong(f"A seed is a whole number from 0 to {MAX_SEED}.")
        return {"seed": int(text)}
    if role == "=size":
        match = _SIZE.fullmatch(text)
        if not match:
            raise _Wrong("A size is width × height in pixels, such as 1024x1280.")
        return {"size": f"{_edge(match[1])}x{_edge(match[2] or match[1])}"}
    if role == "=aspect":
        match = _ASPECT.fullmatch(text)
        aspect = lowest_terms(int(match[1]), int(match[2])) if match else ""
        if not aspect:
            raise _Wrong("An aspect is width : height, such as 4:5.")
        return {"aspect": aspect}
    return {role: text}


def _edge(text: str) -> int:
    if not (text.isascii() and text.isdigit()) or not SHORTEST <= int(text) <= LONGEST:
        raise _Wrong(f"An edge has {SHORTEST} to {LONGEST} pixels.")
    return int(text)


def _text(value: Any) -> str:
    """Return a cell as text; 7.0 of a spreadsheet becomes 7."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value).strip()
