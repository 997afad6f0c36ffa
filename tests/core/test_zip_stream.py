"""Tests of the streamed ZIP: read by zipfile and unzip, with ZIP64, in the order of the stream, broken on an error."""

from __future__ import annotations

import io
import os
import shutil
import struct
import subprocess
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

from core import zip_stream
from core.zip_stream import ZipStream

ENTRIES = {"autumn/mug.jpg": b"mug" * 1000, "autumn/empty.jpg": b"", "manifest.csv": b"a;b\r\n"}


def pieces_of(content: bytes) -> Iterator[bytes]:
    """Yield the content in pieces of 1,000 bytes."""
    for start in range(0, len(content), 1000):
        yield content[start : start + 1000]


def write(path: Path, entries: Iterable[tuple[str, bytes]]) -> Path:
    archive = ZipStream(io.BytesIO())
    with path.open("wb") as out:
        for name, content in entries:
            out.writelines(archive.add(name, len(content), pieces_of(content)))
        out.writelines(archive.finish())
    return path


def assert_whole(path: Path, entries: dict[str, bytes]) -> None:
    """Assert that zipfile and unzip find all entries with their content."""
    with zipfile.ZipFile(path) as archive:
        assert archive.testzip() is None
        assert {name: archive.read(name) for name in archive.namelist()} == entries
    unzip_tests(path)


def unzip_tests(path: Path, *names: str) -> None:
    """Assert that `unzip -t` finds no mistake, if it is installed."""
    if program := shutil.which("unzip"):
        result = subprocess.run([program, "-tqq", path, *names], capture_output=True, text=True, check=False)
        assert result.returncode == 0, result.stdout + result.stderr


@pytest.mark.parametrize("buffered", [0, zip_stream.BUFFERED_BYTES])
def test_small_and_large_entries_are_read_by_other_programs(
    buffered: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(zip_stream, "BUFFERED_BYTES", buffered)
    assert_whole(write(tmp_path / "a.zip", ENTRIES.items()), ENTRIES)


def test_zip64_is_used_where_a_size_or_an_offset_does_not_fit(tmp_path: Path) -> None:
    block, count, path = bytes(1 << 20), 4097, tmp_path / "large.zip"
    archive = ZipStream(io.BytesIO())
    with path.open("wb") as out:
        for sent in archive.add("large.png", count << 20, (block for _ in range(count))):
            if sent is block:
                out.seek(len(block), os.SEEK_CUR)  # zeros that take no room on the disk
            else:
                out.write(sent)
        after = out.tell()
        out.writelines(archive.add("after.jpg", 5, [b"after"]))
        out.writelines(archive.finish())
    with zipfile.ZipFile(path) as opened:
        entries = [(entry.filename, entry.file_size, entry.header_offset) for entry in opened.infolist()]
        assert entries == [("large.png", count << 20, 0), ("after.jpg", 5, after)]
        assert opened.read("after.jpg") == b"after"
    unzip_tests(path, "after.jpg")


def test_more_entries_than_16_bits_count(tmp_path: Path) -> None:
    entries = {f"{number:05}.jpg": b"%d" % number for number in range(66_000)}
    path = write(tmp_path / "many.zip", entries.items())
    assert_whole(path, entries)


def test_a_small_entry_is_readable_as_it_comes(tmp_path: Path) -> None:
    """Its header has the checksum and the sizes; programs that read a stream need them there."""
    content = write(tmp_path / "a.zip", ENTRIES.items()).read_bytes()
    flags, _method, _time, _date, crc, packed, size = struct.unpack_from("<HHHHLLL", content, 6)
    assert (flags, crc, packed, size) == (0, zlib.crc32(b"mug" * 1000), 3000, 3000)


@pytest.mark.parametrize("buffered", [0, zip_stream.BUFFERED_BYTES])
def test_a_content_of_another_size_ends_the_stream(
    buffered: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(zip_stream, "BUFFERED_BYTES", buffered)
    archive = ZipStream(io.BytesIO())
    path = tmp_path / "broken.zip"
    with path.open("wb") as out:
        out.writelines(archive.add("whole.jpg", 5, [b"whole"]))
        with pytest.raises(ValueError, match="is 3 bytes, and 5 were announced"):
            out.writelines(archive.add("cut.jpg", 5, [b"cut"]))
    with pytest.raises(zipfile.BadZipFile):
        zipfile.ZipFile(path)


def test_equal_entries_give_equal_bytes(tmp_path: Path) -> None:
    first, second = (write(tmp_path / name, ENTRIES.items()).read_bytes() for name in ("1.zip", "2.zip"))
    assert first == second
