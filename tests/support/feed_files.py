"""Feed files for tests: a minimal XLSX writer, short readers, and the folder of real feeds where it exists."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterable
from typing import Any
from xml.sax.saxutils import escape

import pytest

from campaigns.feeds import Feed, FeedRefused, FeedRow, Issue, open_feed
from campaigns.feeds.base import column_letter
from config.env import ROOT

REAL = ROOT.parent / "shared" / "data" / "feeds"
needs_real_feeds = pytest.mark.skipif(not REAL.is_dir(), reason=f"the real feeds are not in {REAL}")

_MAIN = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
_OFFICE = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
_PACKAGE = "http://schemas.openxmlformats.org/package/2006"
_PARTS = {
    "[Content_Types].xml": f'<Types xmlns="{_PACKAGE}/content-types"><Default Extension="rels" ContentType='
    '"application/vnd.openxmlformats-package.relationships+xml"/><Default Extension="xml" ContentType='
    '"application/xml"/></Types>',
    "_rels/.rels": f'<Relationships xmlns="{_PACKAGE}/relationships"><Relationship Id="r1" '
    f'Type="{_OFFICE}/officeDocument" Target="xl/workbook.xml"/></Relationships>',
    "xl/workbook.xml": f'<workbook xmlns="{_MAIN}" xmlns:r="{_OFFICE}"><sheets><sheet name="Products" sheetId="1" '
    'r:id="r1"/></sheets></workbook>',
    "xl/_rels/workbook.xml.rels": f'<Relationships xmlns="{_PACKAGE}/relationships"><Relationship Id="r1" '
    f'Type="{_OFFICE}/worksheet" Target="worksheets/sheet1.xml"/></Relationships>',
}


_STYLES = (
    f'<styleSheet xmlns="{_MAIN}"><cellXfs count="2"><xf numFmtId="0"/><xf numFmtId="14" applyNumberFormat="1"/>'
    "</cellXfs></styleSheet>"
)


def xlsx(
    rows: Iterable[Iterable[str | float | None]], *, sheet: str = "", first_column: int = 0, styles: bool = False
) -> bytes:
    """Return a workbook of one sheet, with text cells as inline strings and numbers as numbers.

    `sheet` replaces the rows' XML; with `styles`, its cells of style 1 are dates.
    """
    body = sheet or "".join(
        f'<row r="{number}">{"".join(_cell(value, number, at) for at, value in enumerate(row, first_column))}</row>'
        for number, row in enumerate(rows, start=1)
    )
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, text in _PARTS.items():
            archive.writestr(name, text)
        if styles:
            archive.writestr("xl/styles.xml", _STYLES)
        archive.writestr(
            "xl/worksheets/sheet1.xml", f'<worksheet xmlns="{_MAIN}"><sheetData>{body}</sheetData></worksheet>'
        )
    return buffer.getvalue()


def _cell(value: str | float | None, row: int, index: int) -> str:
    place = f"{column_letter(index)}{row}"
    if value is None:
        return ""
    if isinstance(value, str):
        return f'<c r="{place}" t="inlineStr"><is><t xml:space="preserve">{escape(value)}</t></is></c>'
    return f'<c r="{place}"><v>{value!r}</v></c>'


def opened(data: bytes | str, **options: Any) -> Feed:
    return open_feed(io.BytesIO(data.encode() if isinstance(data, str) else data), **options)


def parsed(data: bytes | str, **options: Any) -> tuple[list[FeedRow], list[Issue]]:
    """Return all rows and issues of a feed; a refusal of the whole feed counts as issues."""
    rows: list[FeedRow] = []
    issues: list[Issue] = []
    try:
        for item in opened(data, **options).rows():
            (issues if isinstance(item, Issue) else rows).append(item)  # type: ignore[arg-type]
    except FeedRefused as refusal:
        issues += refusal.issues
    return rows, issues


def only_issue(data: bytes | str, **options: Any) -> Issue:
    _, issues = parsed(data, **options)
    assert len(issues) == 1, issues
    return issues[0]
