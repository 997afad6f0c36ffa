"""Encode the lossless master, the thumbnails, and files that must fit under a byte limit.

No metadata is written, so the same pixels give the same bytes on the same library versions. The choice of the master's
format, with its measurements, is in docs/adr/0003-master-format.md.
"""

from __future__ import annotations

import hashlib
import io

import cv2
import numpy as np
from PIL import Image

from generation.engines.base import Pixels
from generation.finishing.base import Encoded, TooLarge
from generation.finishing.resample import composite_over

MASTER_FORMAT = "png"
_MASTER = [
    cv2.IMWRITE_PNG_COMPRESSION, 1,
    cv2.IMWRITE_PNG_STRATEGY, cv2.IMWRITE_PNG_STRATEGY_RLE,
    cv2.IMWRITE_PNG_FILTER, cv2.IMWRITE_PNG_FILTER_AVG,
]  # fmt: skip
_THUMBNAIL = [cv2.IMWRITE_JPEG_QUALITY, 88]

START_QUALITY = {"jpeg": 90, "webp": 88, "avif": 75}
FLOOR_QUALITY = {"jpeg": 50, "webp": 45, "avif": 40}
_FULL_CHROMA = 80
"""JPEG quality from which colour is kept at full resolution, because thin red edges and lettering suffer first."""


def encode_master(pixels: Pixels) -> Encoded:
    """Encode the master: lossless PNG of height × width × 3|4 uint8, exact to the bit, including invisible pixels."""
    return _encoded(_by_opencv(".png", pixels, _MASTER), MASTER_FORMAT, pixels)


def encode_thumbnail(pixels: Pixels) -> Encoded:
    """Encode a small image for pages: JPEG, or WebP for images with alpha."""
    if pixels.shape[2] == 4:
        return _encoded(_webp(pixels, 80, method=0), "webp", pixels, quality=80)
    return _encoded(_by_opencv(".jpg", pixels, _THUMBNAIL), "jpeg", pixels, quality=88)


def encode(pixels: Pixels, image_format: str, *, max_bytes: int | None = None, background: str = "") -> Encoded:
    """Encode as "png", "jpeg", "webp" or "avif", at the best quality that fits into `max_bytes`.

    JPEG has no alpha, so the image is laid over `background` (white if ""); the others only if a background is given.
    Quality is searched by bisection between the format's floor and its start. Raises TooLarge if even the floor does
    not fit, and ValueError for an unknown format.
    """
    if image_format != "png" and image_format not in _WRITERS:
        raise ValueError(f"There is no image format {image_format!r}; known are jpeg, png, webp, avif.")
    if pixels.shape[2] == 4 and (image_format == "jpeg" or background):
        pixels = composite_over(pixels, background)
    if image_format == "png":
        return _png(pixels, max_bytes)
    return _lossy(pixels, image_format, max_bytes)


def _png(pixels: Pixels, max_bytes: int | None) -> Encoded:
    quick = encode_master(pixels)
    if max_bytes is None or len(quick.data) <= max_bytes:
        return quick
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG", optimize=True)
    if buffer.tell() <= max_bytes:
        return _encoded(buffer.getvalue(), "png", pixels)
    smallest = min(buffer.tell(), len(quick.data))
    raise TooLarge(
        f"PNG of {pixels.shape[1]} × {pixels.shape[0]} px needs {_kilobytes(smallest)}, the limit is"
        f" {_kilobytes(max_bytes)}; it loses nothing and so cannot be squeezed: ask for WebP, AVIF or JPEG."
    )


def _lossy(pixels: Pixels, image_format: str, max_bytes: int | None) -> Encoded:
    write = _WRITERS[image_format]
    quality = START_QUALITY[image_format]
    data = write(pixels, quality)
    if max_bytes is None or len(data) <= max_bytes:
        return _encoded(data, image_format, pixels, quality=quality)
    low, high = FLOOR_QUALITY[image_format], quality - 1
    best = write(pixels, low)
    if len(best) > max_bytes:
        raise TooLarge(
            f"{image_format.upper()} of {pixels.shape[1]} × {pixels.shape[0]} px needs {_kilobytes(len(best))} at the"
            f" lowest acceptable quality ({low}), the limit is {_kilobytes(max_bytes)}."
        )
    while low < high:
        middle = (low + high + 1) // 2
        data = write(pixels, middle)
        if len(data) <= max_bytes:
            low, best = middle, data
        else:
            high = middle - 1
    return _encoded(best, image_format, pixels, quality=low)


def _jpeg(pixels: Pixels, quality: int) -> bytes:
    chroma = 0 if quality >= _FULL_CHROMA else 2
    buffer = io.BytesIO()
    # A progressive JPEG would be no smaller here and take three times as long.
    image = Image.fromarray(pixels)
    try:
        image.save(buffer, "JPEG", quality=quality, subsampling=chroma, optimize=True)
    except OSError:  # Pillow's buffer for this has one byte for each pixel, too few for an image that is mostly noise
        buffer = io.BytesIO()
        image.save(buffer, "JPEG", quality=quality, subsampling=chroma)
    return buffer.getvalue()


def _webp(pixels: Pixels, quality: int, *, method: int = 2) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "WEBP", quality=quality, method=method)
    return buffer.getvalue()


def _avif(pixels: Pixels, quality: int) -> bytes:
    buffer = io.BytesIO()
    # Speed 6 makes files a fifth smaller and takes five times as long. Other numbers of threads give other bytes.
    options = {"speed": 8, "subsampling": "4:4:4", "max_threads": 1, "autotiling": False}
    Image.fromarray(pixels).save(buffer, "AVIF", quality=quality, **options)
    return buffer.getvalue()


_WRITERS = {"jpeg": _jpeg, "webp": _webp, "avif": _avif}


def _by_opencv(extension: str, pixels: Pixels, parameters: list[int]) -> bytes:
    order = cv2.COLOR_RGB2BGR if pixels.shape[2] == 3 else cv2.COLOR_RGBA2BGRA
    done, data = cv2.imencode(extension, cv2.cvtColor(pixels, order), parameters)
    if not done:
        raise ValueError(f"cannot encode {pixels.shape} as {extension}")
    return np.asarray(data).tobytes()


def _encoded(data: bytes, image_format: str, pixels: Pixels, *, quality: int | None = None) -> Encoded:
    height, width = pixels.shape[:2]
    return Encoded(data, image_format, width, height, quality, hashlib.sha256(data).hexdigest())


def _kilobytes(count: int) -> str:
    return f"{count / 1000:,.0f} kB" if count < 1_000_000 else f"{count / 1_000_000:.1f} MB"
