"""The body of a response: unpacked piece by piece under a limit, and recognised by its first bytes."""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterable, Iterator
from itertools import chain

from core.fetching.policy import Refused

PIECE = 64 * 1024
SNIFFED_BYTES = 1024
_GZIP = b"\x1f\x8b"
_WBITS = {"gzip": 31, "x-gzip": 31, "deflate": 47}

# puremagic knows no CSV, takes a ZIP for a Word document, and an SVG that begins with a comment for a web page.
_MAGIC: tuple[tuple[bytes, str], ...] = (
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"\x89PNG\r\n\x1a\n", "image/png"),
    (b"GIF87a", "image/gif"),
    (b"GIF89a", "image/gif"),
    (b"II*\x00", "image/tiff"),
    (b"MM\x00*", "image/tiff"),
    (b"BM", "image/bmp"),
    (b"PK\x03\x04", "application/zip"),
    (b"%PDF-", "application/pdf"),
    (_GZIP, "application/gzip"),
)
_HTML = re.compile(rb"<(?:!doctype\s+html|html|head|body|script|title|h1)\b", re.IGNORECASE)
_XML = re.compile(rb"<(?:\?xml|rss|feed|[a-z_][\w:.-]*[\s>/])", re.IGNORECASE)
_BRANDS = {b"avif": "image/avif", b"avis": "image/avif", b"heic": "image/heic", b"heix": "image/heic",
           b"mif1": "image/heic", b"msf1": "image/heic"}  # fmt: skip


def sniff(head: bytes) -> str:
    """Return the media type of content that begins with `head`, by its bytes alone, whatever the server declares."""
    for magic, kind in _MAGIC:
        if head.startswith(magic):
            return kind
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "image/webp"
    if head[4:8] == b"ftyp" and head[8:12] in _BRANDS:
        return _BRANDS[head[8:12]]
    return _text_kind(head)


def _text_kind(head: bytes) -> str:
    if head.startswith((b"\xff\xfe", b"\xfe\xff")):
        return "text/plain"  # UTF-16, as spreadsheets write it
    plain = head.removeprefix(b"\xef\xbb\xbf").lstrip()
    while plain.startswith(b"<!--"):
        plain = plain.partition(b"-->")[2].lstrip()
    if _HTML.match(plain):
        return "text/html"
    if plain.startswith(b"<svg"):
        return "image/svg+xml"
    if _XML.match(plain):
        return "application/xhtml+xml" if _HTML.search(plain) else "application/xml"
    if plain[:1] in (b"{", b"["):
        return "application/json"
    return "application/octet-stream" if b"\x00" in head else "text/plain"


def decode_content(pieces: Iterable[bytes], encoding: str, *, max_bytes: int, where: str) -> Iterator[bytes]:
    """Yield the pieces without their Content-Encoding. Raises Refused beyond `max_bytes`, and if they are broken."""
    encoding = encoding.strip().lower()
    if encoding in ("", "identity"):
        plain: Iterable[bytes] = pieces
    elif encoding in _WBITS:
        plain = _inflate(pieces, _WBITS[encoding], where)
    else:
        raise Refused(f"{where} answered in the encoding {encoding[:40]!r}; expected gzip or none.")
    return _limit_size(plain, max_bytes, where)


def without_gzip(pieces: Iterable[bytes], *, max_bytes: int, where: str) -> Iterator[bytes]:
    """Return the content of a gzip file; other content stays as it is."""
    source = iter(pieces)
    head = b""
    while len(head) < len(_GZIP) and (piece := next(source, None)) is not None:
        head += piece
    joined = chain([head] if head else [], source)
    if head.startswith(_GZIP):
        return _limit_size(_inflate(joined, _WBITS["gzip"], where), max_bytes, where)
    return joined


def _limit_size(pieces: Iterable[bytes], max_bytes: int, where: str) -> Iterator[bytes]:
    total = 0
    for piece in pieces:
        total += len(piece)
        if total > max_bytes:
            raise Refused(f"{where} sent more than {max_bytes:,} bytes; that is the limit.")
        yield piece


def _inflate(pieces: Iterable[bytes], wbits: int, where: str) -> Iterator[bytes]:
    """Unpack the pieces with at most one piece in memory; a file may have several gzip members."""
    engine = zlib.decompressobj(wbits)
    try:
        for piece in pieces:
            while piece:
                if engine.eof:
                    engine = zlib.decompressobj(wbits)
                out = engine.decompress(piece, PIECE)
                piece = engine.unconsumed_tail or engine.unused_data
                if out:
                    yield out
        yield engine.flush()
    except zlib.error as error:
        raise Refused(f"What {where} sent is packed and cannot be unpacked: {error}.", is_final=False) from None
    if not engine.eof:
        raise Refused(f"What {where} sent is packed and ends early.", is_final=False)
