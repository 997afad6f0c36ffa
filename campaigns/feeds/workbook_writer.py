"""Writes a workbook of one sheet, a row at a time: text as text, so that no cell can become a formula."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from typing import IO

import xlsxwriter

from campaigns.feeds.base import NumberText

_FORBIDDEN = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_NUMBER = re.compile(r"-?\d{1,15}(\.\d+)?")
_NOT_IN_A_NAME = re.compile(r"[\[\]:*?/\\]")


class Workbook:
    """A workbook: `write` the rows, then `close`. Memory holds one row at a time."""

    def __init__(self, stream: IO[bytes], *, sheet: str) -> None:
        self._book = xlsxwriter.Workbook(stream, {"constant_memory": True})
        self._sheet = self._book.add_worksheet(_NOT_IN_A_NAME.sub(" ", sheet).strip(" '")[:31].rstrip("'") or "Sheet1")
        self._sheet.freeze_panes(1, 0)
        self._bold = self._book.add_format({"bold": True})
        self._wrong = self._book.add_format({"bg_color": "#FBD5D1"})
        self._row = 0

    def write(
        self, row: Sequence[str], *, number: int = 0, wrong: Collection[int] = (), is_heading: bool = False
    ) -> None:
        """Write the next row, or the row with this number (never before an earlier one).

        Cells with an index in `wrong` are marked. Dates and everything else that is not a number are text.
        """
        self._row = max(self._row + 1, number)
        for at, text in enumerate(row):
            style = self._bold if is_heading else self._wrong if at in wrong else None
            if isinstance(text, NumberText) and _NUMBER.fullmatch(text):
                self._sheet.write_number(self._row - 1, at, float(text), style)
            elif text:
                self._sheet.write_string(self._row - 1, at, _FORBIDDEN.sub("\ufffd", text), style)

    def close(self) -> None:
        self._book.close()
