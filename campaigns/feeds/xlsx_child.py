"""Run as a program of its own: reads a workbook from standard input, writes its first visible sheet as JSON lines.

The XLSX reader is native code: a hostile workbook can make it ask for more memory than there is, which aborts the
process. So it works in one that has nothing to lose, with limits on memory and time. First line: {"sheet": name} or
{"error": sentence}; then one list per row: text cells as strings, numbers as ["n", text], dates as ["d", text].
"""

from __future__ import annotations

import datetime
import io
import json
import resource
import sys
from decimal import Decimal
from typing import Any

import python_calamine

MEMORY_BYTES = 2 << 30
CPU_SECONDS = 120


def main() -> None:
    resource.setrlimit(resource.RLIMIT_CPU, (CPU_SECONDS, CPU_SECONDS))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    # macOS knows the limit and refuses to set it.
    if sys.platform == "linux":
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    try:
        sheet = first_sheet(sys.stdin.buffer.read())
    except python_calamine.PasswordError:
        say({"error": "it is protected by a password; save it without one"})
        return
    except (python_calamine.CalamineError, OSError, ValueError, LookupError, MemoryError) as error:
        say({"error": str(error)[:200] or type(error).__name__})
        return
    say({"sheet": sheet.name})
    offset = [""] * (sheet.start[1] if sheet.start else 0)
    for cells in sheet.iter_rows():
        say(offset + [plain(cell) for cell in cells])


def say(value: Any) -> None:
    sys.stdout.write(json.dumps(value, ensure_ascii=True) + "\n")


def first_sheet(data: bytes) -> python_calamine.CalamineSheet:
    """The first visible worksheet; LookupError if there is none."""
    workbook = python_calamine.CalamineWorkbook.from_filelike(io.BytesIO(data))
    for meta in workbook.sheets_metadata:
        is_worksheet = meta.typ == python_calamine.SheetTypeEnum.WorkSheet
        if is_worksheet and meta.visible == python_calamine.SheetVisibleEnum.Visible:
            return workbook.get_sheet_by_name(meta.name)
    raise LookupError("it has no visible sheet")


def plain(value: Any) -> str | list[str]:
    """One cell. Whole numbers below 10¹⁵ have no point; larger ones show that a spreadsheet has rounded them."""
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (int, float)):
        return ["n", number(value)]
    if isinstance(value, datetime.datetime):
        return ["d", value.date().isoformat() if value.time() == datetime.time() else value.isoformat(" ")]
    if isinstance(value, (datetime.date, datetime.time)):
        return ["d", value.isoformat()]
    return str(value)


def number(value: int | float) -> str:
    if value != value or abs(value) >= 1e15:
        return f"{Decimal(repr(value)).normalize():E}"
    return str(int(value)) if value == int(value) else format(Decimal(repr(value)), "f")


if __name__ == "__main__":
    main()
