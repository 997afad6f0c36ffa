"""Reads the first visible sheet of an XLSX workbook into records; workbook_reader.py runs in a limited process."""

from __future__ import annotations

from collections.abc import Iterator
from typing import IO, Any

from campaigns.feeds.base import DateText, NumberText, Record, file_refusal
from campaigns.feeds.cells import mark_unprintable
from core import parsing

#: The fields of workbook_reader.WorkbookLimits.
MEASURES = {
    "unpacked_bytes": 256 << 20, "ratio": 200, "ratio_counts_from_bytes": 16 << 20, "members": 2000, "cells": 6_000_000
}  # fmt: skip
LIMITS = parsing.Limits(memory_bytes=768 << 20, cpu_seconds=120, seconds=300)
_TYPES = {"n": NumberText, "d": DateText}


def read(stream: IO[bytes]) -> tuple[dict[str, Any], Iterator[Record]]:
    """Return what was detected, and the records; raises FeedRefused for a file that is no workbook or unsafe."""
    size = stream.seek(0, 2)
    if size > MEASURES["unpacked_bytes"]:  # it unpacks to no less
        raise file_refusal(f"The workbook has {size / 1e6:,.0f} MB. Save large feeds as CSV.")
    answers = parsing.stream_task("campaigns.feeds.workbook_reader:read", MEASURES, [stream], limits=LIMITS)
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
