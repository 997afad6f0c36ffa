"""Estimates what it costs to open an image, by its header and markers, before it is decoded.

A file of a few kilobytes may have as many pixels as the largest photo, and the memory per pixel depends on the format:
a progressive JPEG is kept as coefficients until its last scan, WebP and AVIF as several whole canvases.
"""

from __future__ import annotations

from typing import Final

from PIL import Image

from campaigns.photos.refusals import TooCostly

MAX_DECODED_BYTES: Final = 400_000_000
MAX_PROPORTION: Final = 50  # the long side as a multiple of the short one
MAX_PIXELS_PER_BYTE: Final = 4000  # A plain white PNG of photo size has about 1,000. Checked only above FREE_PIXELS.
FREE_PIXELS: Final = 4_000_000
ALWAYS_ALLOWED_SCANS: Final = 40
MAX_SCANNED_PIXELS: Final = 1_000_000_000
"""Each scan of a progressive JPEG processes all its pixels; ALWAYS_ALLOWED_SCANS are always allowed."""
#: Bytes per pixel of the image in memory, by Pillow's mode; others take four.
_BYTES_PER_PIXEL: Final = {"1": 1, "L": 1, "P": 1, "I;16": 2, "LA": 4, "I": 4, "F": 4}
#: Measured bytes per pixel that a decoder needs in addition to the image.
_DECODER_BYTES_PER_PIXEL: Final = {"WEBP": 12, "AVIF": 8}
_COEFFICIENT_BYTES: Final = 2


def check_cost(image: Image.Image, data: bytes) -> None:
    """Raise TooCostly for an opened, not yet decoded image that would take too much memory or time."""
    width, height = image.size
    pixels = width * height
    if max(width, height) > MAX_PROPORTION * min(width, height):
        most = f"its long side may be at most {MAX_PROPORTION} times the short one."
        raise TooCostly(f"The image is {width} × {height} pixels; {most}")
    if decoded_bytes(image) > MAX_DECODED_BYTES:
        kind = "progressive JPEG" if _is_progressive(image) else image.format
        takes, most = f"{decoded_bytes(image) / 1e6:,.0f} MB", f"{MAX_DECODED_BYTES / 1e6:,.0f} MB"
        raise TooCostly(
            f"Opening this {kind} of {width} × {height} pixels takes {takes}; at most {most} are accepted. "
            "Save it smaller, or as a plain JPEG or PNG."
        )
    if pixels > FREE_PIXELS and pixels > MAX_PIXELS_PER_BYTE * len(data):
        raise TooCostly(
            f"The file has {len(data):,} bytes for {pixels / 1e6:.0f} million pixels, too few for a photo. "
            "Export it again, or smaller."
        )
    scans = data.count(b"\xff\xda") if _is_progressive(image) else 1
    if scans > ALWAYS_ALLOWED_SCANS and scans * pixels > MAX_SCANNED_PIXELS:
        raise TooCostly(f"The image is a progressive JPEG with {scans:,} scans. Save it again, as a plain JPEG.")


def decoded_bytes(image: Image.Image) -> int:
    """Return about how many bytes of memory decoding takes."""
    per_pixel = _BYTES_PER_PIXEL.get(image.mode, 4) + _DECODER_BYTES_PER_PIXEL.get(image.format or "", 0)
    if _is_progressive(image):
        per_pixel += _COEFFICIENT_BYTES * len(image.getbands())
    return image.width * image.height * per_pixel


def _is_progressive(image: Image.Image) -> bool:
    """Return True for a progressive JPEG. An interlaced PNG is decoded in place and does not count."""
    return image.format in ("JPEG", "MPO") and bool(image.info.get("progressive"))
