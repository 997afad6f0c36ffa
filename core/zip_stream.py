"""Write a ZIP as a stream, in memory that grows with neither the size of its entries nor their number.

Python's zipfile keeps an object for every entry until the end, and in a stream it writes an entry's checksum after its
content, which programs that read a ZIP as it comes refuse. Here the central directory is kept in a temporary file, and
an entry of up to BUFFERED_BYTES is read before its header is written. Entries are not compressed: images already are.

The format is that of PKWARE's APPNOTE.TXT 6.3.10, with ZIP64 where a number does not fit into its field.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import IO

from django.http import StreamingHttpResponse
from django.utils.http import content_disposition_header

BUFFERED_BYTES = 16 * 1024 * 1024
PIECE_BYTES = 1024 * 1024

_MOST_16, _MOST_32 = 0xFFFF, 0xFFFFFFFF
"""These values mean: the number is in the ZIP64 record."""
_LOCAL = struct.Struct("<4sHHHHHLLLHH")
_CENTRAL = struct.Struct("<4sHHHHHHLLLHHHHHLL")
_DESCRIPTOR, _DESCRIPTOR_64 = struct.Struct("<4sLLL"), struct.Struct("<4sLQQ")
_END = struct.Struct("<4sHHHHLLH")
_END_64, _LOCATOR_64 = struct.Struct("<4sQHHLLQQQQ"), struct.Struct("<4sLQL")
_VERSION, _VERSION_64 = 20, 45
_MADE_BY_UNIX = 3 << 8
_DATE, _TIME = (1 << 5) | 1, 0
"""The first of January 1980, so that equal files give equal bytes."""
_HAS_DESCRIPTOR = 0x0008
_REGULAR_FILE = 0o100644 << 16


def response(file_name: str, chunks: Iterator[bytes]) -> StreamingHttpResponse:
    """Return a download that is sent as it is made. No proxy may keep it back."""
    headers = {"Content-Disposition": content_disposition_header(True, file_name), "X-Accel-Buffering": "no"}
    return StreamingHttpResponse(chunks, content_type="application/zip", headers=headers)


@dataclass(frozen=True)
class _Entry:
    """An entry's fields. flags: _HAS_DESCRIPTOR if its checksum and sizes come after its content."""

    name: bytes
    size: int
    flags: int = 0
    crc: int = 0

    @property
    def version(self) -> int:
        return _VERSION_64 if self.size >= _MOST_32 else _VERSION

    def local_header(self) -> bytes:
        size = 0 if self.flags else self.size
        extra = struct.pack("<HHQQ", 1, 16, size, size) if self.size >= _MOST_32 else b""
        shown = _MOST_32 if extra else size
        fields = (self.version, self.flags, 0, _TIME, _DATE, self.crc, shown, shown, len(self.name), len(extra))
        return _LOCAL.pack(b"PK\3\4", *fields) + self.name + extra

    def descriptor(self) -> bytes:
        kind = _DESCRIPTOR_64 if self.size >= _MOST_32 else _DESCRIPTOR
        return kind.pack(b"PK\7\10", self.crc, self.size, self.size)

    def central_header(self, offset: int) -> bytes:
        """Return the entry of the central directory. offset: where the local header begins."""
        sizes = (self.size, self.size) if self.size >= _MOST_32 else ()
        long = (*sizes, offset) if offset >= _MOST_32 else sizes
        extra = struct.pack(f"<HH{len(long)}Q", 1, 8 * len(long), *long) if long else b""
        version = _VERSION_64 if long else _VERSION
        size = min(self.size, _MOST_32)
        return (
            _CENTRAL.pack(
                *(b"PK\1\2", _MADE_BY_UNIX | version, version, self.flags, 0, _TIME, _DATE, self.crc, size, size),
                *(len(self.name), len(extra), 0, 0, 0, _REGULAR_FILE, min(offset, _MOST_32)),
            )
            + self.name
            + extra
        )


class _Measured:
    """Pieces with their checksum. Raises ValueError at their end if they are not `size` bytes together."""

    def __init__(self, pieces: Iterable[bytes], size: int) -> None:
        self.pieces, self.size, self.crc = pieces, size, 0

    def __iter__(self) -> Iterator[bytes]:
        count = 0
        for piece in self.pieces:
            count += len(piece)
            self.crc = zlib.crc32(piece, self.crc)
            yield piece
        if count != self.size:
            raise ValueError(f"The content is {count:,} bytes, and {self.size:,} were announced.")


class ZipStream:
    """A ZIP being written. Send what `add` yields for each entry, and what `finish` yields at the end.

    directory: an empty temporary file, which gets the central directory.
    """

    def __init__(self, directory: IO[bytes]) -> None:
        self._directory = directory
        self._offset = self._count = 0

    def add(self, name: str, size: int, pieces: Iterable[bytes]) -> Iterator[bytes]:
        """Yield one entry. name: ASCII and unique, folders separated by "/". Every piece is in memory alone.

        An exception of `pieces` leaves a ZIP without an end, which no program takes for a whole one. Raises ValueError
        if the pieces are not `size` bytes together.
        """
        offset, encoded, content = self._offset, name.encode("ascii"), _Measured(pieces, size)
        if size <= BUFFERED_BYTES:
            buffered = list(content)
            entry = _Entry(encoded, size, crc=content.crc)
            yield from self._send(entry.local_header(), *buffered)
        else:
            yield from self._send(_Entry(encoded, size, _HAS_DESCRIPTOR).local_header())
            for piece in content:
                yield from self._send(piece)
            entry = _Entry(encoded, size, _HAS_DESCRIPTOR, content.crc)
            yield from self._send(entry.descriptor())
        self._directory.write(entry.central_header(offset))
        self._count += 1

    def finish(self) -> Iterator[bytes]:
        """Yield the central directory, with which a ZIP ends."""
        start, size = self._offset, self._directory.tell()
        self._directory.seek(0)
        while piece := self._directory.read(PIECE_BYTES):
            yield from self._send(piece)
        yield from self._send(_end(start, size, self._count))

    def _send(self, *pieces: bytes) -> Iterator[bytes]:
        for piece in pieces:
            self._offset += len(piece)
            yield piece


def _end(start: int, size: int, count: int) -> bytes:
    """Return the records after a central directory of `count` entries and `size` bytes that begins at `start`."""
    records = b""
    if count >= _MOST_16 or size >= _MOST_32 or start >= _MOST_32:
        versions = (_MADE_BY_UNIX | _VERSION_64, _VERSION_64)
        records += _END_64.pack(b"PK\6\6", _END_64.size - 12, *versions, 0, 0, count, count, size, start)
        records += _LOCATOR_64.pack(b"PK\6\7", 0, start + size, 1)
    shown = min(count, _MOST_16)
    return records + _END.pack(b"PK\5\6", 0, 0, shown, shown, min(size, _MOST_32), min(start, _MOST_32), 0)
