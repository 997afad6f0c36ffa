"""The layouts of an archive of approved images: a plain ZIP, or a BagIt bag (RFC 8493) in a ZIP.

Both compare the sha256 of each file with the approved one while it is sent. No file is read twice.
"""

from __future__ import annotations

import hashlib
import io
import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from typing import IO, Self

import structlog
from django.utils.translation import gettext as _

from core.errors import StorageFailed
from core.zip_stream import PIECE_BYTES, ZipStream
from review.choices import ArchiveLayout

_DECLARATION = b"BagIt-Version: 1.0\nTag-File-Character-Encoding: UTF-8\n"
log = structlog.get_logger(__name__)


class ZipLayout:
    """A ZIP with the files at their paths. A context manager."""

    def __init__(self, name: str, facts: Mapping[str, str]) -> None:
        """name: that of the archive, without its suffix. facts: what a bag says about itself, "Label" -> value."""
        self.name, self.facts = name, facts
        self._stack = ExitStack()
        self._zip = ZipStream(self._temporary_file())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self._stack.close()

    def _temporary_file(self) -> IO[bytes]:
        return self._stack.enter_context(tempfile.TemporaryFile())

    def begin(self) -> Iterator[bytes]:
        yield from ()

    def add(self, path: str, size: int, content: IO[bytes], sha256: str = "") -> Iterator[bytes]:
        """Yield one file. Raises StorageFailed, which must end the stream, if its bytes have another size or sha256."""
        yield from self._zip.add(path, size, _Hashed(path, size, content, sha256))

    def finish(self) -> Iterator[bytes]:
        yield from self._zip.finish()


class BagLayout(ZipLayout):
    """A bag in one folder with the archive's name: the files below data/, and lists of the sha256 of every file."""

    def __init__(self, name: str, facts: Mapping[str, str]) -> None:
        super().__init__(name, facts)
        self._payload, self._tags = self._temporary_file(), self._temporary_file()
        self._bytes = self._count = 0

    def begin(self) -> Iterator[bytes]:
        yield from self._add_tag("bagit.txt", io.BytesIO(_DECLARATION))

    def add(self, path: str, size: int, content: IO[bytes], sha256: str = "") -> Iterator[bytes]:
        hashed = _Hashed(path, size, content, sha256)
        yield from self._zip.add(f"{self.name}/data/{path}", size, hashed)
        self._payload.write(_line(hashed.sha256, f"data/{path}"))
        self._bytes += size
        self._count += 1

    def finish(self) -> Iterator[bytes]:
        facts = {**self.facts, "Payload-Oxum": f"{self._bytes}.{self._count}"}
        # A line break would begin another label.
        lines = [f"{label}: {' '.join(value.split())}\n" for label, value in facts.items()]
        yield from self._add_tag("bag-info.txt", io.BytesIO("".join(lines).encode()))
        yield from self._add_tag("manifest-sha256.txt", self._payload)
        yield from self._add_tag("tagmanifest-sha256.txt", self._tags)
        yield from super().finish()

    def _add_tag(self, name: str, content: IO[bytes]) -> Iterator[bytes]:
        """Yield one of the bag's own files, and list it."""
        size = content.seek(0, os.SEEK_END)
        content.seek(0)
        hashed = _Hashed(name, size, content)
        yield from self._zip.add(f"{self.name}/{name}", size, hashed)
        self._tags.write(_line(hashed.sha256, name))


class _Hashed:
    """The content of a file in pieces, with its sha256. Raises StorageFailed at its end if it is another content."""

    def __init__(self, path: str, size: int, content: IO[bytes], sha256: str = "") -> None:
        """sha256: the one that the content must have; empty: any."""
        self.path, self.size, self.content, self.approved = path, size, content, sha256
        self._digest = hashlib.sha256()

    @property
    def sha256(self) -> str:
        return self._digest.hexdigest()

    def __iter__(self) -> Iterator[bytes]:
        count = 0
        while piece := self.content.read(PIECE_BYTES):
            self._digest.update(piece)
            count += len(piece)
            yield piece
        if count != self.size or (self.approved and self.sha256 != self.approved):
            log.error("archive.file_differs", path=self.path, approved=self.approved, stored=self.sha256, bytes=count)
            sentence = _(
                "The stored file of %(path)s is not the one that was approved: its bytes have changed. An operator has "
                "to restore it from a backup."
            )
            raise StorageFailed(sentence % {"path": self.path})


LAYOUTS: dict[str, type[ZipLayout]] = {ArchiveLayout.ZIP: ZipLayout, ArchiveLayout.BAGIT: BagLayout}


def _line(sha256: str, path: str) -> bytes:
    return f"{sha256}  {path}\n".encode()
