"""Tests of photos with an invalid orientation tag."""

from __future__ import annotations

import io
import struct

import numpy as np
import pytest
from PIL import Image

from campaigns.photos import intake
from generation.engines.base import ImageRef
from generation.engines.openai import images as openai_images
from generation.engines.openai import profiles as openai_profiles
from generation.finishing import decode
from tests.support.engine_context import MemoryContext

BYTE, ASCII, SHORT, LONG, RATIONAL, FLOAT = 1, 2, 3, 4, 5, 11
ODD = {
    "0": (SHORT, 1, struct.pack("<HH", 0, 0)),
    "9": (SHORT, 1, struct.pack("<HH", 9, 0)),
    "255": (SHORT, 1, struct.pack("<HH", 255, 0)),
    "65535": (SHORT, 1, struct.pack("<HH", 65535, 0)),
    "a large number": (LONG, 1, struct.pack("<I", 4_000_000_000)),
    "a word": (ASCII, 4, b"6no\0"),
    "a letter": (ASCII, 2, b"6\0\0\0"),
    "two numbers": (SHORT, 2, struct.pack("<HH", 9, 6)),
    "nothing": (SHORT, 0, bytes(4)),
    "a fraction": (FLOAT, 1, struct.pack("<f", 6.5)),
    "a division by zero": (RATIONAL, 1, struct.pack("<I", 26)),
    "bytes": (BYTE, 4, b"\6\6\6\6"),
}


def exif(kind: int, count: int, value: bytes) -> bytes:
    entry = struct.pack("<HHI", 0x0112, kind, count) + value
    return b"Exif\0\0II*\0" + struct.pack("<IH", 8, 1) + entry + bytes(4) + struct.pack("<II", 6, 0)


def photo(kind: str, block: bytes) -> bytes:
    y, x = np.mgrid[0:48, 0:64]
    buffer = io.BytesIO()
    Image.fromarray(np.dstack([x * 4, y * 5, x + y]).astype(np.uint8)).save(buffer, kind, exif=block)
    return buffer.getvalue()


@pytest.mark.parametrize("what", ODD)
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
@pytest.mark.filterwarnings("ignore:Metadata Warning")
def test_an_orientation_that_is_none_leaves_the_file_as_it_is(kind: str, what: str) -> None:
    data = photo(kind, exif(*ODD[what]))
    kept = intake.admit(data)
    assert kept.data == data
    assert (kept.width, kept.height, kept.notes) == (64, 48, ())
    assert decode.decode(data).shape == (48, 64, 3)


@pytest.mark.parametrize("value", range(2, 9))
def test_every_real_orientation_still_sets_the_photo_upright(value: int) -> None:
    kept = intake.admit(photo("JPEG", exif(SHORT, 1, struct.pack("<HH", value, 0))))
    assert any("upright" in note for note in kept.notes)
    assert (kept.width, kept.height) == ((48, 64) if value > 4 else (64, 48))


@pytest.mark.parametrize("value", [0, 9, 255])
def test_a_service_gets_the_stored_file_of_a_photo_with_an_odd_orientation(value: int) -> None:
    data = photo("JPEG", exif(SHORT, 1, struct.pack("<HH", value, 0)))
    profile = openai_profiles.read(None, "gpt-image-1")
    upload = openai_images._read_upload("photo", ImageRef("0" * 64, "photo"), profile, MemoryContext(photo=data))
    assert (upload.data, upload.media_type) == (data, "image/jpeg")
