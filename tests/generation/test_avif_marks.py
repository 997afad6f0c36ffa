"""Tests of the boxes of AVIF files: only files as our encoder makes them get marks, and every other one is refused."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from generation.engines.base import Pixels
from generation.finishing import encode
from generation.provenance import avif, containers
from tests.support.engines import noise_pixels

XMP = b"<x:xmpmeta/>"
PROFILE = containers.srgb_profile()
EXIF = b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x0e\0\x02\0\0\0\x04Mug\0\0\0\0\0"
"""A description."""


def pixels_of(channels: int) -> Pixels:
    pixels = noise_pixels(5, 67, 43)
    alpha = np.linspace(0, 255, 67).astype(np.uint8)[None].repeat(43, 0)
    return pixels if channels == 3 else np.dstack([pixels, alpha])


def file_of(channels: int = 3, **options: object) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(pixels_of(channels)).save(stream, "AVIF", **options)
    return stream.getvalue()


@pytest.mark.parametrize("channels", [3, 4])
@pytest.mark.parametrize("packet", [XMP, XMP * 5000], ids=["short", "long"])
def test_a_file_of_the_encoder_gets_profile_and_packet(channels: int, packet: bytes) -> None:
    plain = encode.encode(pixels_of(channels), "avif").data
    marked = avif.insert(plain, packet, PROFILE)
    with Image.open(io.BytesIO(plain)) as before, Image.open(io.BytesIO(marked)) as after:
        assert (after.info["xmp"], after.info["icc_profile"]) == (packet, PROFILE)
        assert np.array_equal(np.asarray(before), np.asarray(after))


@pytest.mark.parametrize("options", [{"xmp": XMP}, {"icc_profile": PROFILE}, {"exif": EXIF}])
def test_a_file_with_metadata_is_refused(options: dict[str, bytes]) -> None:
    with pytest.raises(ValueError, match="AVIF has"):
        avif.insert(file_of(**options), XMP, PROFILE)


def test_an_animation_is_refused() -> None:
    frames = [Image.fromarray(noise_pixels(number, 32, 32)) for number in (1, 2)]
    stream = io.BytesIO()
    frames[0].save(stream, "AVIF", save_all=True, append_images=frames[1:])
    with pytest.raises(ValueError, match="AVIF"):
        avif.insert(stream.getvalue(), XMP, PROFILE)


@pytest.mark.parametrize("channels", [3, 4])
def test_a_file_that_ends_early_is_refused(channels: int) -> None:
    data = file_of(channels)
    for length in (*range(500), len(data) - 1):
        with pytest.raises(ValueError, match="AVIF"):
            avif.insert(data[:length], XMP, PROFILE)


@pytest.mark.parametrize("channels", [3, 4])
def test_a_damaged_box_is_refused_or_changes_nothing_else(channels: int) -> None:
    """No damage of the boxes raises anything but ValueError, or moves the coded pixels."""
    data = file_of(channels)
    start = data.index(b"mdat") + 4
    refused = 0
    for place in range(start):
        for bit in (0x01, 0x80):
            damaged = bytearray(data)
            damaged[place] ^= bit
            try:
                assert data[start:] in avif.insert(bytes(damaged), XMP, PROFILE)
            except ValueError:
                refused += 1
    assert refused > 100
