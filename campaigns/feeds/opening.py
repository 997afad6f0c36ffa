"""Opens a feed: what format and layout it has, which column is what, and the one pass over its rows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import IO, Any

from campaigns.feeds import cells, columns, csv_file, sniffing, xlsx_file
from campaigns.feeds.base import Binding, FeedRow, Header, Issue, Layout, Mend, Record, choose, refused


@dataclass(frozen=True)
class Source:
    """A file whose format is known, before anybody says what its columns are. `records` follow the header's row."""

    header: Header
    layout: Layout
    dialect: dict[str, Any]
    records: Iterator[Record | Issue]


@dataclass
class Feed:
    """One opened feed. dialect: what was detected, plain JSON. `rows` can be walked once; `count` follows it."""

    header: Header
    binding: Binding
    dialect: dict[str, Any]
    records: Iterator[Record | Issue]
    mend: Mend | None = None
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

    def _counted(self) -> Iterator[Record | Issue]:
        for record in self.records:
            if isinstance(record, Issue):
                self.count += 1
            elif any(map(str.strip, record[1])):
                self.count += 1
                record = self.mend(self.header, record) if self.mend else record
            yield record


def open_feed(
    stream: IO[bytes], *, kind: str = "product", mapping: Mapping[str, str] | None = None, mend: Mend | None = None
) -> Feed:
    """Detect format, encoding, delimiter and layout. `stream` must be seekable and stay open while rows are read.

    `kind` is what rows are that do not say. `mapping`: heading as written -> field, for the headings where people
    chose; the others are taken for what detection says. `mend` changes each record before the layout reads it.
    Raises FeedRefused for what is no table, lacks a required column, or is mapped to what cannot be.
    """
    source = find(stream)
    header, layout = source.header, source.layout
    fields = columns.chosen(header, layout.suggest(header), mapping or {})
    ignored = {index for index, field in fields.items() if field == columns.IGNORE}
    binding = layout.bind(header.without(ignored), kind, fields)
    return Feed(header, binding, source.dialect, source.records, mend)


def find(stream: IO[bytes]) -> Source:
    """What the file is, and its headings; raises FeedRefused for what is no table."""
    dialect, records = (xlsx_file if sniffing.is_workbook(stream) else csv_file).read(stream)
    first = next((record for record in records if any(map(str.strip, record[1]))), None)
    if first is None:
        raise refused("unreadable", f"The file is empty; {sniffing.EXPECTED}.")
    header = cells.headings(first)
    layout = choose(header)
    dialect |= {"layout": layout.name, "header_row": header.row, "columns": list(header.cells)}
    return Source(header, layout, dialect, records)
