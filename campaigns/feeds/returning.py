"""A person's own file back, in its order and format, with one column more that says what is wrong with each row.

The file is read once more as the import reads it, so that every mistake is there and not only those that were stored.
"""

from __future__ import annotations

import csv
import re
from collections import defaultdict, deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import IO

from campaigns.feeds.base import FeedRefused, Header, Issue, Record
from campaigns.feeds.cells import visible
from campaigns.feeds.opening import Feed
from campaigns.feeds.workbook_writer import Workbook

HEADING = "What is wrong"
LOOK_AHEAD = 10_000
"""Rows that a layout may read before it says what is wrong with the first of them: one product's, and more."""
_RUNS = frozenset("=+-@\t\r")  # a spreadsheet runs a cell that begins so
_AMOUNT = re.compile(r"[+-]?[\d.,\s]+")


@dataclass(frozen=True)
class Returned:
    """One row of the file as it was, and its mistakes in the order in which they were found."""

    number: int
    cells: tuple[str, ...]
    issues: tuple[Issue, ...]

    @property
    def sentences(self) -> str:
        return "\n".join(issue.message for issue in self.issues)

    def wrong(self, header: Header) -> set[int]:
        """Indices of the cells that are wrong; of a sheet, the column in which they stand."""
        places = {header.cell(self.number, index): index for index in range(max(len(header), len(self.cells)))}
        return {places[issue.cell] for issue in self.issues if issue.cell in places}


def rows(feed: Feed, known: Iterable[Issue] = (), *, only_wrong: bool = False) -> Iterator[Returned]:
    """Every row below the headings, as the file has it, in order. `known`: mistakes that no single row shows.

    A file that cannot be read on ends with a row that says so. A bounded number of rows is held in memory.
    """
    wrong: defaultdict[int, list[Issue]] = defaultdict(list)
    for issue in known:
        wrong[issue.row].append(issue)
    held: deque[Record] = deque()
    feed.records = _watched(feed.records, held)
    try:
        for item in feed.rows():
            if isinstance(item, Issue):
                wrong[item.row].append(item)
            while len(held) > LOOK_AHEAD:
                yield from _released(held, wrong, only_wrong)
    except FeedRefused as refusal:
        last = held[-1][0] if held else feed.header.row
        for issue in refusal.issues:
            wrong[issue.row or last + 1].append(issue)
    while held:
        yield from _released(held, wrong, only_wrong)
    for number in sorted(number for number in wrong if number > feed.header.row):
        yield Returned(number, (), tuple(wrong[number]))


def _watched(records: Iterator[Record | Issue], held: deque[Record]) -> Iterator[Record | Issue]:
    for record in records:
        held.append((record.row, (record.value,)) if isinstance(record, Issue) else record)
        yield record


def _released(held: deque[Record], wrong: dict[int, list[Issue]], only_wrong: bool) -> Iterator[Returned]:
    number, cells = held.popleft()
    issues = wrong.pop(number, [])
    if issues or not only_wrong:
        yield Returned(number, tuple(cells), tuple(dict.fromkeys(issues)))


class _Echo:
    def write(self, value: str) -> str:
        return value


def as_text(header: Header, found: Iterable[Returned], *, delimiter: str) -> Iterator[str]:
    """The file as delimited text with a byte-order mark, a piece at a time; no cell of it runs in a spreadsheet."""
    writer = csv.writer(_Echo(), delimiter=delimiter)
    yield "\ufeff" + writer.writerow([safe(cell) for cell in (*header.cells, HEADING)])
    width = len(header)
    for row in found:
        cells = [*row.cells, *[""] * (width - len(row.cells))]
        # A row that is too long keeps its cells; the sentence stands behind them.
        yield writer.writerow([safe(cell) for cell in (*cells, row.sentences.replace("\n", " "))])


def as_workbook(stream: IO[bytes], header: Header, found: Iterable[Returned], *, sheet: str, same_rows: bool) -> None:
    """The file as a workbook; `same_rows` keeps each row's number. Cells that are wrong are marked."""
    book = Workbook(stream, sheet=sheet)
    book.write((*header.cells, HEADING), number=header.row if same_rows else 1, is_heading=True)
    width = len(header)
    for row in found:
        cells = [*row.cells, *[""] * (width - len(row.cells))]
        book.write((*cells, row.sentences), number=row.number if same_rows else 0, wrong=row.wrong(header))
    book.close()


def safe(cell: str) -> str:
    """The text with an apostrophe before what a spreadsheet would run; numbers are left as they are."""
    plain = visible(cell)
    return f"'{plain}" if plain[:1] in _RUNS and not _is_amount(plain) else plain


def _is_amount(cell: str) -> bool:
    """Return True for digits with signs, points and spaces, which no spreadsheet runs."""
    return _AMOUNT.fullmatch(cell) is not None and any(map(str.isdecimal, cell))
