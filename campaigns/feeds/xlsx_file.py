"""Reads the first visible sheet of an XLSX workbook into records, after making sure that opening it is harmless.

`read_sheet` and what it calls run in a child process (core/parsing), because the XLSX reader is native code that reads
the sheet into memory as a full rectangle. The unpacked size and the farthest cell are measured first, from the packed
bytes and not from their declared sizes, so that the person who sent the file learns the reason for a refusal.
"""

from __future__ import annotations

import copy
import datetime
import io
import re
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from decimal import Decimal
from typing import IO, Any

import python_calamine

from campaigns.feeds.base import DateText, FeedRefused, NumberText, Record, file_refusal
from campaigns.feeds.cells import mark_unprintable
from core import parsing
from core.parsing import Message

Measures = Mapping[str, int]
MEASURES = {
    "unpacked_bytes": 256 << 20,
    "ratio": 200,  # bytes of a part as a multiple of its packed bytes …
    "ratio_counts_from_bytes": 16 << 20,  # … for parts above this size
    "members": 2000,  # parts of the archive
    "cells": 6_000_000,  # of the rectangle up to the farthest cell
}
LIMITS = parsing.Limits(memory_bytes=768 << 20, cpu_seconds=120, seconds=300)
_TYPES = {"n": NumberText, "d": DateText}
ROWS_AT_ONCE = 200
# Every repetition is bounded, because a hostile sheet may consist of partial matches. A row's place has no letters.
_PLACE = re.compile(rb"""\br\s{0,9}=\s{0,9}["']([A-Za-z]{0,4})([0-9]{1,19})["']""")
_CHUNK = 1 << 20
_TOO_LARGE = "expected a workbook as a spreadsheet saves it. Save it again, or as CSV."


def read(stream: IO[bytes]) -> tuple[dict[str, Any], Iterator[Record]]:
    """Return what was detected, and the records; raises FeedRefused for a file that is no workbook or unsafe."""
    size = stream.seek(0, 2)
    if size > MEASURES["unpacked_bytes"]:  # it unpacks to no less
        raise file_refusal(f"The workbook has {size / 1e6:,.0f} MB. Save large feeds as CSV.")
    answers = parsing.stream_task("campaigns.feeds.xlsx_file:read_sheet", MEASURES, [stream], limits=LIMITS)
    try:
        first = next(answers).value
    except (parsing.Exceeded, parsing.Broken):
        message = "The workbook cannot be read: reading it took too much memory or time. Save it again, or as CSV."
        raise file_refusal(message) from None
    if "refused" in first:
        raise file_refusal(first["refused"])
    return {"format": "xlsx", "sheet": mark_unprintable(first["sheet"])}, _records(answers)


def _records(answers: Iterator[parsing.Message]) -> Iterator[Record]:
    row = 0
    try:
        for answer in answers:
            for cells in answer.value:
                row += 1
                yield row, [cell if isinstance(cell, str) else _TYPES[cell[0]](cell[1]) for cell in cells]
    except (parsing.Exceeded, parsing.Broken):
        message = f"The workbook cannot be read beyond row {row}: it took too much memory or time. Save it as CSV."
        raise file_refusal(message, row=row) from None


def read_sheet(arguments: dict[str, Any], parts: list[bytes]) -> Iterator[Message]:
    """Read a workbook in the child: yield {"sheet": name}, then lists of rows of `cell_text`; or {"refused": why}."""
    data = parts.pop()
    try:
        check_archive(data, arguments)
        sheet = first_sheet(data)
    except FeedRefused as refusal:
        yield Message({"refused": str(refusal)})
        return
    except (python_calamine.CalamineError, OSError, ValueError, LookupError) as error:
        reason = str(error)[:200] or type(error).__name__
        if isinstance(error, python_calamine.PasswordError):
            reason = "it is protected by a password; save it without one"
        yield Message({"refused": f"The workbook cannot be read: {reason}. Save it again, or as CSV."})
        return
    yield Message({"sheet": sheet.name})
    offset: list[str | list[str]] = [""] * (sheet.start[1] if sheet.start else 0)
    rows: list[list[str | list[str]]] = []
    for cells in sheet.iter_rows():
        rows.append(offset + [cell_text(cell) for cell in cells])
        if len(rows) == ROWS_AT_ONCE:
            yield Message(rows)
            rows = []
    yield Message(rows)


def check_archive(data: bytes, most: Measures) -> None:
    """Refuse archives that are not a workbook, unpack to too much, or have a cell far out."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            members = archive.infolist()
            names = {member.filename for member in members}
            if "xl/workbook.xml" not in names:
                raise _not_a_workbook(names)
            if len(members) > most["members"]:
                raise file_refusal(f"The workbook has {len(members):,} parts; {_TOO_LARGE}")
            if (declared := sum(member.file_size for member in members)) > most["unpacked_bytes"]:
                raise _too_large(declared, most)
            for member in members:
                _refuse_ratio(member, member.file_size, most)
            _refuse_actual(archive, members, most)
    except (zipfile.BadZipFile, zipfile.LargeZipFile, NotImplementedError, RuntimeError, OSError, EOFError) as error:
        raise file_refusal(f"The file is a damaged or protected workbook ({error}); {_TOO_LARGE}") from None
    except zlib.error as error:
        raise file_refusal(f"The file is a damaged workbook ({error}); {_TOO_LARGE}") from None


def _not_a_workbook(names: set[str]) -> FeedRefused:
    if {"mimetype", "content.xml"} <= names:
        what = "an OpenDocument file"
    elif "xl/workbook.bin" in names:
        what = "a binary workbook (.xlsb)"
    elif any(name.startswith("word/") for name in names):
        what = "a Word document"
    else:
        what = "a ZIP archive"
    return file_refusal(f"This is {what}, not an XLSX workbook; save the table as XLSX or CSV.")


def _too_large(total: int, most: Measures) -> FeedRefused:
    unpacked, limit = (f"{size / 1e6:,.0f} MB" for size in (total, most["unpacked_bytes"]))
    return file_refusal(
        f"The workbook unpacks to {unpacked} or more; expected at most {limit}. Save large feeds as CSV."
    )


def _refuse_ratio(member: zipfile.ZipInfo, size: int, most: Measures) -> None:
    if size > most["ratio_counts_from_bytes"] and size > most["ratio"] * max(1, member.compress_size):
        raise file_refusal(
            f"The workbook's part {member.filename[:80]} unpacks to {size // max(1, member.compress_size):,} times "
            f"its size, as only a zip bomb does; {_TOO_LARGE}",
        )


def _refuse_actual(archive: zipfile.ZipFile, members: list[zipfile.ZipInfo], most: Measures) -> None:
    """Unpack every part once and count its bytes, because a declared size may be wrong."""
    total = 0
    for member in members:
        if member.is_dir():
            continue
        # zipfile stops at the declared size; the XLSX reader might not.
        honest = copy.copy(member)
        honest.file_size = most["unpacked_bytes"] + 2 * _CHUNK
        size = row = column = 0
        rest = b""
        with archive.open(honest) as part:
            while chunk := part.read(_CHUNK):
                size += len(chunk)
                if total + size > most["unpacked_bytes"]:
                    raise _too_large(total + size, most)
                _refuse_ratio(member, size, most)
                if member.filename.startswith("xl/worksheets/"):
                    row, column = _farthest_cell(rest + chunk, row, column)
                    rest = (rest + chunk)[-64:]
                if row * column > most["cells"]:
                    raise file_refusal(
                        f"The sheet reaches to row {row:,} and column {column:,}, which are more than "
                        f"{most['cells']:,} cells; expected no cells far out. Delete what is beyond the table, or save "
                        "it as CSV.",
                    )
        total += size


def _farthest_cell(xml: bytes, row: int, column: int) -> tuple[int, int]:
    """Return the outermost row and column that a piece of a sheet names, or those of the pieces before it."""
    places = [match.groups() for match in _PLACE.finditer(xml)]
    for letters in {letters.upper() for letters, _ in places}:
        index = 0
        for character in letters:
            index = index * 26 + character - 64
        column = max(column, index)
    # Rows usually come in order, but a hostile file may order them differently.
    return max([row, *(int(number) for _, number in places)]), column


def first_sheet(data: bytes) -> python_calamine.CalamineSheet:
    """Return the first visible worksheet; raises LookupError if there is none."""
    workbook = python_calamine.CalamineWorkbook.from_filelike(io.BytesIO(data))
    for meta in workbook.sheets_metadata:
        is_worksheet = meta.typ == python_calamine.SheetTypeEnum.WorkSheet
        if is_worksheet and meta.visible == python_calamine.SheetVisibleEnum.Visible:
            return workbook.get_sheet_by_name(meta.name)
    raise LookupError("it has no visible sheet")


def cell_text(value: Any) -> str | list[str]:
    """Return a text cell as string, a number as ["n", text], a date as ["d", text].

    Whole numbers below 10¹⁵ have no point; larger ones have an exponent, as they were rounded.
    """
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (int, float)):
        if value != value or abs(value) >= 1e15:
            return ["n", f"{Decimal(repr(value)).normalize():E}"]
        return ["n", str(int(value)) if value == int(value) else format(Decimal(repr(value)), "f")]
    if isinstance(value, datetime.datetime):
        return ["d", value.date().isoformat() if value.time() == datetime.time() else value.isoformat(" ")]
    if isinstance(value, (datetime.date, datetime.time)):
        return ["d", value.isoformat()]
    return str(value)
