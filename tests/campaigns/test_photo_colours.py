"""Tests of colour profiles of photos: the pixels in sRGB, compared with a computation by formula."""

from __future__ import annotations

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image, ImageCms

from campaigns.photos import colour_profiles, colour_spaces, intake
from generation.finishing import decode
from tests.support import icc
from tests.support.icc import Profile, chunk

LINEAR = Profile("Linear RGB", icc.gamma(1.0), icc.SRGB)
PROFILES = {
    "Adobe RGB": Profile("Adobe RGB (1998)", icc.gamma(2.19921875), icc.ADOBE_RGB),
    "Display P3": Profile("Display P3", icc.srgb_to_linear, icc.DISPLAY_P3),
    "ProPhoto": Profile("ROMM RGB", icc.gamma(1.8), icc.PROPHOTO),
    "linear": LINEAR,
    "linear named sRGB": Profile("sRGB IEC61966-2.1", icc.gamma(1.0), icc.SRGB),
    "P3 named sRGB": Profile("sRGB built-in", icc.srgb_to_linear, icc.DISPLAY_P3, version=4),
    "gamma 1.8 without a name": Profile("", icc.gamma(1.8), icc.SRGB, version=4),
}
GREYS = {
    "linear": Profile("Linear gray", icc.gamma(1.0)),
    "linear named sRGB": Profile("sRGB gray", icc.gamma(1.0), version=4),
    "gamma 1.8": Profile("Gray Gamma 1.8", icc.gamma(1.8)),
    "gamma 2.2": Profile("Gray Gamma 2.2", icc.gamma(2.2)),
    "dot gain": Profile("Dot Gain 20%", lambda value: np.asarray(value) ** 1.6 * 0.9 + np.asarray(value) * 0.1),
}
COLOURS = [(70, 130, 90), (12, 9, 6), (240, 40, 220)]
TOLERANCE = 2


def saved(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def flat(colour: tuple[int, ...], mode: str) -> Image.Image:
    return Image.new(mode, (32, 24), colour if len(colour) > 1 else colour[0])


def file_of(shape: str, colour: tuple[int, int, int], profile: bytes) -> bytes:
    """Return a file of one colour in the form `shape`, with a transparent first pixel if the form allows it."""
    image = flat(colour, "RGB")
    if shape == "RGB":
        return saved(image, icc_profile=profile)
    if shape == "RGBA":
        image.putalpha(200)
        image.putpixel((0, 0), (0, 0, 0, 0))
        return saved(image, icc_profile=profile)
    if shape.startswith("palette"):
        image.putpixel((0, 0), (255, 0, 255))
        indexed = image.quantize(8)
        options = {"transparency": indexed.getpixel((0, 0))} if "alpha" in shape else {}
        return saved(indexed, icc_profile=profile, **options)
    if shape == "WebP":
        return saved(image, "WEBP", lossless=True, icc_profile=profile)
    if shape == "JPEG":
        return saved(image, "JPEG", quality=100, subsampling=0, icc_profile=profile)
    words = np.full((24, 32, 3), [level * 257 for level in colour], dtype=np.uint16)
    if "alpha" in shape:
        words = np.dstack([words, np.full((24, 32), 200 * 257, dtype=np.uint16)])
    return icc.png16(words, icc.iccp(profile))


SHAPES = ["RGB", "RGBA", "palette", "palette with alpha", "16 bits", "16 bits with alpha", "WebP", "JPEG"]


@pytest.mark.parametrize("profile", PROFILES.values(), ids=list(PROFILES))
@pytest.mark.parametrize("shape", SHAPES)
def test_a_profile_counts_by_its_content_in_every_shape_of_file(shape: str, profile: Profile) -> None:
    for colour in COLOURS:
        data = file_of(shape, colour, profile.icc())
        photo = intake.admit(data)
        # JPEG is exact to one level, which is several levels after a linear curve in dark colours.
        if shape == "JPEG":
            colour = Image.open(io.BytesIO(data)).getpixel((16, 12))
        expected = profile.in_srgb(np.array(colour) / 255)
        for pixels in (photo.pixels, decode.decode(data)):
            assert np.abs(pixels[12, 16, :3] - expected).max() <= TOLERANCE, (colour, pixels[12, 16], expected)
        assert photo.data == data and photo.notes == ()
        assert photo.pixels.shape[2] == (4 if "alpha" in shape or shape == "RGBA" else 3)


@pytest.mark.parametrize("shape", ["RGBA", "palette with alpha", "16 bits with alpha"])
def test_alpha_is_no_colour_and_stays_as_it_is(shape: str) -> None:
    photo = intake.admit(file_of(shape, (70, 130, 90), LINEAR.icc()))
    assert photo.pixels[12, 16, 3] == (255 if shape.startswith("palette") else 200)
    assert photo.pixels[0, 0, 3] == (200 if "16" in shape else 0)


def grey_file(shape: str, level: int, profile: bytes) -> bytes:
    if shape == "8 bits":
        return saved(flat((level,), "L"), icc_profile=profile)
    if shape == "8 bits with alpha":
        return saved(flat((level, 200), "LA"), icc_profile=profile)
    if shape == "8 bits with a transparent grey":
        return saved(flat((level,), "L"), icc_profile=profile, transparency=(level + 9) % 256)
    if shape == "JPEG":
        return saved(flat((level,), "L"), "JPEG", quality=100, icc_profile=profile)
    words = np.full((24, 32, 1), level * 257, dtype=np.uint16)
    if shape == "16 bits with alpha":
        words = np.dstack([words, np.full((24, 32), 200 * 257, dtype=np.uint16)])
    return icc.png16(words, icc.iccp(profile))


GREY_SHAPES = ["8 bits", "8 bits with alpha", "8 bits with a transparent grey", "JPEG", "16 bits", "16 bits with alpha"]


@pytest.mark.parametrize("profile", GREYS.values(), ids=list(GREYS))
@pytest.mark.parametrize("shape", GREY_SHAPES)
def test_a_grey_profile_counts_by_its_content(shape: str, profile: Profile) -> None:
    for level in (0, 2, 6, 108, 255):
        data = grey_file(shape, level, profile.icc())
        photo, expected = intake.admit(data), profile.in_srgb([level / 255])
        for pixels in (photo.pixels, decode.decode(data)):
            assert np.abs(pixels[12, 16, :3] - expected).max() <= TOLERANCE, (level, pixels[12, 16], expected)
        assert photo.data == data and photo.notes == ()
        assert photo.pixels.shape[2] == (4 if "alpha" in shape or "transparent" in shape else 3)


@pytest.mark.parametrize("profile", PROFILES.values(), ids=list(PROFILES))
@pytest.mark.parametrize("shape", ["8 bits", "8 bits with alpha", "16 bits"])
def test_a_profile_for_colours_counts_in_a_grey_file_too(shape: str, profile: Profile) -> None:
    for level in (4, 70, 190):
        pixels = intake.admit(grey_file(shape, level, profile.icc())).pixels
        expected = profile.in_srgb(np.array([level] * 3) / 255)
        assert np.abs(pixels[12, 16, :3] - expected).max() <= TOLERANCE


@pytest.mark.parametrize("profile", PROFILES.values(), ids=list(PROFILES))
def test_all_sixteen_bits_count_in_the_dark(profile: Profile) -> None:
    """In a linear file, eight bits keep only a dozen of the sixty darkest sRGB levels."""
    words = np.zeros((16, 256, 3), dtype=np.uint16)
    words[..., 0] = np.arange(4096).reshape(16, 256)
    words[..., 1] = np.arange(4096)[::-1].reshape(16, 256) * 3
    words[..., 2] = np.arange(4096).reshape(16, 256) * 15 + 31
    expected = np.array([profile.in_srgb(colour) for colour in words.reshape(-1, 3) / 65535]).reshape(16, 256, 3)
    pixels = intake.admit(icc.png16(words, icc.iccp(profile.icc()))).pixels
    assert np.abs(pixels - expected).max() <= TOLERANCE
    assert np.abs(pixels - expected).mean() < 0.5


@pytest.mark.parametrize("channels", [1, 3])
def test_a_transparent_colour_of_sixteen_bits_is_transparent(channels: int) -> None:
    words = np.full((24, 32, channels), 20000, dtype=np.uint16)
    words[:, :16] = 20001
    content = words[0, 0].astype(">u2").tobytes()
    for extra in ([], [icc.iccp(GREYS["linear"].icc() if channels == 1 else LINEAR.icc())]):
        pixels = intake.admit(icc.png16(words, *extra, chunk(b"tRNS", content))).pixels
        assert (pixels[:, :16, 3] == 0).all() and (pixels[:, 16:, 3] == 255).all()
        assert pixels[0, 20, 0] == (78 if not extra else round(float(LINEAR.in_srgb([20000 / 65535] * 3)[0])))


SRGB_PROFILES = {
    "of LittleCMS": ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes(),
    "version 2 by another name": Profile("Camera", icc.srgb_to_linear, icc.SRGB).icc(),
    "version 4 without a name": Profile("", icc.srgb_to_linear, icc.SRGB, version=4).icc(),
    "named Adobe RGB": Profile("Adobe RGB (1998)", icc.srgb_to_linear, icc.SRGB).icc(),
    "with a curve by formula": colour_spaces.make_icc_profile(colour_spaces.Space()),
}


@pytest.mark.parametrize("profile", SRGB_PROFILES.values(), ids=list(SRGB_PROFILES))
@pytest.mark.parametrize("mode", ["RGB", "RGBA", "P", "L"])
def test_an_image_in_srgb_keeps_every_pixel_whatever_its_profile_is_called(mode: str, profile: bytes) -> None:
    values = np.random.default_rng(1).integers(0, 256, (64, 64, 4), dtype=np.uint8)
    image = Image.fromarray(values).convert("RGB" if mode == "P" else mode)
    image = image.quantize(64) if mode == "P" else image
    data = saved(image, icc_profile=profile)
    photo = intake.admit(data)
    assert photo.data == data and photo.notes == ()
    assert np.array_equal(photo.pixels, np.asarray(image.convert("RGBA" if mode == "RGBA" else "RGB")))
    assert colour_profiles.file_in_srgb(data) == data


def test_a_file_without_a_profile_keeps_every_pixel() -> None:
    values = np.random.default_rng(2).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    data = saved(Image.fromarray(values))
    assert np.array_equal(intake.admit(data).pixels, values)
    assert np.array_equal(decode.decode(data), values)
    assert colour_profiles.file_in_srgb(data) == data


BAD_PROFILES = {
    "cut off": (LINEAR.icc()[:300], "damaged"),
    "of zeroes": (bytes(600), "damaged"),
    "of text": (b"this is no profile" * 20, "damaged"),
    "without curves": (icc.assembled(b"RGB ", "RGB", {b"wtpt": icc.xyz(icc.D50)}), "damaged"),
    "black in every colour": (Profile("RGB", icc.gamma(1.0), icc.SRGB * 0).icc(), "damaged"),
    "for greys": (GREYS["linear"].icc(), "for grey images, but the file is an image in RGB"),
    "for print": (icc.cmyk(), "for images in CMYK, but the file is an image in RGB"),
    "for Lab": (
        ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes(),
        "for images in Lab, but the file is an image in RGB",
    ),
}


@pytest.mark.parametrize(("profile", "words"), BAD_PROFILES.values(), ids=list(BAD_PROFILES))
@pytest.mark.parametrize("shape", SHAPES)
def test_a_profile_that_cannot_be_used_is_reported_and_changes_nothing(shape: str, profile: bytes, words: str) -> None:
    data = file_of(shape, (70, 130, 90), profile)
    photo = intake.admit(data)
    assert len(photo.notes) == 1 and words in photo.notes[0] and "sRGB" in photo.notes[0]
    assert photo.data == data
    assert np.abs(photo.pixels[12, 16, :3].astype(int) - (70, 130, 90)).max() <= (1 if shape == "JPEG" else 0)


def test_a_profile_whose_compression_is_damaged_is_reported() -> None:
    data = icc.with_chunks(saved(flat((70, 130, 90), "RGB")), chunk(b"iCCP", b"icc\0\0" + b"no deflate"))
    photo = intake.admit(data)
    assert len(photo.notes) == 1 and "damaged" in photo.notes[0]
    assert photo.pixels[12, 16].tolist() == [70, 130, 90]


def test_a_print_profile_in_a_grey_file_is_reported() -> None:
    photo = intake.admit(grey_file("8 bits", 108, icc.cmyk()))
    assert len(photo.notes) == 1 and "but the file is a grey image" in photo.notes[0]
    assert photo.pixels[12, 16].tolist() == [108, 108, 108]


INKS = [(0, 0, 0, 0), (1, 0, 0, 0), (0, 1, 0, 0), (0, 0, 1, 0), (0, 1, 1, 0), (0, 0, 0, 1)]


@pytest.mark.parametrize("inks", INKS, ids=str)
def test_a_print_profile_gives_the_colours_of_its_inks(inks: tuple[int, int, int, int]) -> None:
    """Pillow writes CMYK inverted, as Adobe does."""
    data = saved(flat(tuple(255 * ink for ink in inks), "CMYK"), "JPEG", quality=100, icc_profile=icc.cmyk())
    photo, expected = intake.admit(data), icc.lab_in_srgb(icc.ink_lab(inks))
    assert np.abs(decode.decode(data)[12, 16] - expected).max() <= TOLERANCE, expected
    assert np.abs(photo.pixels[12, 16] - expected).max() <= TOLERANCE
    assert photo.notes == ("The photo was in CMYK; it was converted to sRGB.",)
    assert "icc_profile" not in Image.open(io.BytesIO(photo.data)).info


@pytest.mark.parametrize("profile", [LINEAR.icc(), GREYS["linear"].icc(), b"damaged" * 30])
def test_a_print_file_with_a_profile_that_does_not_fit_is_reported(profile: bytes) -> None:
    data = saved(flat((0, 200, 200, 0), "CMYK"), "JPEG", quality=100, icc_profile=profile)
    plain = saved(flat((0, 200, 200, 0), "CMYK"), "JPEG", quality=100)
    photo = intake.admit(data)
    assert any("ignored" in note for note in photo.notes) and any("CMYK;" in note for note in photo.notes)
    assert np.array_equal(photo.pixels, intake.admit(plain).pixels)


@pytest.mark.parametrize("lab", [(50, 0, 0), (60, 30, 20), (45, -30, 15), (90, -2, 8), (20, 10, -20)], ids=str)
def test_an_image_in_lab_comes_back_in_srgb(lab: tuple[int, int, int]) -> None:
    stored = (round(lab[0] * 2.55), lab[1] + 128, lab[2] + 128)
    pixels = decode.decode(saved(flat(stored, "LAB"), "TIFF"))
    assert np.abs(pixels[12, 16] - icc.lab_in_srgb((stored[0] / 2.55, *lab[1:]))).max() <= TOLERANCE


def gama(exponent: float) -> bytes:
    return chunk(b"gAMA", struct.pack(">I", round(exponent * 100_000)))


def chrm(primaries: tuple[float, ...]) -> bytes:
    return chunk(b"cHRM", struct.pack(">8I", *(round(value * 100_000) for value in primaries)))


P3 = (0.3127, 0.3290, 0.680, 0.320, 0.265, 0.690, 0.150, 0.060)
CHUNKS = {
    "linear gAMA": ([gama(1.0)], Profile("", icc.gamma(1.0), icc.SRGB)),
    "gAMA of 1/1.8": ([gama(1 / 1.8)], Profile("", icc.gamma(1.8), icc.SRGB)),
    "gAMA of 1/3": ([gama(1 / 3)], Profile("", icc.gamma(3), icc.SRGB)),
    "cHRM of P3": ([chrm(P3)], Profile("", icc.srgb_to_linear, icc.DISPLAY_P3)),
    "gAMA and cHRM of Adobe RGB": (
        [gama(1 / 2.2), chrm(colour_spaces.ADOBE_RGB)],
        Profile("", icc.gamma(2.2), icc.ADOBE_RGB),
    ),
    "cICP of P3": ([chunk(b"cICP", bytes((12, 13, 0, 1)))], Profile("", icc.srgb_to_linear, icc.DISPLAY_P3)),
    "cICP of linear light": ([chunk(b"cICP", bytes((1, 8, 0, 1)))], Profile("", icc.gamma(1.0), icc.SRGB)),
    "cICP before gAMA": ([chunk(b"cICP", bytes((12, 13, 0, 1))), gama(1.0)], PROFILES["Display P3"]),
    "cICP before a profile": ([chunk(b"cICP", bytes((12, 13, 0, 1))), icc.iccp(LINEAR.icc())], PROFILES["Display P3"]),
    "a profile before gAMA": ([icc.iccp(PROFILES["Adobe RGB"].icc()), gama(1.0)], PROFILES["Adobe RGB"]),
}


@pytest.mark.parametrize(("chunks", "profile"), CHUNKS.values(), ids=list(CHUNKS))
@pytest.mark.parametrize("mode", ["RGB", "P", "16 bits"])
def test_a_png_that_names_its_colours_by_chunks_is_understood(mode: str, chunks: list[bytes], profile: Profile) -> None:
    for colour in COLOURS:
        if mode == "16 bits":
            data = icc.png16(np.full((24, 32, 3), [level * 257 for level in colour], dtype=np.uint16), *chunks)
        else:
            image = flat(colour, "RGB")
            data = icc.with_chunks(saved(image.quantize(2) if mode == "P" else image), *chunks)
        photo, expected = intake.admit(data), profile.in_srgb(np.array(colour) / 255)
        assert np.abs(photo.pixels[12, 16, :3] - expected).max() <= TOLERANCE, (photo.pixels[12, 16], expected)
        assert photo.data == data and photo.notes == ()


HARMLESS = {
    "gAMA of sRGB": [gama(0.45455)],
    "gAMA and cHRM of sRGB": [gama(0.45455), chrm(colour_spaces.SRGB)],
    "an sRGB chunk beside another gAMA": [chunk(b"sRGB", b"\0"), gama(1.0)],
    "gAMA of nothing": [gama(0)],
    "gAMA of 40,000": [gama(40_000)],
    "cHRM of zeroes": [chrm((0,) * 8)],
    "cHRM of one point": [chrm((0.3, 0.3) * 4)],
    "cHRM whose white is no mixture": [chrm((0.7, 0.2, 0.64, 0.33, 0.30, 0.60, 0.15, 0.06))],
    "cICP of sRGB": [chunk(b"cICP", bytes((1, 13, 0, 1)))],
    "cICP of video": [chunk(b"cICP", bytes((1, 1, 0, 1)))],
    "cICP cut off": [chunk(b"cICP", b"\1")],
}


@pytest.mark.parametrize("chunks", HARMLESS.values(), ids=list(HARMLESS))
def test_chunks_of_srgb_or_nonsense_change_no_pixel(chunks: list[bytes]) -> None:
    values = np.random.default_rng(3).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    data = icc.with_chunks(saved(Image.fromarray(values)), *chunks)
    photo = intake.admit(data)
    assert np.array_equal(photo.pixels, values) and photo.data == data and photo.notes == ()


@pytest.mark.parametrize("code", [(9, 16), (9, 18), (1, 16), (22, 13), (1, 10)], ids=str)
def test_a_colour_space_that_is_not_supported_is_reported(code: tuple[int, int]) -> None:
    data = icc.with_chunks(saved(flat((70, 130, 90), "RGB")), chunk(b"cICP", bytes((*code, 0, 1))))
    photo = intake.admit(data)
    assert photo.pixels[12, 16].tolist() == [70, 130, 90]
    assert len(photo.notes) == 1 and "sRGB" in photo.notes[0]


#: Linear conversion from the primaries of BT.2020 to those of sRGB.
BT_2087 = np.array([[1.6605, -0.5876, -0.0728], [-0.1246, 1.1329, -0.0083], [-0.0182, -0.1006, 1.1187]])


@pytest.mark.parametrize("codes", [(12, 13), (9, 13), (1, 8), (1, 13), (2, 2)], ids=str)
def test_the_code_points_of_an_avif_are_understood(codes: tuple[int, int]) -> None:
    data = bytearray(saved(flat((70, 130, 90), "RGB"), "AVIF", quality=100, subsampling="4:4:4"))
    at = data.index(b"colrnclx") + 8
    data[at : at + 4] = struct.pack(">HH", *codes)
    colour = np.asarray(Image.open(io.BytesIO(bytes(data))))[12, 16] / 255
    expected = {
        (12, 13): PROFILES["Display P3"].in_srgb(colour),
        (9, 13): icc.linear_to_srgb(BT_2087 @ icc.srgb_to_linear(colour)) * 255,
        (1, 8): LINEAR.in_srgb(colour),
    }.get(codes, colour * 255)
    assert np.abs(intake.admit(bytes(data)).pixels[12, 16] - expected).max() <= TOLERANCE


def of_camera(index: str) -> Image.Exif:
    exif = Image.Exif()
    exif[0x8769] = {0xA001: 65535, 0xA005: {1: index}}
    return exif


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize(("index", "profile"), [("R03", PROFILES["Adobe RGB"]), ("R98", None), ("THM", None)])
def test_a_camera_that_says_adobe_rgb_without_a_profile_is_understood(
    kind: str, index: str, profile: Profile | None
) -> None:
    data = saved(flat((70, 130, 90), "RGB"), kind, exif=of_camera(index))
    stored = np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))[12, 16]
    expected = profile.in_srgb(stored / 255) if profile else stored
    assert np.abs(intake.admit(data).pixels[12, 16] - expected).max() <= TOLERANCE


TURNED = {
    "a profile": file_of("RGB", (70, 130, 90), LINEAR.icc()),
    "a profile of a palette": file_of("palette", (70, 130, 90), LINEAR.icc()),
    "a profile in 16 bits": file_of("16 bits", (70, 130, 90), LINEAR.icc()),
    "a profile in 16 bits with alpha": file_of("16 bits with alpha", (70, 130, 90), LINEAR.icc()),
    "a profile in a JPEG": file_of("JPEG", (70, 130, 90), LINEAR.icc()),
    "chunks": icc.with_chunks(saved(flat((70, 130, 90), "RGB")), gama(1.0)),
}


@pytest.mark.parametrize("data", TURNED.values(), ids=list(TURNED))
def test_a_photo_that_is_set_upright_keeps_its_colours(data: bytes) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    if data.startswith(b"\x89PNG"):
        data = icc.with_chunks(data, chunk(b"eXIf", exif.tobytes().removeprefix(b"Exif\0\0")))
    else:
        block = b"Exif\0\0" + exif.tobytes().removeprefix(b"Exif\0\0")
        data = data[:2] + b"\xff\xe1" + struct.pack(">H", len(block) + 2) + block + data[2:]
    photo = intake.admit(data)
    assert (photo.width, photo.height) == (24, 32)
    expected = LINEAR.in_srgb(np.array((70, 130, 90)) / 255)
    for pixels in (photo.pixels, intake.decode(photo.data), decode.decode(data)):
        assert np.abs(pixels[16, 12, :3] - expected).max() <= TOLERANCE


def test_a_profile_that_cannot_be_used_is_reported_once_for_a_photo_that_is_set_upright() -> None:
    exif = Image.Exif()
    exif[0x0112] = 3
    data = saved(flat((70, 130, 90), "RGB"), exif=exif, icc_profile=GREYS["linear"].icc())
    notes = intake.admit(data).notes
    assert len(notes) == 2 and "upright" in notes[0] and "for grey images" in notes[1]


@pytest.mark.parametrize("shape", [*SHAPES, "grey", "16-bit grey", "CMYK"])
def test_a_service_that_knows_no_profiles_gets_srgb(shape: str) -> None:
    """Pillow's plain conversion, which ComfyUI and most services use, then gives the right colours."""
    if shape == "CMYK":
        data = saved(flat((0, 255, 0, 0), "CMYK"), "JPEG", quality=100, icc_profile=icc.cmyk())
        expected = icc.lab_in_srgb(icc.ink_lab((0, 1, 0, 0)))
    elif "grey" in shape:
        data = grey_file("16 bits" if "16" in shape else "8 bits", 108, GREYS["linear"].icc())
        expected = GREYS["linear"].in_srgb([108 / 255])
    else:
        data = file_of(shape, (70, 130, 90), LINEAR.icc())
        expected = LINEAR.in_srgb(np.array((70, 130, 90)) / 255)
    plain = Image.open(io.BytesIO(colour_profiles.file_in_srgb(data)))
    assert np.abs(np.asarray(plain.convert("RGB"))[12, 16] - expected).max() <= TOLERANCE
    assert colour_profiles.file_in_srgb(saved(plain)) == saved(plain)


@pytest.mark.parametrize("data", [b"", b"no image", b"\x89PNG\r\n\x1a\n" + bytes(40), zlib.compress(b"x")])
def test_a_file_that_cannot_be_opened_is_handed_on_as_it_is(data: bytes) -> None:
    assert colour_profiles.file_in_srgb(data) == data
