"""Returns an imported file in its order and format, with one more column that says what is wrong with each row.

The file is read again as the import reads it, so that all mistakes are listed and not only the stored ones.
"""

from __future__ import annotations

import csv
import re
from collections import defaultdict, deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import IO

import xlsxwriter
from xlsxwriter.format import Format
from xlsxwriter.worksheet import Worksheet

from campaigns.feeds.base import FeedRefused, Header, Issue, NumberText, Record
from campaigns.feeds.cells import mark_unprintable
from campaigns.feeds.opening import Feed
from core.workbooks import write_text

HEADING = "What is wrong"
LOOK_AHEAD = 10_000  # rows that a layout may read before it yields the issues of the first; more than one product has
_RUNS = frozenset("=+-@\t\r")  # a spreadsheet runs a cell that begins with one of these
_AMOUNT = re.compile(r"[+-]?[\d.,\s]+")
_NUMBER = re.compile(r"-?\d{1,15}(\.\d+)?")
_NOT_IN_A_NAME = re.compile(r"[\[\]:*?/\\]")


@dataclass(frozen=True)
class AnnotatedRow:
    """One original row of the file, and its mistakes in the order in which they were found."""

    number: int
    cells: tuple[str, ...]
    issues: tuple[Issue, ...]

    @property
    def sentences(self) -> str:
        return "\n".join(issue.message for issue in self.issues)

    def returned(self, header: Header, sentences: str) -> list[str]:
        """Return the cells with the sentences in the column after the headings, or after the cells of a longer row."""
        return [*self.cells, *[""] * (len(header) - len(self.cells)), sentences]

    def wrong(self, header: Header) -> set[int]:
        places = {header.cell(self.number, index): index for index in range(max(len(header), len(self.cells)))}
        return {places[issue.cell] for issue in self.issues if issue.cell in places}


def iter_rows(feed: Feed, issues: Iterable[Issue] = (), *, only_wrong: bool = False) -> Iterator[AnnotatedRow]:
    """Yield every row below the headings, unchanged and in order. `issues`: mistakes that no single row shows.

    If the file cannot be read to its end, the last row says so. A bounded number of rows is kept in memory.
    """
    wrong: defaultdict[int, list[Issue]] = defaultdict(list)
    for issue in issues:
        wrong[issue.row].append(issue)
    held: deque[Record] = deque()
    feed.records = _record_read_rows(feed.records, held)
    try:
        for item in feed.rows():
            if isinstance(item, Issue):
                wrong[item.row].append(item)
            while len(held) > LOOK_AHEAD:
                yield from _annotate_next(held, wrong, only_wrong)
    except FeedRefused as refusal:
        last = held[-1][0] if held else feed.header.row
        for issue in refusal.issues:
            wrong[issue.row or last + 1].append(issue)
    while held:
        yield from _annotate_next(held, wrong, only_wrong)
    for number in sorted(number for number in wrong if number > feed.header.row):
        yield AnnotatedRow(number, (), tuple(wrong[number]))


def _record_read_rows(records: Iterator[Record | Issue], held: deque[Record]) -> Iterator[Record | Issue]:
    for record in records:
        held.append((record.row, (record.value,)) if isinstance(record, Issue) else record)
        yield record


def _annotate_next(held: deque[Record], wrong: dict[int, list[Issue]], only_wrong: bool) -> Iterator[AnnotatedRow]:
    number, cells = held.popleft()
    issues = wrong.pop(number, [])
    if issues or not only_wrong:
        yield AnnotatedRow(number, tuple(cells), tuple(dict.fromkeys(issues)))


class _Echo:
    def write(self, value: str) -> str:
        return value


def as_text(header: Header, returned: Iterable[AnnotatedRow], *, delimiter: str) -> Iterator[str]:
    """Yield the file as delimited text with a byte-order mark. No cell can run as a formula in a spreadsheet."""
    rows = (row.returned(header, row.sentences.replace("\n", " ")) for row in returned)
    return text_lines(chain([(*header.cells, HEADING)], rows), delimiter=delimiter)


def text_lines(rows: Iterable[Sequence[str]], *, delimiter: str = ",") -> Iterator[str]:
    """Yield rows as `as_text` does."""
    writer = csv.writer(_Echo(), delimiter=delimiter)
    yield "\ufeff"
    for row in rows:
        yield writer.writerow(map(escape_formula, row))


def as_workbook(
    stream: IO[bytes], header: Header, returned: Iterable[AnnotatedRow], *, sheet: str, same_rows: bool
) -> None:
    """Write the file as a workbook with wrong cells marked, and all text as text; `same_rows` keeps row numbers."""
    with xlsxwriter.Workbook(stream, {"constant_memory": True}) as book:
        page = book.add_worksheet(_NOT_IN_A_NAME.sub(" ", sheet).strip(" '")[:31].rstrip("'") or "Sheet1")
        page.freeze_panes(1, 0)
        bold, marked = book.add_format({"bold": True}), book.add_format({"bg_color": "#FBD5D1"})
        number = max(1, header.row) if same_rows else 1
        _write_row(page, number, (*header.cells, HEADING), dict.fromkeys(range(len(header) + 1), bold))
        for row in returned:
            number = max(number + 1, row.number) if same_rows else number + 1
            _write_row(page, number, row.returned(header, row.sentences), dict.fromkeys(row.wrong(header), marked))


def _write_row(page: Worksheet, number: int, row: Sequence[str], formats: Mapping[int, Format]) -> None:
    for at, text in enumerate(row):
        if isinstance(text, NumberText) and _NUMBER.fullmatch(text):
            page.write_number(number - 1, at, float(text), formats.get(at))
        elif text:
            write_text(page, number - 1, at, text, formats.get(at))


def escape_formula(cell: str) -> str:
    """Return the text, with an apostrophe in front if a spreadsheet would run it. Numbers stay as they are."""
    plain = mark_unprintable(cell)
    if plain[:1] not in _RUNS or (_AMOUNT.fullmatch(plain) and any(map(str.isdecimal, plain))):
        return plain
    return f"'{plain}"
