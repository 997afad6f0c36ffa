"""Tests of delimited text: every delimiter and encoding that spreadsheets write, and files that are not tables."""

from __future__ import annotations

import csv
import io
import zlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from campaigns.feeds import csv_file
from tests.support.feed_files import REAL, needs_real_feeds, only_issue, opened, parsed

TABLE = "sku,name,colour\n007,Müslischale „Grün“,grün\n008,Teller,weiß\n"


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
@pytest.mark.parametrize(
    "encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "cp1252"], ids=lambda name: name
)
def test_delimiter_and_encoding_are_recognised(delimiter: str, encoding: str) -> None:
    rows, issues = parsed(TABLE.replace(",", delimiter).encode(encoding))
    assert not issues
    assert [(row.row, row.key, row.name, row.attributes["colour"]) for row in rows] == [
        (2, "007", "Müslischale „Grün“", "grün"),
        (3, "008", "Teller", "weiß"),
    ]


def test_utf16_with_a_big_endian_mark_is_read() -> None:
    rows, _ = parsed(b"\xfe\xff" + TABLE.encode("utf-16-be"))
    assert rows[0].name == "Müslischale „Grün“"


@pytest.mark.parametrize("line_end", ["\n", "\r\n", "\r"])
def test_line_ends_of_every_system_are_read(line_end: str) -> None:
    rows, issues = parsed(TABLE.replace("\n", line_end))
    assert (len(rows), issues) == (2, [])


def test_the_dialect_says_what_was_detected() -> None:
    assert opened(TABLE.replace(",", ";").encode("cp1252")).dialect == {
        "format": "csv",
        "encoding": "cp1252",
        "delimiter": ";",
        "byte_order_mark": False,
        "encoding_examples": ["Müslischale „Grün“", "grün", "weiß"],
        "layout": "generic",
        "header_row": 1,
        "columns": ["sku", "name", "colour"],
    }


def test_a_sep_line_is_obeyed_and_not_counted_as_a_row() -> None:
    rows, issues = parsed("sep=;\nsku;name, long\n1;x\n".replace("name, long", "name"))
    assert (rows[0].row, issues) == (2, [])


def test_commas_in_a_semicolon_table_do_not_mislead() -> None:
    rows, issues = parsed("sku;name;description\n1;Mug;a, b, c, d\n2;Cup;e, f, g, h\n")
    assert not issues
    assert rows[0].attributes["description"] == "a, b, c, d"


def test_rows_are_counted_as_a_spreadsheet_counts_them() -> None:
    rows, _ = parsed('sku,name,description\n1,Mug,"two\nlines"\n\n2,Cup,x\n')
    assert [(row.key, row.row) for row in rows] == [("1", 2), ("2", 4)]


def test_a_byte_of_another_encoding_is_named_with_its_cell() -> None:
    issue = only_issue("sku,name\n1,Größe\n2,Schön\n3,Übel\n".encode() + b"4,Caf\xe9\n")
    assert (issue.row, issue.cell, issue.cause) == (5, "B5", "control_character")
    assert "0xE9" in issue.message


def test_a_multibyte_character_on_the_border_of_two_reads_is_utf8() -> None:
    padding = "x" * ((1 << 20) - len("sku,name\n1,") - 1)
    assert opened(f"sku,name\n1,{padding}ü\n").dialect["encoding"] == "utf-8"


def test_a_utf16_file_that_is_cut_off_is_refused() -> None:
    issue = only_issue(TABLE.encode("utf-16")[:-1])
    assert issue.cause == "unreadable"
    assert "cut off" in issue.message


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "is empty"),
        (b"\xef\xbb\xbf", "is empty"),
        (b"\n\n  \n", "is empty"),
        (b"%PDF-1.7\n%\xe2\xe3", "PDF"),
        (b"\x89PNG\r\n\x1a\n\x00\x00", "PNG"),
        (b"\xff\xd8\xff\xe0\x00\x10JFIF", "JPEG"),
        (b"GIF89a\x01\x00", "GIF"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(100), ".xls"),
        (b"\x1f\x8b\x08" + bytes(20), "gzip"),
        (b"<!DOCTYPE html><html><body>Log in</body></html>", "web page"),
        (b"\xef\xbb\xbf  <html>", "web page"),
        (b'<?xml version="1.0"?><products/>', "no list of products in this XML"),
        (b'<?xml version="1.0"?><svg width="1"/>', "SVG"),
        (b'{"products": []}', "no list of items in this JSON"),
        (zlib.compress(bytes(range(256)) * 40), "not text"),
        (bytes(range(256)) * 8, "not text"),
        ("sku,name\n1,x\n".encode("utf-32"), "UTF-32"),
    ],
)
def test_what_is_not_a_table_is_refused_by_its_name(data: bytes, words: str) -> None:
    issue = only_issue(data)
    assert issue.cause == "unreadable"
    assert words in issue.message


def test_a_header_without_rows_is_refused() -> None:
    assert only_issue("sku,name\n").cause == "no_rows"
    assert only_issue("sku,name\n,\n").cause == "no_rows"


def test_missing_columns_are_all_named_with_the_headings_that_would_do() -> None:
    _, issues = parsed("colour,price\nsage,1\n")
    assert [issue.cause for issue in issues] == ["column_missing", "column_missing"]
    assert "sku, article_number" in issues[0].message
    assert "name, title" in issues[1].message
    assert "colour, price" in issues[0].message


def test_a_heading_that_stands_twice_is_refused() -> None:
    issue = only_issue("sku,name,Colour,colour\n1,x,a,b\n")
    assert (issue.cause, issue.cell, issue.column) == ("column_twice", "D1", "colour")


def test_a_heading_that_is_no_text_or_endless_is_refused() -> None:
    issue = only_issue("sku,na\x00me,x\n1,Mug,y\n")
    assert (issue.cell, issue.cause) == ("B1", "control_character")
    assert only_issue(f"sku,name,{'x' * 300}\n1,Mug,y\n").cause == "too_long"


def test_a_value_without_heading_is_an_issue_and_an_empty_column_is_none() -> None:
    assert not parsed("sku,name,,\n1,x,,\n")[1]
    assert not parsed("sku,,name\n1,,x\n")[1]
    issue = only_issue("sku,,name\n1,lost,x\n")
    assert (issue.cell, issue.cause) == ("B2", "column_unnamed")


def test_a_short_row_and_a_long_row_are_named() -> None:
    _, issues = parsed("sku,name,colour\n1,Mug\n2,Cup,red,extra\n3,Jar,blue,,\n")
    assert [(issue.cell, issue.cause, issue.value) for issue in issues] == [
        ("C2", "ragged", ""),
        ("D3", "ragged", "extra"),
    ]


def test_a_quote_that_never_closes_is_named_with_its_row() -> None:
    issue = only_issue('sku,name\n1,Mug\n2,"Cup\n3,Jar\n')
    assert (issue.row, issue.cause) == (3, "quote")


def test_a_quote_inside_a_quoted_cell_is_named_with_its_row() -> None:
    rows, issues = parsed('sku,name\n1,Mug\n2,"15" bowl"\n3,x\n')
    assert [row.key for row in rows] == ["1"]
    assert [(issue.row, issue.cause) for issue in issues] == [(3, "quote")]


def test_a_huge_cell_is_an_issue_and_reading_goes_on() -> None:
    rows, issues = parsed(f"sku,name,text\n1,Mug,{'x' * 40_000}\n2,Cup,y\n")
    assert [(issue.cell, issue.cause) for issue in issues] == [("C2", "cell_too_large")]
    assert "40,000" in issues[0].message
    assert len(issues[0].value) == 60
    assert [row.key for row in rows] == ["2"]


@pytest.mark.parametrize("data", ["sku,name\n1," + "x" * 200_000, "sku,name\n1," + "x" * (csv_file.MAX_LINE + 5)])
def test_a_cell_beyond_every_bound_ends_the_reading(data: str) -> None:
    assert only_issue(data).cause == "cell_too_large"


def test_a_file_that_is_one_endless_line_is_refused_without_reading_it_all() -> None:
    class Endless(io.RawIOBase):
        given = 0

        def read(self, size: int = -1) -> bytes:
            assert size > 0, "read in pieces"
            self.given += size
            return b"a" * size if self.given < 3 * csv_file.MAX_LINE else b""

        def seek(self, place: int, whence: int = 0) -> int:
            self.given = place
            return place

        def seekable(self) -> bool:
            return True

    from campaigns.feeds import FeedRefused, open_feed

    with pytest.raises(FeedRefused, match="longer than 1,048,576"):
        open_feed(Endless())  # type: ignore[arg-type]


@pytest.mark.parametrize("character", ["\x00", "\x07", "\x1b", "\x7f"])
def test_nul_and_control_characters_are_named_with_their_cell(character: str) -> None:
    issue = only_issue(f"sku,name,colour\n1,Mug,bl{character}ue\n")
    assert (issue.cell, issue.column, issue.cause) == ("C2", "colour", "control_character")
    assert character not in issue.value


@settings(max_examples=150, deadline=None)
@given(
    cells=st.lists(
        st.lists(
            st.text(
                st.characters(codec="utf-8", exclude_categories=("Cc", "Cs")) | st.sampled_from('\n",;\t |'),
                max_size=30,
            ),
            min_size=3,
            max_size=3,
        ),
        max_size=8,
    ),
    delimiter=st.sampled_from(",;\t|"),
    encoding=st.sampled_from(["utf-8", "utf-8-sig", "utf-16"]),
    line_end=st.sampled_from(["\n", "\r\n"]),
)
def test_every_cell_that_a_spreadsheet_writes_comes_back(
    cells: list[list[str]], delimiter: str, encoding: str, line_end: str
) -> None:
    written = io.StringIO(newline="")
    writer = csv.writer(written, delimiter=delimiter, lineterminator=line_end)
    writer.writerow(["sku", "name", "colour"])
    writer.writerows(cells)
    dialect, records = csv_file.read(io.BytesIO(written.getvalue().encode(encoding)))
    assert dialect["delimiter"] == delimiter
    assert [list(row) for _, row in records] == [["sku", "name", "colour"], *cells]


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=400))
def test_no_bytes_raise_anything_but_a_refusal(data: bytes) -> None:
    parsed(data)
    parsed(b"sku,name\n1," + data)


@needs_real_feeds
def test_a_real_export_with_line_breaks_in_cells_keeps_its_row_numbers() -> None:
    rows, issues = parsed((REAL / "magento-bags.csv").read_bytes())
    assert not issues
    assert [row.row for row in rows] == list(range(2, 16))
    assert rows[0].key == "24-MB01"
    assert rows[0].attributes["price"] == "34.00"


@needs_real_feeds
def test_a_real_list_of_images_belongs_to_products_by_sku() -> None:
    rows, issues = parsed((REAL / "magento-bags-images.csv").read_bytes())
    assert not issues
    assert [(row.parent_key, row.photos[0]["position"], row.photos[0]["role"]) for row in rows[1:3]] == [
        ("24-MB04", 1, "front"),
        ("24-MB04", 2, "angle"),
    ]
