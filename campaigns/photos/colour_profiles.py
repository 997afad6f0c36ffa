"""Converts the colours of image files to sRGB. No other module applies colour profiles.

LittleCMS converts by the content of a profile, never by its name. A file whose values differ from sRGB by at most one
level keeps them. Without an ICC profile, other information in the file is used: PNG's cICP, gAMA and cHRM chunks,
AVIF's code points, a camera's mark for Adobe RGB (colour_spaces.py). The intent is relative colorimetric with black
point compensation: colours within sRGB stay as measured, white becomes white, and the darkest black becomes black.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageCms
from PIL.ImageCms import Flags, ImageCmsProfile, ImageCmsTransform, Intent

from campaigns.photos import colour_spaces

Pixels8 = NDArray[np.uint8]
Pixels16 = NDArray[np.uint16]

#: Levels by which probes may differ from sRGB without a conversion, or from an exact conversion.
MAX_SRGB_DIFFERENCE: Final = 1
MIN_CONTRAST: Final = 64  # least difference, in levels, between black and white with a usable profile
#: Number of cached conversions: building one takes as long as converting a million pixels.
MAX_CACHED_CONVERSIONS: Final = 16
ROWS_AT_A_TIME: Final = 256  # rows of a 16-bit image that are converted at a time
_ERRORS: Final = (ImageCms.PyCMSError, OSError, ValueError, TypeError)
_KINDS: Final = {"GRAY": "grey images", "RGB": "images in RGB", "CMYK": "images in CMYK", "Lab": "images in Lab"}
_FILES: Final = {"GRAY": "a grey image", "RGB": "an image in RGB", "CMYK": "an image in CMYK", "Lab": "an image in Lab"}
_ADVICE: Final = "The colours were taken as sRGB; if they look wrong, export the image again in sRGB."
_DAMAGED: Final = f"The colour profile in the file is damaged and was ignored. {_ADVICE}"


@dataclass(frozen=True)
class _Source:
    """The colour space of an image's values.

    icc: its profile, empty if unknown. space: "RGB", "GRAY", "CMYK" or "Lab", or empty for sRGB, which needs no
    conversion. note: a sentence about a profile that could not be used.
    """

    icc: bytes = b""
    space: str = ""
    note: str = ""


def to_srgb(image: Image.Image, data: bytes = b"") -> Image.Image:
    """Convert a loaded image to RGB, or RGBA with straight alpha; sRGB, 8 bits. A bad profile is ignored.

    data: the file that it was opened from. It has parts that Pillow does not read: all 16 bits of colours, and chunks.
    """
    source = _source(image, data)
    if image.mode == "CMYK" and not source.space:
        return image.convert("RGB")  # the inks are unknown without a profile, so Pillow's formula is used
    if image.mode in ("CMYK", "LAB"):
        if not source.space:
            source = _Source(ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes(), "Lab")
        converted = _transform(source, image.mode).apply(image)
        converted.info.pop("icc_profile", None)
        return converted
    deep = _sixteen_bits(image, data, source)
    if deep is not None:
        return _convert_sixteen_bits(deep, source)
    plain = image.convert("RGBA" if image.has_transparency_data else "RGB")
    if not source.space:
        return plain
    if source.space == "GRAY":
        table = _grey_table(source, 256)
        converted = Image.fromarray(table[np.asarray(plain.getchannel("R"))])
    else:
        converted = _transform(source, "RGB").apply(plain.convert("RGB"))
    converted.info.pop("icc_profile", None)
    if plain.mode == "RGBA":
        converted.putalpha(plain.getchannel("A"))
    return converted


def file_in_srgb(data: bytes) -> bytes:
    """Return an image file for a reader that ignores colour profiles.

    It is the file itself if its values are sRGB in 8 bits, or if it cannot be opened; else a PNG.
    """
    try:
        with Image.open(io.BytesIO(data)) as image:
            if image.mode in ("1", "L", "LA", "P", "RGB", "RGBA") and not _source(image, data).space:
                return data
            image.load()
            converted = to_srgb(image, data)
    except (OSError, SyntaxError, ValueError, EOFError, Image.DecompressionBombError):
        return data
    buffer = io.BytesIO()
    converted.save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()


def profile_to_keep(image: Image.Image, data: bytes = b"") -> tuple[bytes, str]:
    """Return the ICC profile to store when the image is encoded again, empty for sRGB, and a sentence or "".

    The sentence is about a profile that could not be used.
    """
    source = _source(image, data)
    return source.icc, source.note


def has_sixteen_bits(image: Image.Image, data: bytes) -> bool:
    """Return True for a colour PNG with 16 bits per channel, of which Pillow keeps only 8."""
    return image.mode in ("RGB", "RGBA") and _png_kind(image, data)[0] == 16


def _source(image: Image.Image, data: bytes) -> _Source:
    """Return the colour space of an image from the first source that has one.

    The sources are, in order: cICP, ICC profile, other chunks, the camera's mark.
    """
    note = ""
    try:
        space = colour_spaces.space_of_code_points(image, data)
    except colour_spaces.UnsupportedColourSpace as error:
        space, note = None, str(error)
    has_icc = "icc_profile" in image.info
    if has_icc and (space is None or image.format == "AVIF"):
        return _source_of_icc(image.info["icc_profile"] or b"", _icc_space(image, data))
    if space is None and not note:
        space = colour_spaces.space_of_png_chunks(image) or colour_spaces.space_of_camera(image)
    if space is None or space.is_srgb or image.mode in ("CMYK", "LAB"):
        return _Source(note=note)
    return _source_of_icc(colour_spaces.make_icc_profile(space), _icc_space(image, data))


@lru_cache(maxsize=MAX_CACHED_CONVERSIONS)
def _source_of_icc(icc: bytes, space: str) -> _Source:
    """Return the source that an ICC profile describes for an image in `space`."""
    try:
        profile_space = ImageCmsProfile(io.BytesIO(icc)).profile.xcolor_space.strip()
        if profile_space != space and (space, profile_space) != ("GRAY", "RGB"):
            kind = _KINDS.get(profile_space, f"another kind of images ({profile_space})")
            problem = f"The colour profile in the file is for {kind}, but the file is {_FILES[space]}; it was ignored."
            return _Source(note=f"{problem} {_ADVICE}")
        source = _Source(icc, profile_space)
        return _Source(icc) if _is_srgb(source) else source
    except _ERRORS:
        return _Source(note=_DAMAGED)


def _icc_space(image: Image.Image, data: bytes) -> str:
    """Return the colour space of an image's values, by its name in ICC."""
    if image.mode in ("CMYK", "LAB"):
        return {"CMYK": "CMYK", "LAB": "Lab"}[image.mode]
    is_grey = image.mode in ("1", "L", "LA", "La", "F") or image.mode.startswith("I")
    # Pillow opens a PNG of greys with alpha in 16 bits as RGBA.
    return "GRAY" if is_grey or _png_kind(image, data) == (16, 4) else "RGB"


def _png_kind(image: Image.Image, data: bytes) -> tuple[int, int]:
    """Return (bits of a channel, colour type) of a PNG; (8, 2) for other files."""
    return (data[24], data[25]) if image.format == "PNG" and len(data) > 25 else (8, 2)


def _is_srgb(source: _Source) -> bool:
    """Return True if the probes change by at most MAX_SRGB_DIFFERENCE. Raises ValueError for a nonsensical profile."""
    if source.space in ("CMYK", "Lab"):
        _transform(source, "CMYK" if source.space == "CMYK" else "LAB")
        return False
    if source.space == "GRAY":
        before, after = _probes()[:256], _grey_table(source, 256)
    else:
        before = _probes()
        after = np.asarray(_transform(source, "RGB").apply(Image.fromarray(before[None])))[0]
    black, white = after[0].astype(int), after[255].astype(int)
    if (white - black).min() < MIN_CONTRAST:
        raise ValueError("the profile shows white hardly brighter than black")
    return bool(np.abs(after.astype(int) - before).max() <= MAX_SRGB_DIFFERENCE)


def _probes() -> Pixels8:
    """Return 256 greys from black to white, then colours on a grid; n × 3."""
    greys = np.repeat(np.arange(256)[:, None], 3, axis=1)
    levels = np.array([0, 16, 64, 128, 192, 255])
    grid = np.stack(np.meshgrid(levels, levels, levels), axis=-1).reshape(-1, 3)
    return np.concatenate([greys, grid]).astype(np.uint8)


@lru_cache(maxsize=MAX_CACHED_CONVERSIONS)
def _transform(source: _Source, mode: str) -> ImageCmsTransform:
    """Return the conversion of images in `mode` to sRGB. Raises the exceptions in _ERRORS.

    For speed, LittleCMS uses tables that are wrong by up to ten levels in dark colours of linear profiles. So a fast
    conversion is used only if its results equal those of the exact one.
    """
    if mode != "RGB":
        return _build_transform(source, mode, Flags.HIGHRESPRECALC)
    probes = Image.fromarray(_probes()[None])
    exact = _build_transform(source, mode, Flags.NOOPTIMIZE)
    expected = np.asarray(exact.apply(probes)).astype(int)
    for flags in (Flags.NONE, Flags.HIGHRESPRECALC):
        fast = _build_transform(source, mode, flags)
        if np.abs(np.asarray(fast.apply(probes)).astype(int) - expected).max() <= MAX_SRGB_DIFFERENCE:
            return fast
    return exact


def _build_transform(source: _Source, mode: str, flags: Flags) -> ImageCmsTransform:
    profile, srgb = ImageCmsProfile(io.BytesIO(source.icc)), ImageCmsProfile(ImageCms.createProfile("sRGB"))
    flags |= Flags.BLACKPOINTCOMPENSATION
    return ImageCmsTransform(profile, srgb, mode, "RGB", Intent.RELATIVE_COLORIMETRIC, flags=flags)


@lru_cache(maxsize=MAX_CACHED_CONVERSIONS)
def _grey_table(source: _Source, levels: int) -> Pixels8:
    """Return the sRGB colour of every grey from black to white, levels × 3; 256 or 65536 levels."""
    ramp = np.arange(levels).reshape(-1, 256)
    if source.space == "RGB":
        colours = np.repeat(ramp[..., None], 3, axis=-1)
        if levels > 256:
            return _words_to_srgb(colours.astype(np.uint16), source).reshape(-1, 3)
        exact = _build_transform(source, "RGB", Flags.NOOPTIMIZE).apply(Image.fromarray(colours.astype(np.uint8)))
    elif levels > 256:
        exact = _build_transform(source, "I;16", Flags.NOOPTIMIZE).apply(Image.fromarray(ramp.astype(np.uint16)))
    else:
        exact = _build_transform(source, "L", Flags.NOOPTIMIZE).apply(Image.fromarray(ramp.astype(np.uint8)))
    return np.asarray(exact, dtype=np.uint8).reshape(-1, 3)


def _sixteen_bits(image: Image.Image, data: bytes, source: _Source) -> Pixels16 | None:
    """Return the image's values with 16 bits: height × width for greys, else height × width × 3, or × 4 with alpha.

    None if the image has only 8 bits, or needs only 8.
    """
    if image.mode.startswith("I") or image.mode == "F":
        values = np.asarray(image, dtype=np.float32)
        if not image.mode.startswith("I;16") and values.max(initial=0) <= 255:
            values = values * 257
        words = np.clip(values + 0.5, 0, 65535).astype(np.uint16)
        if "transparency" not in image.info:
            return words
        alpha = np.where(words == image.info["transparency"], 0, 65535).astype(np.uint16)
        return np.dstack([words, words, words, alpha])
    is_needed = source.space or "transparency" in image.info
    if not is_needed or _png_kind(image, data)[0] != 16:
        return None
    decoded = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    if decoded is None or decoded.dtype != np.uint16 or decoded.shape[:2] != image.size[::-1] or decoded.ndim != 3:
        return None
    code = cv2.COLOR_BGRA2RGBA if decoded.shape[2] == 4 else cv2.COLOR_BGR2RGB
    return np.asarray(cv2.cvtColor(decoded, code), dtype=np.uint16)


def _convert_sixteen_bits(words: Pixels16, source: _Source) -> Image.Image:
    """Convert the values of `_sixteen_bits` to an sRGB image of 8 bits."""
    colours = words[..., :3] if words.ndim == 3 else words
    if not source.space:
        converted = _eight_bits(colours)
    elif source.space == "GRAY" or words.ndim == 2:
        converted = _grey_table(source, 65536)[words if words.ndim == 2 else words[..., 0]]
    else:
        converted = _words_to_srgb(colours, source)
    image = Image.fromarray(converted).convert("RGB")
    if words.ndim == 3 and words.shape[2] == 4:
        image.putalpha(Image.fromarray(_eight_bits(words[..., 3])))
    return image


def _eight_bits(words: Pixels16) -> Pixels8:
    return ((words.astype(np.uint32) + 128) // 257).astype(np.uint8)


def _words_to_srgb(words: Pixels16, source: _Source) -> Pixels8:
    """Convert colours of 16 bits, height × width × 3.

    Pillow gives LittleCMS only 8 bits. So each colour's surrounding cell of 8-bit colours is converted at its corners,
    and the result is interpolated over the tetrahedron.
    """
    transform = _transform(source, "RGB")
    result = np.empty(words.shape, dtype=np.uint8)
    for top in range(0, len(words), ROWS_AT_A_TIME):
        strip = words[top : top + ROWS_AT_A_TIME]
        low = strip // 257
        share = (strip % 257).astype(np.float32) / 257
        rank = np.argsort(np.argsort(-share, axis=-1, kind="stable"), axis=-1)
        ordered = -np.sort(-share, axis=-1)
        bounds = [1 - ordered[..., 0], ordered[..., 0] - ordered[..., 1], ordered[..., 1] - ordered[..., 2]]
        total = np.zeros(strip.shape, dtype=np.float32)
        for raised, weight in enumerate([*bounds, ordered[..., 2]]):
            corner = np.minimum(low + (rank < raised), 255).astype(np.uint8)
            total += np.asarray(transform.apply(Image.fromarray(corner)), dtype=np.float32) * weight[..., None]
        result[top : top + ROWS_AT_A_TIME] = np.clip(total + 0.5, 0, 255)
    return result
