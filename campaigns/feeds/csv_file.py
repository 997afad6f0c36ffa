"""Reads text into records: tables with one of four delimiters, strict about quotes, and lists of titles.

Follows RFC 4180 as spreadsheets write it; a first line `sep=;` is obeyed and, as in a spreadsheet, not counted.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence
from itertools import chain, count, dropwhile, islice
from typing import IO, Any

from campaigns.feeds import sniffing, vocabulary
from campaigns.feeds.base import Header, Record, file_refusal, normalise_heading

MAX_LINE = 1 << 20  # characters of one line. A file with longer lines is not a table and must not fill the memory.
_HEAD_LINES = 50
_LOOK_LINES = 30


def read(stream: IO[bytes], encoding: str = "") -> tuple[dict[str, Any], Iterator[Record]]:
    """Return what was detected, and the records, which raise FeedRefused where the text cannot be read further."""
    how = sniffing.detect_encoding(stream, encoding)
    every = lines(stream, how, MAX_LINE)
    head: list[str] = []
    for line in every:
        head.append(line)
        if line.strip() and len(head) >= _HEAD_LINES:
            break
    named = head[0].strip().lower() if head else ""
    if named.startswith("sep=") and len(named) <= 5:
        delimiter, head = named[4:] or "\t", head[1:]
    else:
        delimiter = sniffing.detect_delimiter(list(dropwhile(str.isspace, head)))
    dialect = {"format": "csv", "delimiter": delimiter, "byte_order_mark": how.skip > 0, **how.dialect}
    return dialect, _records(chain(head, every), delimiter)


def open_text(stream: IO[bytes], how: sniffing.TextEncoding) -> io.TextIOWrapper:
    """Return the stream as text from its beginning, with unchanged line ends."""
    stream.seek(how.skip)
    buffered = io.BufferedReader(_UncloseableStream(stream), 1 << 16)
    return io.TextIOWrapper(buffered, encoding=how.encoding, errors=how.errors, newline="")


class _UncloseableStream(io.RawIOBase):
    """Wraps a stream for a TextIOWrapper, which would otherwise close the stream when it is garbage-collected."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        piece = self._stream.read(len(buffer))
        buffer[: len(piece)] = piece
        return len(piece)


def lines(stream: IO[bytes], how: sniffing.TextEncoding, limit: int) -> Iterator[str]:
    """Yield the lines with their ends; raises FeedRefused for a line of more than `limit` characters."""
    text = open_text(stream, how)
    for number in count(1):
        try:
            line = text.readline(limit)
        except UnicodeDecodeError as error:
            raise file_refusal(
                f"Line {number} cannot be read as {how.encoding.upper()}: {error.reason}. The file is damaged or cut "
                "off; expected it to be whole. Export it again.",
                row=number,
            ) from None
        if not line:
            return
        if len(line) >= limit:
            message = (
                f"Line {number} is longer than {limit:,} characters; expected one line per row. "
                "Is this a table, and are its line ends intact?"
            )
            raise file_refusal(message, cause="cell_too_large", row=number, value=line[:60])
        yield line


def _records(lines: Iterator[str], delimiter: str) -> Iterator[Record]:
    reader = csv.reader(lines, delimiter=delimiter, strict=True)
    row = line = 0
    try:
        for row, cells in enumerate(reader, start=1):
            yield row, cells
            line = reader.line_num
    except csv.Error as error:
        row, line = row + 1, line + 1
        cause = "quote"
        if "field limit" in str(error):
            cause = "cell_too_large"
            message = (
                f"Row {row} has a cell of more than {csv.field_size_limit():,} characters; expected less. A quote that "
                "is never closed looks like this too."
            )
        elif "unexpected end" in str(error):
            message = f'Row {row} begins a quoted cell that is never closed; expected a closing " before the end.'
        else:
            message = (
                f'Row {row} (line {line}) has a quote inside a quoted cell; expected it doubled ("") or the cell '
                "without quotes."
            )
        raise file_refusal(message, cause=cause, row=row) from None


def read_titles(stream: IO[bytes], encoding: str = "") -> tuple[dict[str, Any], Header, Iterator[Record]] | None:
    """Read a list of titles, one per line, with or without a heading. Commas belong to the titles.

    Returns what was detected, the header (row 0 if there is none) and the records; None for a table of columns.
    """
    how = sniffing.detect_encoding(stream, encoding)
    first_lines = list(islice(lines(stream, how, MAX_LINE), _LOOK_LINES))
    full = [line.strip("\r\n") for line in first_lines if line.strip()]
    if not full or full[0].lower().startswith("sep="):
        return None
    heading = normalise_heading(full[0].strip().strip('"').lstrip("\ufeff"))
    first = next(index for index, line in enumerate(first_lines, start=1) if line.strip())
    if heading in sniffing.KNOWN_HEADINGS:
        header = Header(first, (full[0].strip().strip('"'),), (heading,))
    elif _is_table(full):
        return None
    else:
        header, first = Header(0, ("title",), ("title",)), 0
    dialect = {"format": "titles", "byte_order_mark": how.skip > 0, **how.dialect}
    return dialect, header, _title_records(lines(stream, how, MAX_LINE), first)


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


def _title_records(lines: Iterator[str], header_row: int) -> Iterator[Record]:
    for row, line in islice(enumerate(lines, start=1), header_row, None):
        title = line.strip()
        if len(title) > 1 and title[0] == title[-1] == '"':
            title = title[1:-1].replace('""', '"')
        yield row, [title]


def paste_as_file(text: str, *, kind: str) -> tuple[str, bytes]:
    """Return (file name, UTF-8 content) of pasted text.

    Articles and concepts may be pasted as one title per line. Everything else, and text with tabs (copied from a
    spreadsheet), is a table whose first line has the headings.
    """
    lines = [line.strip("\r") for line in text.lstrip("\ufeff").split("\n")]
    filled = [line for line in lines if line.strip()]
    first = filled[0].replace(";", ",").split(",") if filled else []
    has_headings = any(normalise_heading(part) in vocabulary.NAME for part in first)
    if kind == "product" or not filled or has_headings or "\t" in "".join(filled):
        return "pasted table.csv", "\n".join(lines).encode("utf-8", "replace")
    titles = io.StringIO()
    writer = csv.writer(titles, lineterminator="\n")
    writer.writerow(["title"])
    writer.writerows([line.strip().removeprefix("- ").removeprefix("• ").strip()] for line in filled)
    return f"pasted {kind}s.csv", titles.getvalue().encode("utf-8", "replace")
