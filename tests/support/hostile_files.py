"""Small files that cost a lot to open, for tests and benchmarks/hostile.py; each is made by a line or two of code."""

from __future__ import annotations

import io
import json
import struct
import zipfile
import zlib

from PIL import Image

from tests.support.feed_files import xlsx

COMMENTS = b"<!---->" * 39 + b"<a>"
"""The 283 bytes of a comment that an expression for SVG took for ever to look at."""


def png(width: int, height: int, *, is_bilevel: bool = False) -> bytes:
    """Return a PNG of one colour, as small as zlib can make it; the output of Pillow differs between releases."""
    rows = zlib.compressobj(9)
    length = (width + 7) // 8 if is_bilevel else 3 * width
    body = b"".join(rows.compress(bytes(1 + length)) for _ in range(height)) + rows.flush()
    header = struct.pack(">IIBBBBB", width, height, 1 if is_bilevel else 8, 0 if is_bilevel else 2, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", body), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in chunks
    )


def image(kind: str, width: int, height: int, mode: str = "RGB", **options: object) -> bytes:
    """Return an image file of one colour."""
    stream = io.BytesIO()
    Image.new(mode, (width, height), "#c0a080" if mode == "RGB" else 128).save(stream, kind, **options)
    return stream.getvalue()


def with_scans(jpeg: bytes, count: int) -> bytes:
    """Return a progressive JPEG whose last scan is repeated until it has `count` scans."""
    start = jpeg.rindex(b"\xff\xda")
    scan = jpeg[start:-2]
    return jpeg[:-2] + scan * (count - jpeg.count(b"\xff\xda")) + b"\xff\xd9"


def zipped(**files: bytes) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for name, data in files.items():
            archive.writestr(name.replace("__", "."), data)
    return stream.getvalue()


def table(*cells: str) -> bytes:
    return ("sku,name,description\n" + "".join(f'{at},Mug,"{cell}"\n' for at, cell in enumerate(cells))).encode()


FEEDS: dict[str, bytes] = {
    "comments that no drawing follows": COMMENTS,
    "4,000 comments that no drawing follows": b"<!---->" * 4000 + b"<a>",
    "declarations that no drawing follows": b"<?xml ?>  " * 3000 + b"<a>",
    "document types that no drawing follows": b"<!doctype svg >" * 2000 + b"<a>",
    "a comment without an end": b"<!--" + b"--" * 15_000,
    "comments and spaces before nothing": b"<!---->" + b" " * 30_000 + b"x",
    "a sheet of beginnings of rows": xlsx([], sheet="<row " * 200_000),
    "a sheet of attributes without values": xlsx([], sheet="<row " + "r " * 400_000),
    "a sheet of places with spaces": xlsx([], sheet="<c " + "r=  " * 250_000),
    "a sheet of one tag": xlsx([], sheet="<row" + " a='1'" * 150_000),
    "a cell far out in lower case": xlsx([], sheet='<row r="1"><c r="xfd1048576"><v>1</v></c></row>'),
    "a cell far out in mixed case": xlsx([], sheet='<row r="1"><c r="xFd1048576"><v>1</v></c></row>'),
    "1,200,000 empty lists": b'[{"sku":"A","name":"M","d":[' + b",".join([b"[]"] * 1_200_000) + b"]}]",
    "1,200,000 numbers": b'[{"sku":"A","name":"M","d":[' + b",".join([b"1"] * 1_200_000) + b"]}]",
    "400,000 names": b'[{"sku":"A",' + b",".join(b'"n%d":1' % n for n in range(400_000)) + b"}]",
    "lists within lists": b'[{"sku":"A","name":"M","d":' + b"[" * 500_000 + b"]" * 500_000 + b"}]",
    "objects within objects": b'[{"sku":"A","name":"M","d":' + b'{"a":' * 100_000 + b"1" + b"}" * 100_000 + b"}]",
    "a number of 3,000,000 digits": b'[{"sku":"A","name":' + b"1" * 3_000_000,
    "a text without an end": b'[{"sku":"A","name":"' + b"x" * 4_000_000,
    "an element repeated within an item": b"<rss><channel><item>" + b"<a>xy</a>" * 300_000 + b"</item></channel></rss>",
    "an element with a long name": b"<r><i><" + b"n" * 100_000 + b">" + b"<a/>" * 300_000,
    "elements within elements": b"<a>" * 500_000,
}
"""Feeds of which nothing can be taken over."""

TEXTS: dict[str, str] = {
    "angle brackets": "<" * 32_000,
    "angle brackets and letters": "<a" * 16_000,
    "beginnings of tags": "<a href='" * 3500,
    "a number with 20,000 digits as an entity": "&#" + "9" * 20_000 + ";",
    "entities without an end": "&#x" * 10_000,
    "line ends": "a" + "\n" * 32_000 + "b",
    "line ends and spaces": "a" + "\n " * 16_000 + "b",
    "spaces": "a" + " " * 32_000 + "b",
    "commas and spaces": "a" + " ," * 16_000,
    "minus signs": "a" + "\n-" * 16_000,
}
"""Texts of cells."""


def photos() -> dict[str, bytes]:
    """Return photos that are refused before they are decoded."""
    progressive = {"progressive": True}
    return {
        "WebP of 16383 × 3900": image("WEBP", 16383, 3900, lossless=True),
        "WebP of 8000 × 8000": image("WEBP", 8000, 8000, lossless=True),
        "AVIF of 7000 × 7000": image("AVIF", 7000, 7000, speed=10),
        "progressive JPEG of 8000 × 8000": image("JPEG", 8000, 8000, **progressive),
        "progressive JPEG with 800 scans": with_scans(image("JPEG", 6000, 6000, **progressive), 800),
        "progressive CMYK": image("JPEG", 7900, 7900, "CMYK", **progressive),
        "PNG of 4,000,000 × 16": png(4_000_000, 16),
        "PNG of 16 × 4,000,000": image("PNG", 16, 400_000),
        "bilevel PNG of 8000 × 8000": png(8000, 8000, is_bilevel=True),
        "PNG of 9000 × 9000": png(9000, 9000),
    }


def lists(depth: int) -> str:
    """Return JSON of nested lists, `depth` levels deep."""
    return json.dumps("x").join(("[" * depth, "]" * depth))
