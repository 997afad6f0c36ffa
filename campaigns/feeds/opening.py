"""Opens a feed: detects its format, layout and columns, and reads its first rows, or all rows in one pass."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import chain, islice
from typing import IO, Any

from campaigns.feeds import base, cells, columns, csv_file, json_file, sniffing, xlsx_file, xml_file
from campaigns.feeds.base import FeedRefused, FeedRow, Header, Issue, Record, RecordFix, file_refusal

MAX_SAMPLE_ROWS = 200  # rows that are examined; fewer if they are long
MAX_SAMPLE_CHARACTERS = 1 << 20
HEADINGS_FROM_ITEMS = 200  # number of items of JSON or XML that are read to find headings


@dataclass(frozen=True)
class DetectedFile:
    """A file whose format is known. records: the rows below the headings. sample: the first of them."""

    header: Header
    layout: base.Layout
    dialect: dict[str, Any]
    records: Iterator[Record | Issue]
    sample: list[Record]


@dataclass(frozen=True)
class FileHead:
    """The beginning of a file. sample: its first rows."""

    header: Header
    sample: list[Record]
    suggestion: dict[str, str]  # heading as written -> detected field
    problem: str  # why the file cannot be imported with the detected fields and the given mapping; empty if it can


@dataclass
class Feed:
    """One opened feed. dialect: what was detected, plain JSON. `rows` can be walked once; `count` follows it."""

    header: Header
    binding: base.Binding
    dialect: dict[str, Any]
    records: Iterator[Record | Issue]
    record_fix: RecordFix | None = None
    count: int = 0  # rows read so far that are not empty

    def rows(self) -> Iterator[FeedRow | Issue]:
        """Yield subjects, variants, images and issues in file order; raises FeedRefused if reading cannot continue."""
        yield from self.binding.read(self._counted())
        if not self.count:
            row = self.header.row
            above = f"There is nothing below the headings in row {row}; expected one row per product."
            message = above if row else "There are no items with values in this file; expected one per product."
            raise file_refusal(message, cause="no_rows", row=row)

    def _counted(self) -> Iterator[Record | Issue]:
        for record in self.records:
            if isinstance(record, Issue):
                self.count += 1
            elif any(map(str.strip, record[1])):
                self.count += 1
                if self.record_fix:
                    record = self.record_fix(self.header, (record[0], cells.blank_spreadsheet_errors(record[1])))
            yield record


def open_feed(
    stream: IO[bytes], *, kind: str = "product", mapping: Mapping[str, str] | None = None,
    record_fix: RecordFix | None = None, encoding: str = "",
) -> Feed:  # fmt: skip
    """Detect format, encoding, delimiter and layout. `stream` must be seekable and stay open while rows are read.

    `kind` is that of rows without a kind of their own. `mapping`: heading as written -> field, for the headings that
    people mapped; the other columns are detected. `record_fix` changes each record before the layout reads it.
    `encoding`: what people chose for a text that is not UTF-8; empty for the best match.
    Raises FeedRefused for a file that is no table, lacks a required column, or has an impossible mapping.
    """
    source = detect_file(stream, kind=kind, encoding=encoding)
    header, layout = source.header, source.layout
    fields = columns.apply_chosen_mapping(header, layout.suggest(header), mapping or {})
    ignored = {index for index, field in fields.items() if field == columns.IGNORE}
    names = tuple("" if index in ignored else name for index, name in enumerate(header.names))
    binding = layout.bind(replace(header, names=names, ignored=frozenset(ignored)), kind, fields)
    dialect = source.dialect
    if remarks := columns.address_column_remarks(header, fields, source.sample, mapping or {}):
        dialect = dialect | {"remarks": remarks}
    return Feed(header, binding, dialect, source.records, record_fix)


def suggest_mapping(header: Header) -> dict[str, str]:
    """Return heading as written -> detected field; empty headings are left out."""
    fields = base.choose_layout(header).suggest(header)
    return {heading: fields[index] for index, heading in enumerate(header.cells) if index in fields}


def header_sha256(header: Header) -> str:
    """Return a digest of the headings in their order, regardless of capitals and spaces."""
    return hashlib.sha256("\n".join(header.names).encode("utf-8", "replace")).hexdigest()


def read_head(
    stream: IO[bytes], *, kind: str = "product", rows: int = 5, mapping: Mapping[str, str] | None = None,
    encoding: str = "",
) -> FileHead:  # fmt: skip
    """Read the headings and the first `rows` rows that are not empty. Raises FeedRefused if the file is no table."""
    source = detect_file(stream, kind=kind, limit=HEADINGS_FROM_ITEMS, encoding=encoding)
    problem = ""
    try:
        fields = columns.apply_chosen_mapping(source.header, source.layout.suggest(source.header), mapping or {})
        source.layout.bind(source.header, kind, fields)
    except FeedRefused as refusal:
        problem = str(refusal)
    full = (record for record in source.records if not isinstance(record, Issue) and any(map(str.strip, record[1])))
    return FileHead(source.header, list(islice(full, rows)), suggest_mapping(source.header), problem)


def detect_file(
    stream: IO[bytes], *, kind: str = "product", limit: int | None = None, encoding: str = ""
) -> DetectedFile:
    """Detect the format of a file, and its headings; raises FeedRefused for a file that is no table.

    A list of titles is recognised only if subjects of this `kind` need nothing but a title.
    `limit`: how many items of JSON or XML are read for headings; all if it is None.
    """
    form = sniffing.detect_format(stream)
    if form in ("json", "jsonl"):
        dialect, header, records = json_file.read(stream, is_lines=form == "jsonl", limit=limit, encoding=encoding)
    elif form == "xml":
        dialect, header, records = xml_file.read(stream, limit=limit)
    elif form == "csv" and kind != "product" and (listing := csv_file.read_titles(stream, encoding)):
        dialect, header, records = listing
    else:
        dialect, rows = xlsx_file.read(stream) if form == "xlsx" else csv_file.read(stream, encoding)
        header, records = _take_header(rows)
    sample, records = _sample_records(records)
    header = replace(header, images=columns.image_columns(header, sample))
    layout = base.choose_layout(header)
    dialect |= {"layout": layout.name, "header_row": header.row, "columns": list(header.cells)}
    if header.images:
        dialect["image_columns"] = [header.cells[index] for index in sorted(header.images)]
    return DetectedFile(header, layout, dialect, records, sample)


def _sample_records(records: Iterator[Record | Issue]) -> tuple[list[Record], Iterator[Record | Issue]]:
    """Return the first rows, and an iterator over all rows that raises a refusal at the same place again."""
    first: list[Record | Issue] = []
    refusals: list[FeedRefused] = []
    remaining = MAX_SAMPLE_CHARACTERS
    try:
        for record in islice(records, MAX_SAMPLE_ROWS):
            first.append(record)
            remaining -= 0 if isinstance(record, Issue) else sum(map(len, record[1]))
            if remaining < 0:
                break
    except FeedRefused as refusal:
        refusals.append(refusal)

    def read_again() -> Iterator[Record | Issue]:
        yield from first
        for refusal in refusals:
            raise refusal
        yield from records

    return [record for record in first if not isinstance(record, Issue)], read_again()


def _take_header(records: Iterator[Record]) -> tuple[Header, Iterator[Record]]:
    """Take the first row that is neither empty nor a comment as the header. Raises FeedRefused if it is a title."""
    full = (record for record in records if any(map(str.strip, record[1])))
    first = next(full, None)
    if first is None:
        raise file_refusal(f"The file is empty; {sniffing.EXPECTED}.")
    below = list(islice(full, sniffing.HEADER_WITHIN - 1)) if sniffing.count_known_headings(first[1]) == 0 else []
    for place, (row, values) in enumerate(below):
        if sniffing.count_known_headings(values) >= 2:
            if all(_is_comment(above) for above in [first, *below[:place]]):
                return cells.read_header((row, values)), chain(below[place + 1 :], records)
            title = next(value.strip() for value in first[1] if value.strip())
            headings = ", ".join(value.strip() for value in values if value.strip())[:120]
            cell = f"A{first[0]}"
            message = (
                f"{cell}: row {first[0]} is no row of headings (“{title[:60]}”); they stand in row {row}: {headings}. "
                "Delete the rows above it."
            )
            raise file_refusal(message, cause="header_below", row=first[0], value=title, cell=cell)
    return cells.read_header(first), chain(below, records)


def _is_comment(record: Record) -> bool:
    """Return True for a row without known headings that begins with # or //, as in Meta's template."""
    first = next(value.strip() for value in record[1] if value.strip())
    return first.startswith(("#", "//")) and sniffing.count_known_headings(record[1]) == 0
