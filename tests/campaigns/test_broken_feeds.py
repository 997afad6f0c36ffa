"""Tests of broken files as teams really send them: each gives the cause, the cell and a helpful message.

Odd but clear values are read as they were meant.
"""

from __future__ import annotations

import gzip
import io
import json
import struct
import zipfile
from collections.abc import Callable
from typing import Any

import pytest

from campaigns.feeds import CAUSES
from campaigns.models import FeedImport, Subject
from campaigns.services import imports
from core.models import Brand, User
from tests.support.feed_files import parsed, xlsx

SOUND = "sku,name,colour,price\n007,Müslischale,grün,12.90\n008,Teller,weiß,8.50\n"
HEADER = ["sku", "name", "price"]


def zipped(name: str, text: str) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(name, text)
    return buffer.getvalue()


def locked_workbook() -> bytes:
    """Return an OLE container with the two streams that Excel writes for a workbook with a password."""
    header = bytearray(512)
    header[:8] = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
    struct.pack_into("<HHHHH", header, 24, 0x3E, 3, 0xFFFE, 9, 6)
    struct.pack_into("<IIIIIIIII", header, 44, 1, 1, 0, 4096, 0xFFFFFFFE, 0, 0xFFFFFFFE, 0, 0)
    header[80:512] = b"\xff" * 432
    fat = struct.pack("<II", 0xFFFFFFFD, 0xFFFFFFFE) + b"\xff" * 504
    directory = b""
    for name, kind in (("Root Entry", 5), ("EncryptionInfo", 2), ("EncryptedPackage", 2), ("", 0)):
        raw = (name + "\0").encode("utf-16-le") if name else b""
        directory += raw.ljust(64, b"\0") + struct.pack("<HBB", len(raw), kind, 1) + bytes(60)
    return bytes(header) + fat + directory


ODD_BUT_SOUND: dict[str, bytes] = {
    "UTF-8": SOUND.encode(),
    "UTF-8 with byte-order mark": SOUND.encode("utf-8-sig"),
    "UTF-8 with two byte-order marks": b"\xef\xbb\xbf" + SOUND.encode("utf-8-sig"),
    "UTF-16 little-endian": SOUND.encode("utf-16"),
    "UTF-16 big-endian": b"\xfe\xff" + SOUND.encode("utf-16-be"),
    "UTF-16 without mark": SOUND.encode("utf-16-le"),
    "Windows-1252": SOUND.encode("cp1252"),
    "semicolons and decimal commas": SOUND.replace(".", "~").replace(",", ";").replace("~", ",").encode(),
    "tabs": SOUND.replace(",", "\t").encode(),
    "pipes": SOUND.replace(",", "|").encode(),
    "old Mac line ends": SOUND.replace("\n", "\r").encode(),
    "Windows line ends and empty lines": SOUND.replace("\n", "\r\n\r\n").encode(),
    "sep line": b"sep=,\n" + SOUND.encode(),
    "everything quoted": "".join(
        ",".join(f'"{cell}"' for cell in line.split(",")) + "\n" for line in SOUND.splitlines()
    ).encode(),
    "empty columns at the end": SOUND.replace("\n", ",,\n").encode(),
    "spaces around": SOUND.replace(",", " , ").encode(),
    "JSON": json.dumps({"products": [
        {"sku": "007", "name": "Müslischale", "colour": "grün", "price": 12.9},
        {"sku": "008", "name": "Teller", "colour": "weiß", "price": 8.5},
    ]}).encode(),
    "workbook": xlsx([["sku", "name", "colour", "price"], ["007", "Müslischale", "grün", 12.9],
                      ["008", "Teller", "weiß", 8.5]]),
}  # fmt: skip


@pytest.mark.parametrize("name", ODD_BUT_SOUND)
def test_files_that_are_only_unusual_are_read_as_intended(name: str) -> None:
    rows, issues = parsed(ODD_BUT_SOUND[name])
    assert not issues
    assert [(row.key, row.name, row.attributes) for row in rows] == [
        ("007", "Müslischale", {"colour": "grün", "price": "12.90"}),
        ("008", "Teller", {"colour": "weiß", "price": "8.50"}),
    ]


# name: (file, cause, cell, words of the sentence)
BROKEN: dict[str, tuple[bytes, str, str, str]] = {
    "nothing at all": (b"", "unreadable", "", "The file is empty"),
    "only line ends": (b"\xef\xbb\xbf\r\n\r\n", "unreadable", "", "The file is empty"),
    "headings only": (b"sku,name\n", "no_rows", "", "nothing below the headings in row 1"),
    "a log-in page": (
        b"<!DOCTYPE html>\n<html><head><title>Sign in</title></head></html>", "unreadable", "",
        "a log-in or error page that was saved in the file's place",
    ),
    "an error page in XHTML": (
        b'<?xml version="1.0"?>\n<!DOCTYPE html PUBLIC "-//W3C//DTD XHTML 1.0">\n<html><body>502</body></html>',
        "unreadable", "", "This is a web page",
    ),
    "a photo": (b"\xff\xd8\xff\xe0\x00\x10JFIF" + bytes(64), "unreadable", "", "This is a JPEG image"),
    "random bytes": (bytes((i * 37 + i // 7) % 256 for i in range(4000)), "unreadable", "", "This is not text"),
    "a cut gzip": (gzip.compress(SOUND.encode() * 50)[:80], "unreadable", "", "gzip archive; unpack it first"),
    "a ZIP with a CSV": (zipped("feed.csv", SOUND), "unreadable", "", "a ZIP archive, not an XLSX workbook"),
    "a cut workbook": (xlsx([HEADER, ["1", "Mug", 1]])[:700], "unreadable", "", "damaged or protected workbook"),
    "a workbook with a password": (locked_workbook(), "unreadable", "", "protected by a password; save it without"),
    "an old workbook": (
        b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(600), "unreadable", "", "old Excel workbook (.xls); save it as"
    ),
    "UTF-32": (SOUND.encode("utf-32"), "unreadable", "", "Save it as UTF-8"),
    "UTF-16 cut in a character": (SOUND.encode("utf-16")[:-1], "unreadable", "", "damaged or cut off"),
    "no SKU column": (b"name,price\nMug,1\n", "column_missing", "", "no column for the SKU; expected one of"),
    "no name column": (b"sku,price\n1,1\n", "column_missing", "", "no column for the name; expected one of"),
    "a heading twice": (b"sku,name,Price,price\n1,Mug,1,2\n", "column_twice", "D1", "already stands in C1"),
    "a title above the headings": (
        b"Autumn catalogue,,\nas of November,,\n\nsku,name,price\n1,Mug,1\n", "header_below", "A1",
        "they stand in row 4: sku, name, price. Delete the rows above it",
    ),
    "merged cells above the headings": (
        xlsx([["Product", None, "Shop"], HEADER, ["1", "Mug", 1]]), "header_below", "A1", "they stand in row 2"
    ),
    "a value without heading": (b"sku,,name\n1,lost,Mug\n", "column_unnamed", "B2", "expected a heading in row 1"),
    "a row that ends early": (b"sku,name,price\n1,Mug,1\n2,Cup\n", "ragged", "C3", "after 2 of 3 cells"),
    "a comma that needed quotes": (b"sku,name\n1,Mug\n2,Cup, red\n", "ragged", "C3", "needs quotes"),
    "a quote that never closes": (b'sku,name\n1,Mug\n2,"Cup\n3,Jar\n', "quote", "", "Row 3 begins a quoted cell"),
    "inches": (b'sku,name\n1,Mug\n2,"15" bowl"\n', "quote", "", "expected it doubled"),
    "a SKU as a number": (b"sku,name\n1,Mug\n4.0E+12,Cup\n", "key_scientific", "A3", "Format the column as Text"),
    "a SKU too long for a number": (
        xlsx([HEADER, [1234567890123456.0, "Mug", 1]]), "key_scientific", "A2", "digits are lost"
    ),
    "a fraction as SKU": (xlsx([HEADER, [1.5, "Mug", 1]]), "key_unreadable", "A2", "expected text or a whole number"),
    "a SKU over two lines": (b'sku,name\n"1\n2",Mug\n', "key_unreadable", "A2", "line break"),
    "a SKU without end": (b"sku,name\n" + b"x" * 256 + b",Mug\n", "too_long", "A2", "at most 255"),
    "no SKU in a row": (b"sku,name\n1,Mug\n,Cup\n", "key_missing", "A3", "the SKU is empty"),
    "no name in a row": (b"sku,name\n1,Mug\n2,\n", "name_missing", "B3", "the name is empty"),
    "a formula": (b'sku,name,note\n1,Mug,"=HYPERLINK(""http://x"")"\n', "formula", "C2", "Paste the value"),
    "a command": (b"sku,name\n1,+cmd|' /C calc'!A0\n", "formula", "B2", "is a formula"),
    "a price below zero": (b"sku,name,price\n1,Mug,\"-3,50\"\n", "price_negative", "C2", "below zero"),
    "a price with two meanings": (b'sku,name,price\n1,Mug,"1,234"\n', "price_ambiguous", "C2", "may be 1234 or 1.234"),
    "a price in words": (b"sku,name,price\n1,Mug,on request\n", "price_unreadable", "C2", "such as 12.90"),
    "a letter in a price": (b'sku;name;price\n1;Mug;12,9o \xe2\x82\xac\n', "price_unreadable", "C2", "“12,9o €”"),
    "a colour that is none": (b"sku,name,hex\n1,Mug,sage\n", "hex_unreadable", "C2", "six digits such as"),
    "a kind of its own": (b"sku,name,kind\n1,Mug,gadget\n", "kind_unknown", "C2", "product, article or concept"),
    "a photo on somebody's disk": (
        b"sku,name,photo\n1,Mug,C:\\Users\\me\\mug.jpg\n", "photo_unusable", "C2", "https://"
    ),
    "a photo above its folder": (b"sku,name,photo\n1,Mug,../../etc/passwd\n", "photo_unusable", "C2", "names no"),
    "a NUL byte": (b"sku,name\n1,M\x00ug\n", "control_character", "B2", "a NUL byte"),
    "a control character": (b"sku,name\n1,M\x07ug\n", "control_character", "B2", "U+0007"),
    "two encodings in one file": (
        "sku,name\n1,Größe\n2,Schön\n3,Über\n".encode() + b"4,Caf\xe9\n", "control_character", "B5", "0xE9"
    ),
    "a name without end": (b"sku,name\n1," + b"x" * 301 + b"\n", "too_long", "B2", "at most 300"),
    "a cell beyond a spreadsheet's": (
        b"sku,name,text\n1,Mug," + b"x" * 40_000 + b"\n", "cell_too_large", "C2", "40,000 characters"
    ),
    "a line without end": (b"sku,name\n1," + b"x" * 1_100_000, "cell_too_large", "", "longer than 1,048,576"),
    "broken JSON": (
        b'[\n  {"sku": "1", "name": "Mug"}\n  {"sku": "2", "name": "Cup"}\n]', "json_broken", "line 3, column 3",
        "expecting ','",
    ),
    "cut JSON": (b'{"products": [{"sku": "1", "name": "Mu', "json_broken", "line 1, column 36", "broken here"),
    "one bad line of JSON lines": (
        b'{"sku":"1","name":"Mug"}\n{"sku":"2","name":"Cup"\n{"sku":"3","name":"Jar"}\n', "json_broken",
        "line 2, column 24", "one JSON object per line",
    ),
    "JSON that is no list": (b'{"count": 3, "x": [1]}', "unreadable", "", "expected an array of objects"),
    "a price in JSON": (
        b'{"products":[{"sku":"1","name":"Mug","price":-1}]}', "price_negative", "products[0].price", "below zero"
    ),
    "XML with a document type": (
        b'<?xml version="1.0"?><!DOCTYPE p [<!ENTITY a "b">]><products/>', "unreadable", "line 1", "Remove it"
    ),
    "XML cut off": (
        b"<products><product><sku>1</sku><name>Mug</name></product><product><sku>2", "xml_broken",
        "line 1, column 73", "nothing after it can be read",
    ),
    "an item of XML without id": (
        b"<rss><channel><item><title>Mug</title><id>1</id><image_link>https://x.test/a.jpg</image_link></item>"
        b"<item><title>Cup</title><availability>x</availability></item></channel></rss>",
        "key_missing", "item[2].id", "the SKU is empty",
    ),
}  # fmt: skip


def test_there_are_forty_broken_files_and_more() -> None:
    assert len(BROKEN) >= 40


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_file_says_what_is_wrong_where_and_what_to_do(name: str) -> None:
    data, cause, cell, words = BROKEN[name]
    _, issues = parsed(data)
    assert [issue.cause for issue in issues] == [cause], issues
    issue = issues[0]
    assert issue.cell == cell
    assert words in issue.message
    assert cause in CAUSES
    assert issue.message.endswith((".", "?"))
    assert not cell or cell in issue.message
    # A page can show the message, whatever the file contains.
    assert issue.message.isprintable() and len(issue.message) <= 600


def test_a_sku_that_a_spreadsheet_made_a_date_is_named() -> None:
    date = '<row r="2"><c r="A2" s="1"><v>46000</v></c><c r="B2" t="inlineStr"><is><t>Mug</t></is></c></row>'
    headings = "".join(
        f'<c r="{letter}1" t="inlineStr"><is><t>{text}</t></is></c>' for letter, text in (("A", "sku"), ("B", "name"))
    )
    workbook = xlsx([], sheet=f'<row r="1">{headings}</row>{date}', styles=True)
    _, issues = parsed(workbook)
    assert [(issue.cause, issue.cell) for issue in issues] == [("key_date", "A2")]
    assert "2025-12-09" in issues[0].message and "Format the column as Text" in issues[0].message


# -- mistakes that need the whole file, and stored issues --------------------------------------------------------------

SETS: dict[str, tuple[str, str, str, str]] = {
    "a key twice": ("sku,name\n1,Mug\n2,Cup\n1,Jar\n", "duplicate_key", "A4", "already stands in row 2"),
    "a variant twice": (
        "sku,name,parent_sku\nM,Mug,\nM-1,,M\nM-1,,M\n", "duplicate_variant", "A4", "already stands in row 3"
    ),
    "a variant of nobody": ("sku,name,parent_sku\n1,Mug,\n2-S,,2\n", "parent_unknown", "B3", "is not known in"),
    "images of nobody": ("sku,image\n99,a.jpg\n99,b.jpg\n", "parent_unknown", "A2", "expected its name here"),
    "two titles alike": (
        "title,kind\nSpring,article\nSummer,article\nspring,article\n", "duplicate_key", "A4", "made of the title"
    ),
}  # fmt: skip


@pytest.fixture
def take(brand: Brand, manager: User) -> Callable[[bytes], FeedImport]:
    def make(data: bytes, **options: Any) -> FeedImport:
        return imports.import_feed(brand=brand, file=io.BytesIO(data), file_name="feed", by=manager, **options)

    return make


@pytest.mark.parametrize("name", SETS)
def test_a_mistake_that_only_the_whole_file_shows_is_named(name: str, take: Callable[[bytes], FeedImport]) -> None:
    data, cause, cell, words = SETS[name]
    done = take(data.encode())
    assert done.status == "refused"
    issue = done.issues.get()
    assert (issue.cause, issue.cell) == (cause, cell)
    assert words in issue.message


def test_every_broken_file_is_refused_whole_and_its_mistake_is_kept(take: Callable[[bytes], FeedImport]) -> None:
    for name, (data, cause, cell, words) in BROKEN.items():
        done = take(data)
        assert (done.status, done.error_count) == ("refused", 1), name
        issue = done.issues.get()
        assert (issue.cause, issue.cell) == (cause, cell), name
        assert words in issue.message, name
    assert not Subject.objects.exists()
