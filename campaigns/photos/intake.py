"""Opens untrusted image files: decides whether a file is a usable photo, and makes it upright and private.

The pixels are decoded once, after the header has passed all limits and the cost of opening the file is known from its
header and markers: a file of a few kilobytes may have as many pixels as the largest photo, and the memory per pixel
depends on the format. A file that needs no change is kept byte for byte.
"""

from __future__ import annotations

import io
import struct
import warnings
import zlib
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import AvifImagePlugin, Image, ImageOps, UnidentifiedImageError, WebPImagePlugin

from campaigns.photos import colour_profiles, metadata

MAX_BYTES: Final = 48 * 1024 * 1024
MAX_PIXELS: Final = 64_000_000
MIN_SIDE: Final = 16
MAX_DECODED_BYTES: Final = 400_000_000
MAX_PROPORTION: Final = 50  # the long side as a multiple of the short one
MAX_PIXELS_PER_BYTE: Final = 4000  # A plain white PNG of photo size has about 1,000. Checked only above FREE_PIXELS.
FREE_PIXELS: Final = 4_000_000
ALWAYS_ALLOWED_SCANS: Final = 40
MAX_SCANNED_PIXELS: Final = 1_000_000_000
"""Each scan of a progressive JPEG processes all its pixels; ALWAYS_ALLOWED_SCANS are always allowed."""
#: Bytes per pixel of the image in memory, by Pillow's mode; others take four.
_BYTES_PER_PIXEL: Final = {"1": 1, "L": 1, "P": 1, "I;16": 2, "LA": 4, "I": 4, "F": 4}
#: Measured bytes per pixel that a decoder needs in addition to the image: WebP and AVIF keep several whole canvases.
_DECODER_BYTES_PER_PIXEL: Final = {"WEBP": 12, "AVIF": 8}
_COEFFICIENT_BYTES: Final = 2  # of a progressive JPEG, which is kept as coefficients until its last scan
#: Pillow's format name -> suffix of the stored file. MPO is Pillow's name for a JPEG that contains more images.
SUFFIXES: Final = {"JPEG": "jpg", "MPO": "jpg", "PNG": "png", "WEBP": "webp", "AVIF": "avif"}
#: Two are read from their plug-ins, because Pillow imports only the others by itself.
FORMATS: Final = ["JPEG", "PNG", WebPImagePlugin.WebPImageFile.format, AvifImagePlugin.AvifImageFile.format]
GENERATED: Final = {
    "trainedAlgorithmicMedia": "made by a generative model",
    "compositeWithTrainedAlgorithmicMedia": "a composite with generated parts",
    "algorithmicallyEnhanced": "enhanced by an algorithm",
    "algorithmicMedia": "made by an algorithm",
}
#: Exceptions of Pillow's decoders on damaged files, collected by damaging files at random.
_DECODER_ERRORS: Final = (
    OSError, SyntaxError, ValueError, RuntimeError, struct.error, EOFError, LookupError, TypeError, zlib.error,
)  # fmt: skip


class Refused(ValueError):
    """This file cannot become a reference photo; the message says why and what to do."""


class TooLarge(Refused):
    """The file has too many bytes or pixels, or opening it would take more memory or time than is allowed."""


@dataclass(frozen=True)
class AdmittedPhoto:
    """A usable photo.

    data: the file to store, upright, without a GPS position. notes: sentences about what was changed or found.
    """

    data: bytes
    suffix: str
    width: int
    height: int
    notes: tuple[str, ...]


@dataclass(frozen=True)
class Photo(AdmittedPhoto):
    """A usable photo with its pixels: height × width × 3 (sRGB) or × 4 (sRGB with straight alpha), uint8."""

    pixels: NDArray[np.uint8]


def admit(data: bytes) -> Photo:
    """Check one file and make it upright and private. Raises Refused."""
    image = open_checked(data)
    _verify(data)
    notes: list[str] = []
    source_type, credentials = metadata.source_type(image), metadata.has_credentials(data)
    if image.format == "MPO":
        data = metadata.first_image(data)
        image = _open_image(data)
        notes.append("The file held further images after the first; only the first is kept.")
    data, image = _make_private(data, image, notes)
    suffix = SUFFIXES[image.format or ""]
    load(image)
    if metadata.has_turned_orientation(image) or image.mode == "CMYK":
        data, image = _make_upright(data, image, notes)
    _note_origin(notes, source_type, credentials, was_changed=bool(notes))
    if owner := metadata.credit(image):
        notes.append(f"The file names its owner: {owner}. The mark is kept.")
    if note := colour_profiles.profile_to_keep(image, data)[1]:
        notes.append(note)
    pixels = np.ascontiguousarray(np.asarray(colour_profiles.to_srgb(image, data), dtype=np.uint8))
    height, width = pixels.shape[:2]
    return Photo(data, suffix, width, height, tuple(notes), pixels)


def open_checked(data: bytes) -> Image.Image:
    """Return an opened, not yet decoded image that passes all limits of bytes, pixels and cost. Raises Refused."""
    if len(data) > MAX_BYTES:
        raise TooLarge(too_large_refusal(len(data)))
    image = _open_image(data)
    _check_header(image)
    check_cost(image, data)
    return image


def too_large_refusal(size: int) -> str:
    return f"The file has {size / 2**20:.0f} MB; at most {MAX_BYTES // 2**20} MB are accepted."


def decode(data: bytes) -> NDArray[np.uint8]:
    """Return the sRGB pixels of a file that `admit` made: height × width × 3 or × 4, uint8."""
    image = _open_image(data)
    _check_header(image)
    load(image)
    return np.ascontiguousarray(np.asarray(colour_profiles.to_srgb(image, data), dtype=np.uint8))


def _open_image(data: bytes) -> Image.Image:
    if not data:
        raise Refused("The file is empty.")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # damaged EXIF; and the bomb warning: _check_header has a lower limit
        try:
            return Image.open(io.BytesIO(data), formats=FORMATS)
        except UnidentifiedImageError:
            message = "This is no JPEG, PNG, WebP or AVIF image; save it as one of these and add it again."
            raise Refused(message) from None
        except Image.DecompressionBombError:
            message = f"The image unpacks to far more than the {MAX_PIXELS // 10**6} million pixels that are accepted."
            raise TooLarge(message) from None
        except _DECODER_ERRORS as error:
            raise Refused(f"The image is damaged and cannot be opened ({error}).") from error


def _check_header(image: Image.Image) -> None:
    width, height = image.size
    if width * height > MAX_PIXELS:
        raise TooLarge(
            f"The image is {width} × {height} = {width * height / 1e6:.0f} million pixels; "
            f"at most {MAX_PIXELS // 10**6} million are accepted. Save it smaller."
        )
    if min(width, height) < MIN_SIDE:
        raise Refused(f"The image is {width} × {height} pixels; each side needs at least {MIN_SIDE}.")
    if image.format != "MPO" and getattr(image, "n_frames", 1) > 1:
        raise Refused("This image is animated; only an image with a single frame is accepted.")


def check_cost(image: Image.Image, data: bytes) -> None:
    """Raise TooLarge for an opened, not yet decoded image that would take too much memory or time."""
    width, height = image.size
    pixels = width * height
    if max(width, height) > MAX_PROPORTION * min(width, height):
        most = f"its long side may be at most {MAX_PROPORTION} times the short one."
        raise TooLarge(f"The image is {width} × {height} pixels; {most}")
    is_progressive = image.format in ("JPEG", "MPO") and bool(image.info.get("progressive"))
    per_pixel = _BYTES_PER_PIXEL.get(image.mode, 4) + _DECODER_BYTES_PER_PIXEL.get(image.format or "", 0)
    if is_progressive:
        per_pixel += _COEFFICIENT_BYTES * len(image.getbands())
    if pixels * per_pixel > MAX_DECODED_BYTES:
        kind = "progressive JPEG" if is_progressive else image.format
        takes, most = f"{pixels * per_pixel / 1e6:,.0f} MB", f"{MAX_DECODED_BYTES / 1e6:,.0f} MB"
        raise TooLarge(
            f"Opening this {kind} of {width} × {height} pixels takes {takes}; at most {most} are accepted. "
            "Save it smaller, or as a plain JPEG or PNG."
        )
    if pixels > FREE_PIXELS and pixels > MAX_PIXELS_PER_BYTE * len(data):
        raise TooLarge(
            f"The file has {len(data):,} bytes for {pixels / 1e6:.0f} million pixels, too few for a photo. "
            "Export it again, or smaller."
        )
    scans = data.count(b"\xff\xda") if is_progressive else 1
    if scans > ALWAYS_ALLOWED_SCANS and scans * pixels > MAX_SCANNED_PIXELS:
        raise TooLarge(f"The image is a progressive JPEG with {scans:,} scans. Save it again, as a plain JPEG.")


def _verify(data: bytes) -> None:
    """Check the container (PNG checksums) with a separate Image, because Pillow's check makes the object unusable."""
    image = _open_image(data)
    try:
        image.verify()
    except _DECODER_ERRORS as error:
        raise Refused(f"The image is damaged ({error}); export it again.") from error


def load(image: Image.Image) -> None:
    """Decode an opened image. Raises Refused for damaged data."""
    try:
        image.load()
    except Image.DecompressionBombError:
        raise TooLarge("The image unpacks to more pixels than are accepted.") from None
    except _DECODER_ERRORS as error:
        raise Refused(f"The image ends early or is damaged ({error}); upload it again.") from error


def _make_private(data: bytes, image: Image.Image, notes: list[str]) -> tuple[bytes, Image.Image]:
    """Return the file without a GPS position, and the same opened."""
    if not metadata.has_position(image):
        return data, image
    notes.append("A GPS position was in the file; it was removed.")
    cleaned = metadata.without_position(data, image)
    reopened = _open_image(cleaned)
    if not metadata.has_position(reopened):
        return cleaned, reopened
    load(image)
    return _make_upright(data, image, notes)


def _make_upright(data: bytes, image: Image.Image, notes: list[str]) -> tuple[bytes, Image.Image]:
    upright, kept = image, image.format or "PNG"
    profile, note = colour_profiles.profile_to_keep(image, data)
    if image.mode == "CMYK" or (profile and colour_profiles.has_sixteen_bits(image, data)):
        # The file is written with 8 bits, which would lose the dark colours of a linear profile.
        upright, profile = colour_profiles.to_srgb(image, data), b""
        upright.info |= {name: value for name, value in image.info.items() if name != "transparency"}
    if metadata.has_turned_orientation(image):
        notes.append("The photo was stored turned; it was set upright.")
        upright = ImageOps.exif_transpose(upright)
    if image.mode == "CMYK":
        notes.append("The photo was in CMYK; it was converted to sRGB.")
    if note:
        notes.append(note)
    upright.info["icc_profile"] = profile
    upright.info.setdefault("xmp", metadata.xmp_block(image))
    encoded = metadata.with_iptc(_encode(upright, kept), metadata.iptc_block(image))
    return encoded, _open_image(encoded)


def _encode(image: Image.Image, kind: str) -> bytes:
    """Encode the image with its colour profile, EXIF and XMP, but without position and orientation."""
    packet = metadata.cleaned_text(image)
    # With an empty exif, Pillow would write the old one.
    options: dict[str, object] = {"exif": metadata.cleaned_exif(image) or Image.Exif()}
    if image.info.get("icc_profile"):
        options["icc_profile"] = image.info["icc_profile"]
    if kind in ("JPEG", "MPO"):
        kind, options = "JPEG", options | {"quality": 95, "subsampling": 0, "xmp": packet}
    elif kind == "PNG":
        options |= {"compress_level": 4, "pnginfo": metadata.png_text(packet)}
    elif kind == "WEBP":
        options |= {"lossless": True, "xmp": packet}
    else:
        options |= {"quality": 92, "xmp": packet}
    clean = image.copy()
    for name in ("exif", "xmp", "XML:com.adobe.xmp", "Raw profile type exif", "photoshop"):
        clean.info.pop(name, None)
    buffer = io.BytesIO()
    clean.save(buffer, kind, **options)
    return buffer.getvalue()


def _note_origin(notes: list[str], source_type: str, credentials: bool, *, was_changed: bool) -> None:
    if meaning := GENERATED.get(source_type):
        notes.append(f"The file says that it is {meaning} (digital source type {source_type}); the mark is kept.")
    elif source_type:
        notes.append(f"The file names its digital source type: {source_type}.")
    if credentials and was_changed:
        notes.append(
            "The file carried content credentials (C2PA); they no longer match it, because it had to be changed."
        )
    elif credentials:
        notes.append("The file carries content credentials (C2PA); they are kept.")
