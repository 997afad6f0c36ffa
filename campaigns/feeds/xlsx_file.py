"""Reads the first visible sheet of an XLSX workbook into records, after making sure that opening it is harmless.

A workbook is a ZIP archive of XML. python-calamine reads it fast, but into memory, as a full rectangle: so what it
unpacks to and the farthest cell are measured first, from the packed bytes themselves and not from what they declare.
"""

from __future__ import annotations

import copy
import datetime
import re
import zipfile
import zlib
from collections.abc import Iterator
from decimal import Decimal
from typing import IO, Any

import python_calamine

from campaigns.feeds.base import Dated, FeedRefused, Number, Record, refused

MAX_UNPACKED_BYTES = 256 * 1024 * 1024
MAX_RATIO = 200
RATIO_COUNTS_FROM_BYTES = 16 * 1024 * 1024
MAX_MEMBERS = 2000
MAX_CELLS = 6_000_000
_CELL = re.compile(rb'\br="([A-Z]{1,4})([0-9]{1,9})"')
_ROW = re.compile(rb'<row\b[^>]*?\br="([0-9]{1,9})"')
_CHUNK = 1 << 20
_BOMB = "expected a workbook as a spreadsheet saves it. Save it again, or as CSV."


def read(stream: IO[bytes]) -> tuple[dict[str, Any], Iterator[Record]]:
    """What was detected, and the records; raises FeedRefused for what is no workbook or not safe to open."""
    _guard(stream)
    stream.seek(0)
    try:
        workbook = python_calamine.CalamineWorkbook.from_filelike(stream)
        sheet = _first_sheet(workbook)
    except python_calamine.PasswordError:
        raise refused("unreadable", "The workbook is protected by a password; save it without one.") from None
    except (python_calamine.CalamineError, OSError, ValueError) as error:
        raise refused("unreadable", f"The workbook cannot be read ({error}); save it again, or as CSV.") from None
    return {"format": "xlsx", "sheet": sheet.name}, _records(sheet)


def _first_sheet(workbook: python_calamine.CalamineWorkbook) -> python_calamine.CalamineSheet:
    kinds, visible = python_calamine.SheetTypeEnum, python_calamine.SheetVisibleEnum
    for meta in workbook.sheets_metadata:
        if meta.typ == kinds.WorkSheet and meta.visible == visible.Visible:
            return workbook.get_sheet_by_name(meta.name)
    raise refused("unreadable", "The workbook has no visible sheet; expected the products on the first one.")


def _guard(stream: IO[bytes]) -> None:
    """Refuse archives that are no workbook, unpack to too much, or hold a cell far out."""
    stream.seek(0)
    try:
        with zipfile.ZipFile(stream) as archive:
            members = archive.infolist()
            names = {member.filename for member in members}
            if "xl/workbook.xml" not in names:
                raise _not_a_workbook(names)
            if len(members) > MAX_MEMBERS:
                raise refused("unreadable", f"The workbook has {len(members):,} parts; {_BOMB}")
            _refuse_declared(members)
            _refuse_actual(archive, members)
    except (zipfile.BadZipFile, zipfile.LargeZipFile, NotImplementedError, RuntimeError, OSError, EOFError) as error:
        raise refused("unreadable", f"The file is a damaged or protected workbook ({error}); {_BOMB}") from None
    except zlib.error as error:
        raise refused("unreadable", f"The file is a damaged workbook ({error}); {_BOMB}") from None


def _not_a_workbook(names: set[str]) -> FeedRefused:
    if "mimetype" in names and "content.xml" in names:
        what = "an OpenDocument file"
    elif "xl/workbook.bin" in names:
        what = "a binary workbook (.xlsb)"
    elif any(name.startswith("word/") for name in names):
        what = "a Word document"
    else:
        what = "a ZIP archive"
    return refused("unreadable", f"This is {what}, not an XLSX workbook; save the table as XLSX or CSV.")


def _refuse_declared(members: list[zipfile.ZipInfo]) -> None:
    total = sum(member.file_size for member in members)
    if total > MAX_UNPACKED_BYTES:
        raise _bomb(total)
    for member in members:
        _refuse_ratio(member, member.file_size)


def _bomb(total: int) -> FeedRefused:
    return refused(
        "unreadable",
        f"The workbook unpacks to {total / 1e6:,.0f} MB or more; expected at most {MAX_UNPACKED_BYTES / 1e6:,.0f} MB. "
        "Save large feeds as CSV.",
    )


def _refuse_ratio(member: zipfile.ZipInfo, size: int) -> None:
    if size > RATIO_COUNTS_FROM_BYTES and size > MAX_RATIO * max(1, member.compress_size):
        raise refused(
            "unreadable",
            f"The workbook's part {member.filename[:80]} unpacks to {size // max(1, member.compress_size):,} times "
            f"its size, as only a zip bomb does; {_BOMB}",
        )


def _refuse_actual(archive: zipfile.ZipFile, members: list[zipfile.ZipInfo]) -> None:
    """Unpack every part once, counting: a declared size may be a lie."""
    total = 0
    for member in members:
        if member.is_dir():
            continue
        # zipfile stops at the declared size; the reader behind us might not.
        honest = copy.copy(member)
        honest.file_size = MAX_UNPACKED_BYTES + 2 * _CHUNK
        farthest = _Farthest() if member.filename.startswith("xl/worksheets/") else None
        size = 0
        with archive.open(honest) as part:
            while chunk := part.read(_CHUNK):
                size += len(chunk)
                if total + size > MAX_UNPACKED_BYTES:
                    raise _bomb(total + size)
                _refuse_ratio(member, size)
                if farthest:
                    farthest.look(chunk)
        total += size


class _Farthest:
    """Follows the outermost row and column that a sheet's XML names, over chunk borders."""

    def __init__(self) -> None:
        self.rest = b""
        self.row = self.column = 0

    def look(self, chunk: bytes) -> None:
        piece = self.rest + chunk
        self.rest = piece[-64:]
        for letters in {match.group(1) for match in _CELL.finditer(piece)}:
            index = 0
            for character in letters:
                index = index * 26 + character - 64
            self.column = max(self.column, index)
        # Rows come in order, but nothing forces a hostile file to.
        for pattern, group in ((_ROW, 1), (_CELL, 2)):
            self.row = max(self.row, max((int(match.group(group)) for match in pattern.finditer(piece)), default=0))
        if self.row * self.column > MAX_CELLS:
            raise refused(
                "unreadable",
                f"The sheet reaches to row {self.row:,} and column {self.column:,}, which are more than {MAX_CELLS:,} "
                "cells; expected no cells far out. Delete what is beyond the table, or save it as CSV.",
            )


def _records(sheet: python_calamine.CalamineSheet) -> Iterator[Record]:
    offset = [""] * (sheet.start[1] if sheet.start else 0)
    for row, cells in enumerate(sheet.iter_rows(), start=1):
        yield row, offset + [_text(cell) for cell in cells]


def _text(value: Any) -> str:
    """A cell as text. Whole numbers below 10¹⁵ have no point; larger ones show that a spreadsheet has rounded them."""
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (int, float)):
        return _number(value)
    if isinstance(value, datetime.datetime):
        return Dated(value.date().isoformat() if value.time() == datetime.time() else value.isoformat(" "))
    if isinstance(value, (datetime.date, datetime.time)):
        return Dated(value.isoformat())
    return str(value)


def _number(value: int | float) -> Number:
    if abs(value) >= 1e15:
        return Number(f"{Decimal(repr(value)).normalize():E}")
    if value == int(value):
        return Number(int(value))
    return Number(format(Decimal(repr(value)), "f"))
