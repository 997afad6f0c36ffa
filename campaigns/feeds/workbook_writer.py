"""Writes a workbook of one sheet, a row at a time: text as text, so that no cell can become a formula.

It uses only a small part of Office Open XML (ECMA-376): inline strings, numbers, and one style for wrong cells.
"""

from __future__ import annotations

import re
import zipfile
from collections.abc import Collection, Sequence
from typing import IO
from xml.sax.saxutils import escape

from campaigns.feeds.base import NumberText, column_letter

_MAIN = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
_OFFICE = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
_PACKAGE = "http://schemas.openxmlformats.org/package/2006"
_TYPE = "application/vnd.openxmlformats-officedocument.spreadsheetml"
_HEAD = '<?xml version="1.0" encoding="UTF-8" standalone="yes"?>\n'
_PLAIN, _BOLD, _WRONG = 0, 1, 2
_PARTS = {
    "[Content_Types].xml": f'<Types xmlns="{_PACKAGE}/content-types"><Default Extension="rels" ContentType='
    '"application/vnd.openxmlformats-package.relationships+xml"/><Default Extension="xml" ContentType='
    f'"application/xml"/><Override PartName="/xl/workbook.xml" ContentType="{_TYPE}.sheet.main+xml"/><Override '
    f'PartName="/xl/worksheets/sheet1.xml" ContentType="{_TYPE}.worksheet+xml"/><Override PartName="/xl/styles.xml" '
    f'ContentType="{_TYPE}.styles+xml"/></Types>',
    "_rels/.rels": f'<Relationships xmlns="{_PACKAGE}/relationships"><Relationship Id="r1" '
    f'Type="{_OFFICE}/officeDocument" Target="xl/workbook.xml"/></Relationships>',
    "xl/workbook.xml": f'<workbook xmlns="{_MAIN}" xmlns:r="{_OFFICE}"><sheets><sheet name="%(sheet)s" sheetId="1" '
    'r:id="r1"/></sheets></workbook>',
    "xl/_rels/workbook.xml.rels": f'<Relationships xmlns="{_PACKAGE}/relationships"><Relationship Id="r1" '
    f'Type="{_OFFICE}/worksheet" Target="worksheets/sheet1.xml"/><Relationship Id="r2" Type="{_OFFICE}/styles" '
    'Target="styles.xml"/></Relationships>',
    "xl/styles.xml": f'<styleSheet xmlns="{_MAIN}"><fonts count="2"><font><sz val="11"/><name val="Calibri"/></font>'
    '<font><b/><sz val="11"/><name val="Calibri"/></font></fonts><fills count="3"><fill><patternFill '
    'patternType="none"/></fill><fill><patternFill patternType="gray125"/></fill><fill><patternFill '
    'patternType="solid"><fgColor rgb="FFFBD5D1"/></patternFill></fill></fills><borders count="1"><border/></borders>'
    '<cellStyleXfs count="1"><xf/></cellStyleXfs><cellXfs count="3"><xf/><xf fontId="1" applyFont="1"/><xf fillId="2" '
    'applyFill="1"/></cellXfs></styleSheet>',
}
_FORBIDDEN = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_NUMBER = re.compile(r"-?\d{1,15}(\.\d+)?")
_NOT_IN_A_NAME = re.compile(r"[\[\]:*?/\\]")


class Workbook:
    """A workbook: `write` the rows, then `close`. The stream must be writable from its start."""

    def __init__(self, stream: IO[bytes], *, sheet: str) -> None:
        self._archive = zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED)
        name = escape(_NOT_IN_A_NAME.sub(" ", sheet).strip()[:31] or "Sheet1", {'"': "&quot;"})
        for part, text in _PARTS.items():
            self._archive.writestr(part, _HEAD + text.replace("%(sheet)s", name))
        self._sheet = self._archive.open("xl/worksheets/sheet1.xml", "w", force_zip64=True)
        self._sheet.write(
            f'{_HEAD}<worksheet xmlns="{_MAIN}"><sheetViews><sheetView workbookViewId="0"><pane ySplit="1" '
            'topLeftCell="A2" activePane="bottomLeft" state="frozen"/></sheetView></sheetViews><sheetData>'.encode()
        )
        self._row = 0

    def write(
        self, row: Sequence[str], *, number: int = 0, wrong: Collection[int] = (), is_heading: bool = False
    ) -> None:
        """Write the next row, or the row with this number (never before an earlier one).

        Cells with an index in `wrong` are marked. Dates and everything else that is not a number are text.
        """
        self._row = max(self._row + 1, number)
        style = [_BOLD if is_heading else _WRONG if index in wrong else _PLAIN for index in range(len(row))]
        cells = "".join(
            _cell(text, f"{column_letter(at)}{self._row}", style[at]) for at, text in enumerate(row) if text
        )
        self._sheet.write(f'<row r="{self._row}">{cells}</row>'.encode("utf-8", "replace"))

    def close(self) -> None:
        self._sheet.write(b"</sheetData></worksheet>")
        self._sheet.close()
        self._archive.close()


def _cell(text: str, place: str, style: int) -> str:
    if isinstance(text, NumberText) and _NUMBER.fullmatch(text):
        return f'<c r="{place}" s="{style}"><v>{text}</v></c>'
    plain = escape(_FORBIDDEN.sub("\ufffd", text)).replace("\r", "&#13;")
    return f'<c r="{place}" s="{style}" t="inlineStr"><is><t xml:space="preserve">{plain}</t></is></c>'
