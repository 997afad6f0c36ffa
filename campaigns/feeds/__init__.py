"""Product feeds as plain data: open a file, learn what it is, read subjects, variants, pictures and issues from it.

No models here. What is done with the rows is decided in services/imports.py.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO, Any

from campaigns.feeds import cells, csv_file, generic, pictures, shopify, sniffing, xlsx_file
from campaigns.feeds.base import CAUSES, Binding, FeedRefused, FeedRow, Header, Issue, Record, choose, names, refused

__all__ = [
    "CAUSES",
    "Binding",
    "Feed",
    "FeedRefused",
    "FeedRow",
    "Header",
    "Issue",
    "generic",
    "names",
    "open_feed",
    "pictures",
    "shopify",
]


@dataclass
class Feed:
    """One opened feed. dialect: what was detected, plain JSON. `rows` can be walked once; `count` follows it."""

    header: Header
    binding: Binding
    dialect: dict[str, Any]
    records: Iterator[Record]
    count: int = 0
    """Rows read so far that are not empty."""

    def rows(self) -> Iterator[FeedRow | Issue]:
        """Subjects, variants, pictures and issues in file order; raises FeedRefused where nothing more can be read."""
        yield from self.binding.read(self._counted())
        if not self.count:
            raise refused(
                "no_rows",
                f"There is nothing below the headings in row {self.header.row}; expected one row per product.",
                row=self.header.row,
            )

    def _counted(self) -> Iterator[Record]:
        for record in self.records:
            self.count += any(map(str.strip, record[1]))
            yield record


def open_feed(stream: IO[bytes], *, kind: str = "product") -> Feed:
    """Detect format, encoding, delimiter and layout. `stream` must be seekable and stay open while rows are read.

    `kind` is what rows are that do not say. Raises FeedRefused for what is no table or lacks a required column.
    """
    dialect, records = (xlsx_file if sniffing.is_workbook(stream) else csv_file).read(stream)
    first = next((record for record in records if any(map(str.strip, record[1]))), None)
    if first is None:
        raise refused("unreadable", f"The file is empty; {sniffing.EXPECTED}.")
    header = cells.headings(first)
    layout = choose(header)
    binding = layout.bind(header, kind)
    dialect |= {"layout": layout.name, "header_row": header.row, "columns": list(header.cells)}
    return Feed(header, binding, dialect, records)
