"""Looks at a file's bytes and says what it is: a workbook, a table of text and how it is written, or neither."""

from __future__ import annotations

import codecs
import csv
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import IO

from campaigns.feeds.base import normalised, refused
from campaigns.feeds.vocabulary import KNOWN

EXPECTED = "expected a CSV or XLSX file: a first row of headings, then one row per product"
DELIMITERS = ",;\t|"
_CHUNK = 1 << 20
_MAGIC = {
    b"%PDF": "a PDF document",
    b"\x89PNG": "a PNG image",
    b"\xff\xd8\xff": "a JPEG image",
    b"GIF8": "a GIF image",
    b"\xd0\xcf\x11\xe0": "an old Excel workbook (.xls); save it as .xlsx",
    b"\x1f\x8b": "a gzip archive; unpack it first",
    b"Rar!": "a RAR archive; unpack it first",
    b"7z\xbc\xaf": "a 7-Zip archive; unpack it first",
    b"\x7fELF": "a program",
    b"MZ\x90": "a program",
    b"PAR1": "a Parquet file",
    b"SQLite format 3": "a database",
}
_MARKUP = re.compile(rb"\s*(<!doctype html|<html|<\?xml|<head|<rss|<svg|<table)", re.IGNORECASE)
_MULTIBYTE = re.compile("[^\x00-\x7f\ufffd]")


@dataclass(frozen=True)
class Text:
    """How a text is written. skip: bytes of the byte-order mark. errors: how undecodable bytes stay visible."""

    encoding: str
    errors: str
    skip: int


def is_workbook(stream: IO[bytes]) -> bool:
    """True for a ZIP container, which is what an XLSX file is; raises FeedRefused for what is neither that nor text."""
    stream.seek(0)
    head = stream.read(8192)
    stream.seek(0)
    if not head.strip(b" \t\r\n\x00\xef\xbb\xbf\xff\xfe"):
        raise refused("unreadable", f"The file is empty; {EXPECTED}.")
    if head.startswith(b"PK\x03\x04"):
        return True
    for magic, what in _MAGIC.items():
        if head.startswith(magic):
            raise refused("unreadable", f"This is {what}, not a table; {EXPECTED}.", value=_printable(head))
    if match := _MARKUP.match(head.lstrip(codecs.BOM_UTF8)):
        what = "a web page" if b"htm" in match.group().lower() or b"head" in match.group().lower() else "XML"
        raise refused("unreadable", f"This is {what}, not a table; {EXPECTED}.", value=_printable(head))
    if head.lstrip()[:1] in (b"{", b"["):
        raise refused("unreadable", f"This looks like JSON, not a table; {EXPECTED}.", value=_printable(head))
    if _is_binary(head):
        raise refused("unreadable", f"This is not text; {EXPECTED}.", value=_printable(head))
    return False


def _printable(head: bytes) -> str:
    return head[:40].decode("ascii", "replace").replace("\ufffd", "?").replace("\x00", "?")


def _is_binary(head: bytes) -> bool:
    """More than 3 % of the start are control bytes (in compressed data 10 % are), and it is not UTF-16."""
    if head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) or _utf16_without_mark(head):
        return False
    control = sum(byte < 9 or 13 < byte < 32 for byte in head)
    return control > 8 and control * 33 > len(head)


def _utf16_without_mark(head: bytes) -> str:
    """Latin text in UTF-16 has a zero in every second byte."""
    half = len(head) // 2
    if half < 4:
        return ""
    even, odd = head[0 : 2 * half : 2].count(0), head[1 : 2 * half : 2].count(0)
    if odd > 0.7 * half and even < 0.1 * half:
        return "utf-16-le"
    if even > 0.7 * half and odd < 0.1 * half:
        return "utf-16-be"
    return ""


def text(stream: IO[bytes]) -> Text:
    """Encoding by byte-order mark, else UTF-8 if the file is, else CP1252. Reads the whole file once, in pieces.

    Undecodable bytes of a file that is mostly UTF-8 (or CP1252's five unused ones) become lone surrogates, so that the
    reader can name their cell.
    """
    stream.seek(0)
    head = stream.read(8192)
    if head.startswith((codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE)):
        raise refused("unreadable", "The file is in UTF-32; expected UTF-8, UTF-16 or Windows-1252. Save it as UTF-8.")
    if head.startswith(codecs.BOM_UTF16_LE):
        return Text("utf-16-le", "surrogatepass", 2)
    if head.startswith(codecs.BOM_UTF16_BE):
        return Text("utf-16-be", "surrogatepass", 2)
    if head.startswith(codecs.BOM_UTF8):
        return Text("utf-8", "surrogateescape", 3)
    if guess := _utf16_without_mark(head):
        return Text(guess, "surrogatepass", 0)
    return Text(_utf8_or_cp1252(stream), "surrogateescape", 0)


def _utf8_or_cp1252(stream: IO[bytes]) -> str:
    stream.seek(0)
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    good = bad = 0
    while chunk := stream.read(_CHUNK):
        if chunk.isascii() and not decoder.getstate()[0]:
            continue
        decoded = decoder.decode(chunk)
        genuine = chunk.count("\ufffd".encode())
        bad += max(0, decoded.count("\ufffd") - genuine)
        good += len(_MULTIBYTE.findall(decoded)) + genuine
    bad += len(decoder.decode(b"", final=True))
    return "utf-8" if good >= bad else "cp1252"


def delimiter(first_lines: Sequence[str]) -> str:
    """The delimiter under which the header makes the most sense: known headings first, then number of columns."""
    best, best_score = ",", (-1, -1)
    for candidate in DELIMITERS:
        try:
            cells = next(csv.reader(first_lines, delimiter=candidate, strict=True), [])
        except csv.Error:
            continue
        score = (sum(normalised(cell) in KNOWN for cell in cells), len(cells))
        if score > best_score:
            best, best_score = candidate, score
    return best
