"""Reads the first visible sheet of an XLSX workbook into records, after making sure that opening it is harmless.

A workbook is a ZIP archive of XML. python-calamine reads it fast, but into memory, as a full rectangle: so what it
unpacks to and the farthest cell are measured first, from the packed bytes themselves and not from what they declare,
and it works in a process of its own with limits (xlsx_child.py), so that what the measuring overlooks harms nobody.
"""

from __future__ import annotations

import contextlib
import copy
import json
import re
import shutil
import subprocess
import sys
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from campaigns.feeds.base import Dated, FeedRefused, Number, Record, refused
from campaigns.feeds.cells import visible

MAX_UNPACKED_BYTES = 256 * 1024 * 1024
MAX_RATIO = 200
RATIO_COUNTS_FROM_BYTES = 16 * 1024 * 1024
MAX_MEMBERS = 2000
MAX_CELLS = 6_000_000
_CELL = re.compile(rb"""\br\s*=\s*["']([A-Z]{1,4})([0-9]{1,19})["']""")
_ROW = re.compile(rb"""<row\b[^>]*?\br\s*=\s*["']([0-9]{1,19})["']""")
_TYPES = {"n": Number, "d": Dated}
_CHUNK = 1 << 20
_CHILD = str(Path(__file__).with_name("xlsx_child.py"))
_BOMB = "expected a workbook as a spreadsheet saves it. Save it again, or as CSV."


def read(stream: IO[bytes]) -> tuple[dict[str, Any], Iterator[Record]]:
    """What was detected, and the records; raises FeedRefused for what is no workbook or not safe to open."""
    _guard(stream)
    stream.seek(0)
    child = subprocess.Popen(
        [sys.executable, "-P", _CHILD], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )  # fmt: skip
    assert child.stdin and child.stdout
    # A child that died early is noticed by what it does not answer.
    with contextlib.suppress(BrokenPipeError):
        shutil.copyfileobj(stream, child.stdin, _CHUNK)
    with contextlib.suppress(BrokenPipeError):
        child.stdin.close()
    answer = json.loads(child.stdout.readline() or "{}")
    if "sheet" not in answer:
        _end(child)
        reason = answer.get("error", "reading it took too much memory or time")
        raise refused("unreadable", f"The workbook cannot be read: {reason}. Save it again, or as CSV.")
    return {"format": "xlsx", "sheet": visible(answer["sheet"])}, _records(child)


def _end(child: subprocess.Popen[bytes]) -> int:
    child.kill()
    assert child.stdout
    child.stdout.close()
    return child.wait()


def _records(child: subprocess.Popen[bytes]) -> Iterator[Record]:
    assert child.stdout
    row = 0
    try:
        for row, line in enumerate(child.stdout, start=1):
            yield row, [cell if isinstance(cell, str) else _TYPES[cell[0]](cell[1]) for cell in json.loads(line)]
        if child.wait() != 0:
            message = f"The workbook cannot be read beyond row {row}: it took too much memory or time. Save it as CSV."
            raise refused("unreadable", message, row=row)
    finally:
        _end(child)


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
