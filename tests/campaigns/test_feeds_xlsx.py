"""Tests of workbooks: cells become the intended text, and dangerous files are found before they are opened."""

from __future__ import annotations

import io
import struct
import zipfile

import pytest
from python_calamine import CalamineWorkbook

from campaigns.feeds import annotating, xlsx_file
from campaigns.feeds.annotating import AnnotatedRow
from campaigns.feeds.base import Header, NumberText
from tests.support.feed_files import only_issue, opened, parsed, xlsx

HEADER = ["sku", "name", "price"]


def test_numbers_become_the_text_that_was_meant() -> None:
    rows, issues = parsed(xlsx([HEADER, [12345.0, "Mug", 12.9], ["007", "Cup", 1.234], [4006381333931.0, "Jar", 5]]))
    assert not issues
    assert [(row.row, row.key, row.attributes["price"]) for row in rows] == [
        (2, "12345", "12.90"),
        (3, "007", "1.234"),
        (4, "4006381333931", "5.00"),
    ]


def test_a_number_with_more_digits_than_a_spreadsheet_keeps_is_refused_as_sku() -> None:
    issue = only_issue(xlsx([HEADER, ["1", "Mug", 1], [4.0e30, "Cup", 1]]))
    assert (issue.cell, issue.value, issue.cause) == ("A3", "4E+30", "key_scientific")
    assert only_issue(xlsx([HEADER, [1234567890123456.0, "Cup", 1]])).cause == "key_scientific"


def test_a_sku_typed_as_scientific_text_is_refused_too() -> None:
    assert only_issue(xlsx([HEADER, ["4.0E+12", "Cup", 1]])).cell == "A2"


def test_a_fractional_number_is_no_sku() -> None:
    assert only_issue(xlsx([HEADER, [1.5, "Cup", 1]])).cause == "key_unreadable"


def test_a_table_that_begins_further_in_keeps_its_cell_names() -> None:
    sheet = xlsx([[], [], HEADER, ["1", "Mug", "x"]], first_column=2)
    issue = only_issue(sheet)
    assert (issue.row, issue.cell, issue.column) == (4, "E4", "price")
    assert opened(sheet).dialect["header_row"] == 3


def test_a_wide_table_names_its_columns_with_two_letters() -> None:
    header = ["sku", "name", *(f"note {number}" for number in range(24)), "price"]
    assert only_issue(xlsx([header, ["1", "Mug", *["x"] * 24, "abc"]])).cell == "AA2"


def test_a_nul_character_in_a_workbook_is_named() -> None:
    assert only_issue(xlsx([HEADER, ["1", "M_x0000_ug", 1]])).cause == "control_character"


def test_what_only_looks_like_a_workbook_is_refused_by_its_name() -> None:
    for members, words in (
        (["a.txt"], "a ZIP archive"), (["mimetype", "content.xml"], "OpenDocument"),
        (["word/document.xml"], "Word"), (["xl/workbook.bin"], ".xlsb"),
    ):  # fmt: skip
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w") as archive:
            for name in members:
                archive.writestr(name, "x")
        assert words in only_issue(buffer.getvalue()).message


def test_a_damaged_workbook_is_refused() -> None:
    whole = xlsx([HEADER, ["1", "Mug", 1]])
    assert only_issue(whole[: len(whole) // 2]).cause == "unreadable"
    broken = bytearray(whole)
    broken[700:740] = bytes(40)
    assert only_issue(bytes(broken)).cause == "unreadable"


def test_a_zip_bomb_is_refused_before_it_is_unpacked() -> None:
    issue = only_issue(_with_member(b"<row/>" * 6_000_000))
    assert issue.cause == "unreadable"
    assert "zip bomb" in issue.message


def test_a_bomb_that_lies_about_its_size_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    honest = _with_member(bytes(range(256)) * 8192)
    monkeypatch.setitem(xlsx_file.MEASURES, "unpacked_bytes", 1_000_000)
    lying = honest.replace(struct.pack("<L", 256 * 8192), struct.pack("<L", 1000))
    assert lying != honest
    with zipfile.ZipFile(io.BytesIO(lying)) as archive:
        assert sum(member.file_size for member in archive.infolist()) < 1_000_000
    issue = only_issue(lying)
    assert "unpacks to" in issue.message


def test_a_cell_far_out_does_not_make_a_gigantic_rectangle() -> None:
    far = '<row r="1048576"><c r="XFD1048576"><v>1</v></c></row>'
    sheet = '<row r="1"><c r="A1" t="inlineStr"><is><t>sku</t></is></c></row>' + far
    issue = only_issue(xlsx([], sheet=sheet))
    assert "column 16,384" in issue.message


@pytest.mark.parametrize("place", ['r="B3999999999"', "r='B3999999999'", 'r = "XFD900000"'])
def test_a_cell_far_out_is_found_however_it_is_written(place: str) -> None:
    sheet = f'<row r="1"><c r="A1"><v>1</v></c></row><row r="2"><c {place}><v>1</v></c></row>'
    assert "no cells far out" in only_issue(xlsx([], sheet=sheet)).message


def test_a_workbook_that_kills_its_reader_does_not_kill_the_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(xlsx_file.MEASURES, "cells", 10**12)
    sheet = '<row r="1"><c r="A1"><v>1</v></c></row><row r="2"><c r="B3999999999"><v>1</v></c></row>'
    issue = only_issue(xlsx([], sheet=sheet))
    assert issue.cause == "unreadable"
    assert "memory" in issue.message


def test_an_empty_workbook_is_refused() -> None:
    assert "empty" in only_issue(xlsx([])).message


def _with_member(data: bytes) -> bytes:
    buffer = io.BytesIO(xlsx([HEADER, ["1", "Mug", 1]]))
    with zipfile.ZipFile(buffer, "a", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("xl/media/thing.xml", data)
    return buffer.getvalue()


def test_a_written_workbook_holds_text_as_text_and_what_excel_can_open() -> None:
    stream = io.BytesIO()
    header = Header(1, ("sku", "name"), ("sku", "name"))
    cells = ("=A1", "_x0041_", NumberText("12.50"), "a\rb", "x" * 40_000, "\ud800\x01")
    annotating.as_workbook(stream, header, [AnnotatedRow(3, cells, ())], sheet="'A/B'", same_rows=True)
    stream.seek(0)
    sheet = CalamineWorkbook.from_filelike(stream).get_sheet_by_name("A B")
    assert sheet.to_python()[2][:6] == ["=A1", "_x0041_", 12.5, "a\rb", "x" * 32_767, "\ufffd\ufffd"]
