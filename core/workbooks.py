"""Texts in workbooks (XLSX): no cell runs as a formula, and no character or length makes the file unreadable."""

from __future__ import annotations

import re

from xlsxwriter.format import Format
from xlsxwriter.worksheet import Worksheet

MAX_CELL = 32_767
"""Characters that a cell can hold."""
MAX_ROWS = 1_048_576
"""Rows that a sheet can hold, the headings included."""
MAX_NUMBER = 10**15
"""Whole numbers from here on, such as some seeds, lose digits in a cell; they are written as text."""
_FORBIDDEN = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def write_text(sheet: Worksheet, row: int, column: int, text: str, style: Format | None = None) -> None:
    """Write a text into a cell, counted from 0. Characters that XML forbids are replaced; a longer text is cut."""
    sheet.write_string(row, column, _FORBIDDEN.sub("\ufffd", text)[:MAX_CELL], style)
