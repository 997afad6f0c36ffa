"""Reads delimited text into records, in pieces: one of four delimiters, four encodings, strict about quotes.

Follows RFC 4180 as spreadsheets write it; a first line `sep=;` is obeyed and, as in a spreadsheet, not counted.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from itertools import chain, dropwhile
from typing import IO, Any

from campaigns.feeds import sniffing
from campaigns.feeds.base import Record, file_refusal

MAX_LINE = 1 << 20
"""Characters of one line. A file with longer lines is not a table and must not fill the memory."""
_HEAD_LINES = 50


def read(stream: IO[bytes], encoding: str = "") -> tuple[dict[str, Any], Iterator[Record]]:
    """Return what was detected, and the records; `encoding`: what people chose, see sniffing.detect_encoding.

    The iterator raises FeedRefused where the text cannot be read further.
    """
    how = sniffing.detect_encoding(stream, encoding)
    every = lines(stream, how, MAX_LINE)
    head: list[str] = []
    for line in every:
        head.append(line)
        if line.strip() and len(head) >= _HEAD_LINES:
            break
    named = head[0].strip().lower() if head else ""
    if named.startswith("sep=") and len(named) == 5:
        delimiter = named[4]
        head = head[1:]
    elif named == "sep=":
        delimiter, head = "\t", head[1:]
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
    number = 0
    while True:
        number += 1
        try:
            line = text.readline(limit)
        except UnicodeDecodeError as error:
            raise file_refusal(
                "unreadable",
                f"Line {number} cannot be read as {how.encoding.upper()}: {error.reason}. The file is damaged or cut "
                "off; expected it to be whole. Export it again.",
                row=number,
            ) from None
        if not line:
            return
        if len(line) >= limit:
            raise file_refusal(
                "cell_too_large",
                f"Line {number} is longer than {limit:,} characters; expected one line per row. "
                "Is this a table, and are its line ends intact?",
                row=number,
                value=line[:60],
            )
        yield line


def _records(lines: Iterator[str], delimiter: str) -> Iterator[Record]:
    reader = csv.reader(lines, delimiter=delimiter, strict=True)
    row = 0
    while True:
        row += 1
        started = reader.line_num + 1
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            raise _refusal_for(error, row, started) from None
        yield row, cells


def _refusal_for(error: csv.Error, row: int, line: int) -> Exception:
    reason = str(error)
    if "field limit" in reason:
        return file_refusal(
            "cell_too_large",
            f"Row {row} has a cell of more than {csv.field_size_limit():,} characters; expected less. A quote that is "
            "never closed looks like this too.",
            row=row,
        )
    if "unexpected end" in reason:
        return file_refusal(
            "quote",
            f'Row {row} begins a quoted cell that is never closed; expected a closing " before the end.',
            row=row,
        )
    return file_refusal(
        "quote",
        f'Row {row} (line {line}) has a quote inside a quoted cell; expected it doubled ("") or the cell without '
        "quotes.",
        row=row,
    )
