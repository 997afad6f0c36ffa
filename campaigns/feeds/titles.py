"""A list of titles, one per line, with or without a heading, for articles and concepts. Commas belong to the titles."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import IO, Any

from campaigns.feeds import csv_file, sniffing
from campaigns.feeds.base import Header, Record, normalise_heading

KINDS = ("article", "concept")
_LOOK_LINES = 30


def read(stream: IO[bytes], encoding: str = "") -> tuple[dict[str, Any], Header, Iterator[Record]] | None:
    """Return what was detected, the header (row 0 if there is none) and the records; None for a table of columns."""
    how = sniffing.detect_encoding(stream, encoding)
    lines = list(islice(csv_file.lines(stream, how, csv_file.MAX_LINE), _LOOK_LINES))
    full = [line.strip("\r\n") for line in lines if line.strip()]
    if not full or full[0].lower().startswith("sep="):
        return None
    heading = normalise_heading(full[0].strip().strip('"').lstrip("\ufeff"))
    first = next(index for index, line in enumerate(lines, start=1) if line.strip())
    if heading in sniffing.KNOWN_HEADINGS:
        header = Header(first, (full[0].strip().strip('"'),), (heading,))
    elif _is_table(full):
        return None
    else:
        header, first = Header(0, ("title",), ("title",)), 0
    dialect = {"format": "titles", "byte_order_mark": how.skip > 0, **how.dialect}
    return dialect, header, _records(csv_file.lines(stream, how, csv_file.MAX_LINE), first)


def _is_table(full: Sequence[str]) -> bool:
    """Return True if one of several headings is known, or all rows have the same number of cells."""
    delimiter = sniffing.detect_delimiter(full)
    try:
        rows = list(csv.reader(full, delimiter=delimiter, strict=True))
    except csv.Error:
        return False
    if len(rows[0]) > 1 and sniffing.count_known_headings(rows[0]):
        return True
    widths = {len(row) for row in rows}
    # “Spring, at last” has a space where a table has none.
    is_prose = delimiter == "," and any(", " in line for line in full)
    return widths != {1} and len(widths) == 1 and len(rows) > 1 and not is_prose


def _records(lines: Iterator[str], header_row: int) -> Iterator[Record]:
    for row, line in enumerate(lines, start=1):
        if row <= header_row:
            continue
        title = line.strip()
        if len(title) > 1 and title[0] == title[-1] == '"':
            title = title[1:-1].replace('""', '"')
        yield row, [title]
