"""Reads the first visible sheet of an XLSX workbook into records; workbook_reader.py runs in a limited process."""

from __future__ import annotations

from collections.abc import Iterator
from typing import IO, Any

from campaigns.feeds.base import DateText, NumberText, Record, file_refusal
from campaigns.feeds.cells import mark_unprintable
from core import parsing

MAX_UNPACKED_BYTES = 256 * 1024 * 1024
MAX_RATIO = 200
RATIO_COUNTS_FROM_BYTES = 16 * 1024 * 1024
MAX_MEMBERS = 2000
MAX_CELLS = 6_000_000
LIMITS = parsing.Limits(memory_bytes=768 << 20, cpu_seconds=120, seconds=300)
_TYPES = {"n": NumberText, "d": DateText}


def read(stream: IO[bytes]) -> tuple[dict[str, Any], Iterator[Record]]:
    """Return what was detected, and the records; raises FeedRefused for a file that is no workbook or unsafe."""
    size = stream.seek(0, 2)
    if size > MAX_UNPACKED_BYTES:  # it unpacks to no less
        raise file_refusal("unreadable", f"The workbook has {size / 1e6:,.0f} MB. Save large feeds as CSV.")
    measures = {
        "unpacked_bytes": MAX_UNPACKED_BYTES, "ratio": MAX_RATIO, "members": MAX_MEMBERS, "cells": MAX_CELLS,
        "ratio_counts_from_bytes": RATIO_COUNTS_FROM_BYTES,
    }  # fmt: skip
    answers = parsing.stream_task("campaigns.feeds.workbook_reader:read", measures, [stream], limits=LIMITS)
    try:
        first = next(answers).value
    except (parsing.Exceeded, parsing.Broken):
        message = "The workbook cannot be read: reading it took too much memory or time. Save it again, or as CSV."
        raise file_refusal("unreadable", message) from None
    if "refused" in first:
        raise file_refusal("unreadable", first["refused"])
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
        raise file_refusal("unreadable", message, row=row) from None
