"""Decode files from outside (uploads, remote engines) into pixels. Images made here are never decoded."""

from __future__ import annotations

import io
import warnings

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from campaigns.photos import colour_profiles, metadata
from generation.engines.base import Pixels

MAX_PIXELS = 100_000_000
FORMATS = ("PNG", "JPEG", "WEBP", "TIFF")


class Undecodable(ValueError):
    """The bytes are not a complete image of a known format; the message says what is wrong."""


def decode(data: bytes) -> Pixels:
    """Return `data` as upright sRGB pixels, height × width × 3, or × 4 if a pixel is transparent. Raises Undecodable
    for broken or truncated files, decompression bombs and animations."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(io.BytesIO(data), formats=FORMATS) as image:
                if image.width * image.height > MAX_PIXELS:
                    size = f"{image.width} × {image.height} px"
                    raise Undecodable(f"{size} is more than {MAX_PIXELS // 10**6} megapixels")
                if getattr(image, "n_frames", 1) > 1:
                    raise Undecodable("the file is an animation; a still image is needed")
                image.load()
                return _to_srgb(image, data)
    except Undecodable:
        raise
    except UnidentifiedImageError:
        raise Undecodable("the file is not a PNG, JPEG, WebP or TIFF image") from None
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise Undecodable("the image unfolds to far more pixels than its file suggests; it was not opened") from None
    except (OSError, SyntaxError, ValueError, EOFError) as error:
        raise Undecodable(f"the image is broken or cut off ({error})") from None


def _to_srgb(image: Image.Image, data: bytes) -> Pixels:
    converted = colour_profiles.to_srgb(image, data)
    if metadata.has_turned_orientation(image):
        converted.getexif()[metadata.ORIENTATION] = image.getexif()[metadata.ORIENTATION]
        converted = ImageOps.exif_transpose(converted)
    pixels = np.array(converted)
    if pixels.shape[2] == 4 and int(pixels[..., 3].min()) == 255:
        pixels = np.ascontiguousarray(pixels[..., :3])
    return pixels
