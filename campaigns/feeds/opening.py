"""Opens a feed: what format and layout it has, which column is what, and the one pass over its rows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, islice
from typing import IO, Any

from campaigns.feeds import cells, columns, csv_file, json_file, sniffing, titles, vocabulary, xlsx_file, xml_file
from campaigns.feeds.base import Binding, FeedRow, Header, Issue, Layout, Mend, Record, choose, normalised, refused

TITLE_ROWS = 5
"""How many rows below the first may turn out to be the row of headings."""


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
                f"There is nothing below the headings in row {self.header.row}; expected one row per product."
                if self.header.row
                else "There are no items with values in this file; expected one per product.",
                row=self.header.row,
            )

    def _counted(self) -> Iterator[Record | Issue]:
        for record in self.records:
            if isinstance(record, Issue):
                self.count += 1
            elif (record[1] and record[1][0].strip()) or any(map(str.strip, record[1])):
                self.count += 1
                if self.mend:
                    record = self.mend(self.header, (record[0], cells.without_errors(record[1])))
            yield record


def open_feed(
    stream: IO[bytes], *, kind: str = "product", mapping: Mapping[str, str] | None = None, mend: Mend | None = None
) -> Feed:
    """Detect format, encoding, delimiter and layout. `stream` must be seekable and stay open while rows are read.

    `kind` is what rows are that do not say. `mapping`: heading as written -> field, for the headings where people
    chose; the others are taken for what detection says. `mend` changes each record before the layout reads it.
    Raises FeedRefused for what is no table, lacks a required column, or is mapped to what cannot be.
    """
    source = find(stream, kind=kind)
    header, layout = source.header, source.layout
    fields = columns.chosen(header, layout.suggest(header), mapping or {})
    ignored = {index for index, field in fields.items() if field == columns.IGNORE}
    binding = layout.bind(header.without(ignored), kind, fields)
    return Feed(header, binding, source.dialect, source.records, mend)


def find(stream: IO[bytes], *, kind: str = "product", limit: int | None = None) -> Source:
    """What the file is, and its headings; raises FeedRefused for what is no table.

    A text whose lines are titles is one only if `kind` is that of subjects which need no more than a title.
    `limit`: how many items of JSON or XML to look at for headings, all without it.
    """
    form = sniffing.form(stream)
    if form in ("json", "jsonl"):
        dialect, header, records = json_file.read(stream, is_lines=form == "jsonl", limit=limit)
    elif form == "xml":
        dialect, header, records = xml_file.read(stream, limit=limit)
    elif form == "csv" and kind in titles.KINDS and (found := titles.read(stream)):
        dialect, header, records = found
    else:
        dialect, header, records = _sheet(*(xlsx_file if form == "xlsx" else csv_file).read(stream))
    layout = choose(header)
    dialect |= {"layout": layout.name, "header_row": header.row, "columns": list(header.cells)}
    return Source(header, layout, dialect, records)


def _sheet(dialect: dict[str, Any], records: Iterator[Record]) -> tuple[dict[str, Any], Header, Iterator[Record]]:
    """The header is the first row that is not empty. Raises FeedRefused when that is plainly a title above it."""
    full = (record for record in records if any(map(str.strip, record[1])))
    first = next(full, None)
    if first is None:
        raise refused("unreadable", f"The file is empty; {sniffing.EXPECTED}.")
    below = list(islice(full, TITLE_ROWS)) if _known(first[1]) == 0 else []
    for row, values in below:
        if _known(values) >= 2:
            title = next(value.strip() for value in first[1] if value.strip())
            raise refused(
                "header_below",
                f"A{first[0]}: row {first[0]} is no row of headings (“{title[:60]}”); they stand in row {row}: "
                f"{', '.join(value.strip() for value in values if value.strip())[:120]}. Delete the rows above it.",
                row=first[0], value=title, cell=f"A{first[0]}",
            )  # fmt: skip
    return dialect, cells.headings(first), chain(below, records)


def _known(values: Sequence[str]) -> int:
    return sum(normalised(value) in vocabulary.KNOWN for value in values)
