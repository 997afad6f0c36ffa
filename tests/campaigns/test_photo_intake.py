"""Tests of the first check of uploaded image files."""

from __future__ import annotations

import contextlib
import io
import random
import struct
import zlib

import numpy as np
import pytest
from PIL import Image, ImageCms, PngImagePlugin

from campaigns.photos import intake, metadata

XMP = (
    b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
    b'<rdf:Description xmlns:Iptc4xmpExt="http://iptc.org/std/Iptc4xmpExt/2008-02-29/"'
    b' xmlns:exif="http://ns.adobe.com/exif/1.0/" exif:GPSLatitude="48,8.0N"'
    b' Iptc4xmpExt:DigitalSourceType="http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia">'
    b"<exif:GPSLongitude>11,34.5E</exif:GPSLongitude></rdf:Description></rdf:RDF></x:xmpmeta>"
)


def sample(width: int = 96, height: int = 64, mode: str = "RGB") -> Image.Image:
    y, x = np.mgrid[0:height, 0:width]
    channels = [x * 255 // width, y * 255 // height, (x + y) % 256, 255 - x * 128 // width]
    values = np.stack(channels[: {"RGB": 3, "RGBA": 4, "CMYK": 4}[mode]], axis=-1).astype(np.uint8)
    return Image.fromarray(values, mode)


def with_position(orientation: int = 1) -> Image.Exif:
    exif = Image.Exif()
    exif[0x010F] = "Camera of a stranger"
    exif[0x0112] = orientation
    exif[0x8825] = {1: "N", 2: (48.0, 8.0, 7.25), 3: "E", 4: (11.0, 34.0, 30.5)}
    return exif


def encoded(kind: str, image: Image.Image | None = None, **options: object) -> bytes:
    buffer = io.BytesIO()
    (image or sample()).save(buffer, kind, **options)
    return buffer.getvalue()


def scan_of(jpeg: bytes) -> bytes:
    return jpeg[jpeg.index(b"\xff\xda") :]


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "AVIF"])
def test_a_clean_photo_is_kept_byte_for_byte(kind: str) -> None:
    data = encoded(kind)
    photo = intake.admit(data)
    assert photo.data == data
    assert (photo.width, photo.height, photo.notes) == (96, 64, ())
    assert photo.pixels.shape == (64, 96, 3)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "AVIF"])
def test_a_gps_position_is_removed_and_reported_and_costs_no_pixel(kind: str) -> None:
    data = encoded(kind, exif=with_position())
    assert metadata.has_position(Image.open(io.BytesIO(data)))
    photo = intake.admit(data)
    kept = Image.open(io.BytesIO(photo.data))
    assert not metadata.has_position(kept)
    assert kept.getexif()[0x010F] == "Camera of a stranger"
    assert photo.notes == ("A GPS position was in the file; it was removed.",)
    assert len(photo.data) == len(data)
    assert struct.pack(">II", 29, 4) not in photo.data  # 7.25 as a rational
    assert np.array_equal(photo.pixels, intake.decode(data))


def test_the_compressed_image_of_a_jpeg_with_gps_stays_the_same() -> None:
    data = encoded("JPEG", exif=with_position(), quality=80)
    photo = intake.admit(data)
    assert photo.data != data
    assert scan_of(photo.data) == scan_of(data)


def test_a_position_in_xmp_is_removed_and_the_mark_of_origin_kept() -> None:
    for kind in ("JPEG", "WEBP", "AVIF"):
        photo = intake.admit(encoded(kind, xmp=XMP))
        assert b"GPS" not in photo.data
        assert b"trainedAlgorithmicMedia" in photo.data
        assert any("generative model" in note for note in photo.notes)


def test_a_position_in_compressed_png_text_is_removed_too() -> None:
    text = PngImagePlugin.PngInfo()
    text.add_itxt("XML:com.adobe.xmp", XMP.decode(), zip=True)
    photo = intake.admit(encoded("PNG", pnginfo=text))
    kept = Image.open(io.BytesIO(photo.data))
    kept.load()
    assert not metadata.has_position(kept)
    assert metadata.source_type(kept) == "trainedAlgorithmicMedia"
    assert np.array_equal(photo.pixels, np.asarray(sample()))


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "AVIF"])
def test_a_turned_photo_is_set_upright_and_its_position_goes_too(kind: str) -> None:
    photo = intake.admit(encoded(kind, exif=with_position(orientation=6)))
    assert (photo.width, photo.height) == (64, 96)
    assert any("upright" in note for note in photo.notes)
    kept = Image.open(io.BytesIO(photo.data))
    assert kept.size == (64, 96)
    assert kept.getexif().get(0x0112, 1) == 1 and not metadata.has_position(kept)
    expected = np.asarray(sample().transpose(Image.Transpose.ROTATE_270)).astype(int)
    assert np.abs(photo.pixels.astype(int) - expected).mean() < (0.01 if kind == "PNG" else 12)


def with_credit(jpeg: bytes) -> bytes:
    """Return the JPEG with an IPTC record: credit and copyright notice."""
    record = b"".join(
        bytes((0x1C, 2, dataset)) + struct.pack(">H", len(text)) + text
        for dataset, text in ((110, b"Atelier Nord"), (116, "© 2026 Atelier Nord".encode()))
    )
    return metadata.with_iptc(jpeg, record)


def test_credit_and_copyright_are_kept_and_shown_also_when_the_photo_is_turned() -> None:
    for orientation in (1, 6):
        photo = intake.admit(with_credit(encoded("JPEG", exif=with_position(orientation))))
        kept = Image.open(io.BytesIO(photo.data))
        assert metadata.credit(kept) == "© 2026 Atelier Nord" and b"Atelier Nord" in metadata.iptc_block(kept)
        assert photo.notes[-1] == "The file names its owner: © 2026 Atelier Nord. The mark is kept."
        assert not metadata.has_position(kept) and photo.width == (64 if orientation == 6 else 96)


def test_a_copyright_in_exif_is_shown() -> None:
    exif = Image.Exif()
    exif[0x8298] = "Copyright Atelier Nord"
    for kind in ("JPEG", "PNG", "WEBP"):
        assert "Copyright Atelier Nord" in intake.admit(encoded(kind, exif=exif)).notes[-1]


def test_content_credentials_are_shown() -> None:
    jpeg = encoded("JPEG")
    box = b"JP\x00\x01\x00\x00\x00\x01" + struct.pack(">I", 64) + b"jumb" + b"\x00" * 12 + b"c2pa" + b"\x00" * 30
    marked = jpeg[:2] + b"\xff\xeb" + struct.pack(">H", len(box) + 2) + box + jpeg[2:]
    photo = intake.admit(marked)
    assert photo.data == marked
    assert "C2PA" in photo.notes[0] and "kept" in photo.notes[0]


def test_a_cmyk_photo_becomes_srgb() -> None:
    photo = intake.admit(encoded("JPEG", sample(mode="CMYK")))
    assert Image.open(io.BytesIO(photo.data)).mode == "RGB"
    assert photo.pixels.shape[2] == 3 and any("CMYK" in note for note in photo.notes)


def test_a_colour_profile_is_followed_and_kept() -> None:
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB"))
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    data = encoded("PNG", icc_profile=srgb)
    assert intake.admit(data).data == data
    assert np.array_equal(intake.admit(data).pixels, np.asarray(sample()))
    # A profile that does not fit the pixels is ignored; it is not an error.
    assert intake.admit(encoded("PNG", icc_profile=profile.tobytes())).pixels.shape == (64, 96, 3)


def test_alpha_and_sixteen_bits_reach_the_pixels() -> None:
    assert intake.admit(encoded("PNG", sample(mode="RGBA"))).pixels.shape == (64, 96, 4)
    deep = Image.fromarray(np.linspace(0, 65535, 64 * 64, dtype=np.uint16).reshape(64, 64))
    pixels = intake.admit(encoded("PNG", deep)).pixels
    assert pixels.min() == 0 and pixels.max() == 255


def test_further_images_inside_a_phone_jpeg_are_dropped_with_their_position() -> None:
    second = sample(48, 32)
    second.encoderinfo = {"exif": with_position()}
    data = encoded("MPO", save_all=True, append_images=[second])
    assert Image.open(io.BytesIO(data)).n_frames == 2
    photo = intake.admit(data)
    assert photo.suffix == "jpg" and len(photo.data) < len(data)
    assert Image.open(io.BytesIO(photo.data)).format == "JPEG"
    assert np.array_equal(photo.pixels, np.asarray(Image.open(io.BytesIO(data)).convert("RGB")))


@pytest.mark.parametrize("data", [b"", b"<html>not found</html>", b"\x00" * 4000, b"BM" + b"\x00" * 60, b"\xff\xd8"])
def test_what_is_no_photo_is_refused(data: bytes) -> None:
    with pytest.raises(intake.Refused):
        intake.admit(data)


def test_formats_outside_the_list_are_refused_even_when_pillow_can_read_them() -> None:
    for kind in ("GIF", "TIFF", "BMP", "PPM", "ICO"):
        with pytest.raises(intake.Refused, match="JPEG, PNG, WebP or AVIF"):
            intake.admit(encoded(kind))


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "AVIF"])
def test_a_file_that_ends_early_is_refused(kind: str) -> None:
    data = encoded(kind, sample(200, 200))
    for share in (0.5, 0.9):
        with pytest.raises(intake.Refused):
            intake.admit(data[: int(len(data) * share)])


def test_a_png_with_a_damaged_chunk_is_refused() -> None:
    data = bytearray(encoded("PNG", sample(200, 200)))
    data[len(data) // 2] ^= 0xFF
    with pytest.raises(intake.Refused, match="damaged"):
        intake.admit(bytes(data))


def test_an_animated_image_is_refused() -> None:
    frames = [sample().rotate(angle) for angle in (90, 180)]
    for kind in ("PNG", "WEBP", "AVIF"):
        with pytest.raises(intake.Refused, match="animated"):
            intake.admit(encoded(kind, save_all=True, append_images=frames))


def test_a_decompression_bomb_is_refused_from_its_header() -> None:
    for side in (9_000, 40_000):
        header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
        chunks = b"".join(
            struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
            for kind, body in ((b"IHDR", header), (b"IDAT", zlib.compress(b"\x00" * 1000)), (b"IEND", b""))
        )
        with pytest.raises(intake.TooLarge, match="million"):
            intake.admit(b"\x89PNG\r\n\x1a\n" + chunks)


def test_too_many_bytes_and_too_few_pixels_are_refused() -> None:
    with pytest.raises(intake.TooLarge, match="MB"):
        intake.admit(b"\xff\xd8" + bytes(intake.MAX_BYTES))
    with pytest.raises(intake.Refused, match="10 × 10"):
        intake.admit(encoded("PNG", sample(10, 10)))


def test_damaged_files_never_raise_anything_but_a_refusal() -> None:
    """Damage each format randomly two hundred times: the result is a photo or Refused, never another exception."""
    chance = random.Random(7)
    for kind in ("JPEG", "PNG", "WEBP", "AVIF"):
        whole = encoded(kind, exif=with_position())
        for _ in range(50):
            data = bytearray(whole)
            for _ in range(chance.randint(1, 6)):
                data[chance.randrange(len(data))] = chance.randrange(256)
            with contextlib.suppress(intake.Refused):
                assert intake.admit(bytes(data)).pixels.dtype == np.uint8
