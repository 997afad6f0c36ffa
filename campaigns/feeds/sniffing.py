"""Detects from a file's bytes whether it is a workbook, a text (and in which encoding and delimiter), or neither."""

from __future__ import annotations

import codecs
import csv
import json
import re
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from typing import IO, Any

from campaigns.feeds import encodings
from campaigns.feeds.base import file_refusal, normalise_heading
from campaigns.feeds.vocabulary import KEY, KNOWN_HEADINGS, NAME

EXPECTED = "expected a table (CSV, TSV, XLSX) with a first row of headings, or a feed in JSON or XML"
DELIMITERS = ",;\t|"
HEADER_WITHIN = 6  # the headings are among this many first rows
_CHUNK = 1 << 20
_HEAD_BYTES = 1 << 15
_LOCKED = "EncryptedPackage".encode("utf-16-le")
_LOCK_CHUNKS = 64
_SAMPLE_LINES, _LINE_BYTES, _SAMPLE_CHUNKS = 200, 2000, 16
_MAGIC = {
    b"%PDF": "a PDF document",
    b"\x89PNG": "a PNG image",
    b"\xff\xd8\xff": "a JPEG image",
    b"GIF8": "a GIF image",
    b"\x1f\x8b": "a gzip archive; unpack it first",
    b"Rar!": "a RAR archive; unpack it first",
    b"7z\xbc\xaf": "a 7-Zip archive; unpack it first",
    b"\x7fELF": "a program",
    b"MZ\x90": "a program",
    b"PAR1": "a Parquet file",
    b"SQLite format 3": "a database",
}
_WEB_PAGE = re.compile(
    r"<(?:!doctype html|html|head|body|table|div|p|h1)\b|<\?xml[^>]*>\s*<!doctype html", re.IGNORECASE
)
# SVG, which may begin with a declaration, comments and a document type. Nothing in it backtracks.
_DRAWING = re.compile(r"(?:(?><!--.*?-->|<\?xml[^>]*+>|<!doctype svg[^>]*+>)\s*+)*+<svg\b", re.IGNORECASE | re.DOTALL)
_ELEMENT = re.compile(r"<(?:\?xml|!--|!doctype|[a-z_][\w:.-]*[\s/>])", re.IGNORECASE)
_CONTAINERS = ("products", "items", "data", "entries", "rows", "results", "feed", "articles", "concepts")
_MULTIBYTE = re.compile("[^\x00-\x7f\ufffd]")


@dataclass(frozen=True)
class TextEncoding:
    """The encoding of a text. skip: bytes of the byte-order mark. errors: how undecodable bytes are handled.

    examples: cells read in an older encoding, so that people can check whether it is right; empty for Unicode.
    """

    encoding: str
    errors: str
    skip: int
    examples: tuple[str, ...] = ()

    @property
    def dialect(self) -> dict[str, Any]:
        """Return the encoding and its examples, if there are any, as parts of a feed's dialect."""
        dialect: dict[str, Any] = {"encoding": self.encoding}
        return dialect | {"encoding_examples": list(self.examples)} if self.examples else dialect


_MARKED = {
    codecs.BOM_UTF16_LE: TextEncoding("utf-16-le", "surrogatepass", 2),
    codecs.BOM_UTF16_BE: TextEncoding("utf-16-be", "surrogatepass", 2),
    codecs.BOM_UTF8: TextEncoding("utf-8", "surrogateescape", 3),
}


def detect_format(stream: IO[bytes]) -> str:
    """Return "xlsx" (any ZIP container), "xml", "json", "jsonl" or "csv"; raises FeedRefused for any other file."""
    stream.seek(0)
    head = stream.read(_HEAD_BYTES)
    stream.seek(0)
    if not head.strip(b" \t\r\n\x00\xef\xbb\xbf\xff\xfe"):
        raise file_refusal(f"The file is empty; {EXPECTED}.")
    if head.startswith(b"PK\x03\x04"):
        return "xlsx"
    if head.startswith(b"\xd0\xcf\x11\xe0"):
        what = "an old Excel workbook (.xls); save it as .xlsx"
        if _is_locked(stream):
            what = "a workbook protected by a password; save it without one"
        raise file_refusal(f"This is {what}; {EXPECTED}.")
    for magic, what in _MAGIC.items():
        if head.startswith(magic):
            raise file_refusal(f"This is {what}, not a table; {EXPECTED}.", value=_printable(head))
    utf_16 = _utf_16(head)
    beginning = head.decode(utf_16 or "utf-8", "replace").lstrip("\ufeff \t\r\n")
    if _WEB_PAGE.match(beginning):
        raise file_refusal(
            "This is a web page, not a table: a log-in or error page that was saved in the file's place looks like "
            f"this; {EXPECTED}. Open the address in a browser and see what it shows.",
            value=_printable(beginning.encode("ascii", "replace")),
        )
    if _DRAWING.match(beginning):
        raise file_refusal(f"This is an SVG drawing, not a table; {EXPECTED}.", value="<svg")
    if _ELEMENT.match(beginning):
        return "xml"
    if beginning[:1] in ("{", "[") and (json_form := _json(beginning)):
        return json_form
    control = sum(byte < 9 or 13 < byte < 32 for byte in head)
    if not utf_16 and control > 8 and control * 33 > len(head):  # over 3 %; compressed data have 10 %
        raise file_refusal(f"This is not text; {EXPECTED}.", value=_printable(head))
    return "csv"


def _is_locked(stream: IO[bytes]) -> bool:
    """Return True for an OLE container with an encrypted workbook, which Excel writes to protect it by a password."""
    stream.seek(0)
    rest = b""
    for _ in range(_LOCK_CHUNKS):
        chunk = stream.read(_CHUNK)
        if _LOCKED in rest + chunk:
            return True
        rest = chunk[-len(_LOCKED) :]
    return False


def _json(beginning: str) -> str:
    """Return "json", "jsonl", or "" for a text that only begins like JSON."""
    if beginning[0] == "[":
        return "json" if re.match(r"\[\s*[\[{\"\]\d\-tfn]", beginning) else ""
    if not re.match(r'\{\s*["}]', beginning):
        return ""
    first, _, rest = beginning.partition("\n")
    try:
        whole = json.loads(first)
    except (ValueError, RecursionError):
        # In JSON lines, the first line may be broken; then the second line is an object.
        return "jsonl" if re.match(r'\s*\{\s*"', rest) and first.rstrip().endswith("}") else "json"
    if rest.strip():
        return "jsonl"
    holds_items = any(isinstance(whole.get(name), (list, dict)) for name in _CONTAINERS)
    is_item = any(normalise_heading(name) in (*KEY, *NAME) for name in whole)
    return "json" if holds_items or not is_item else "jsonl"


def _printable(head: bytes) -> str:
    return head[:40].decode("ascii", "replace").replace("\ufffd", "?").replace("\x00", "?")


def _utf_16(head: bytes) -> str:
    """Return the UTF-16 encoding by its mark, or of Latin text, in which every second byte is zero; "" for others."""
    half = len(head) // 2
    even, odd = head[0 : 2 * half : 2].count(0), head[1 : 2 * half : 2].count(0)
    if head.startswith(codecs.BOM_UTF16_LE) or (half >= 4 and odd > 0.7 * half and even < 0.1 * half):
        return "utf-16-le"
    if head.startswith(codecs.BOM_UTF16_BE) or (half >= 4 and even > 0.7 * half and odd < 0.1 * half):
        return "utf-16-be"
    return ""


def detect_encoding(stream: IO[bytes], chosen: str = "") -> TextEncoding:
    """Find the encoding: by byte-order mark, else UTF-8 if the file is valid, else `chosen` or the best match.

    Reads the whole file once, in pieces. Raises FeedRefused if no encoding fits and none was chosen. Undecodable bytes
    become lone surrogates, so that the reader can name their cell. They occur in files that are mostly UTF-8, and where
    an older encoding does not use a byte.
    """
    stream.seek(0)
    head = stream.read(8192)
    if head.startswith((codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE)):
        raise file_refusal("The file is in UTF-32; expected UTF-8, UTF-16 or Windows-1252. Save it as UTF-8.")
    for mark, marked in _MARKED.items():
        if head.startswith(mark):
            return marked
    if guess := _utf_16(head):
        return TextEncoding(guess, "surrogatepass", 0)
    good, bad, sample = _as_utf8(stream)
    if not bad or (good >= bad and not chosen):
        return TextEncoding("utf-8", "surrogateescape", 0)
    encoding, is_sure = (chosen, True) if chosen else encodings.guess_encoding(sample)
    examples = encodings.examples(sample, encoding)
    if not is_sure:
        shown = f" Read as {encodings.LABELS[encoding]} it would say “{examples[0]}”." if examples else ""
        raise file_refusal(
            f"The file is not in UTF-8, and its older encoding cannot be recognised.{shown} Choose the encoding, or "
            "save the file as UTF-8.",
            cause="encoding",
        )
    return TextEncoding(encoding, "surrogateescape", 0, tuple(examples))


def sample_lines(stream: IO[bytes]) -> bytes:
    """Return some lines with bytes beyond ASCII, from the beginning of the file."""
    stream.seek(0)
    lines = b""
    for _ in range(_SAMPLE_CHUNKS):
        chunk = stream.read(_CHUNK)
        if not chunk or len(lines) >= encodings.SAMPLE_BYTES:
            break
        lines += b"" if chunk.isascii() else _beyond_ascii(chunk)
    return lines


def _beyond_ascii(chunk: bytes) -> bytes:
    lines = (line for line in chunk.splitlines() if not line.isascii())
    return b"".join(line[:_LINE_BYTES] + b"\n" for line in islice(lines, _SAMPLE_LINES))


def _as_utf8(stream: IO[bytes]) -> tuple[int, int, bytes]:
    """Return how many characters beyond ASCII are UTF-8, how many bytes are not, and some of their lines."""
    stream.seek(0)
    sample = b""
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    good = bad = 0
    while chunk := stream.read(_CHUNK):
        if chunk.isascii() and not decoder.getstate()[0]:
            continue
        if len(sample) < encodings.SAMPLE_BYTES:
            sample += _beyond_ascii(chunk)
        decoded = decoder.decode(chunk)
        genuine = chunk.count("\ufffd".encode())
        bad += max(0, decoded.count("\ufffd") - genuine)
        good += len(_MULTIBYTE.findall(decoded)) + genuine
    bad += len(decoder.decode(b"", final=True))
    return good, bad, sample


def detect_delimiter(first_lines: Sequence[str]) -> str:
    """Return the delimiter that gives the most known headings in one of the first rows, or else the most columns."""

    def score(delimiter: str) -> tuple[int, int]:
        rows: list[list[str]] = []
        with suppress(csv.Error):  # the rows before it are kept
            rows.extend(islice(csv.reader(first_lines, delimiter=delimiter, strict=True), HEADER_WITHIN))
        return (max(map(count_known_headings, rows)), len(rows[0])) if rows else (-1, -1)

    return max(DELIMITERS, key=score)


def count_known_headings(row: Sequence[str]) -> int:
    return sum(normalise_heading(cell) in KNOWN_HEADINGS for cell in row)
