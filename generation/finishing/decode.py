"""Decoding files that came from outside (uploads, remote engines) into pixels; what was made here is never decoded."""

from __future__ import annotations

import io
import warnings

import numpy as np
from PIL import Image, ImageCms, ImageOps, UnidentifiedImageError

from generation.engines.base import Pixels

MAX_PIXELS = 100_000_000
FORMATS = ("PNG", "JPEG", "WEBP", "TIFF")


class Undecodable(ValueError):
    """The bytes are not a whole picture of a known format; the message says what is wrong."""


def decode(data: bytes) -> Pixels:
    """`data` as upright sRGB pixels, height × width × 3, or × 4 where anything is transparent. Raises Undecodable.

    An embedded colour profile is applied; a broken or cut-off file, a bomb and an animation are refused.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(io.BytesIO(data), formats=FORMATS) as image:
                if image.width * image.height > MAX_PIXELS:
                    raise Undecodable(
                        f"{image.width} × {image.height} px is more than {MAX_PIXELS // 10**6} megapixels"
                    )
                if getattr(image, "n_frames", 1) > 1:
                    raise Undecodable("the file is an animation; a still picture is needed")
                image.load()
                return _to_srgb(ImageOps.exif_transpose(image))
    except Undecodable:
        raise
    except UnidentifiedImageError:
        raise Undecodable("the file is not a PNG, JPEG, WebP or TIFF picture") from None
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise Undecodable("the picture unfolds to far more pixels than its file suggests; it was not opened") from None
    except (OSError, SyntaxError, ValueError, EOFError) as error:
        raise Undecodable(f"the picture is broken or cut off ({error})") from None


def _to_srgb(image: Image.Image) -> Pixels:
    if image.mode.startswith("I;16"):
        image = Image.fromarray((np.asarray(image) // 257).astype(np.uint8))
    has_alpha = image.has_transparency_data
    profile = image.info.get("icc_profile")
    if profile and image.mode in ("RGB", "RGBA", "CMYK", "L"):
        image = _converted(image, profile)
    pixels = np.array(image.convert("RGBA" if has_alpha else "RGB"))
    if has_alpha and int(pixels[..., 3].min()) == 255:
        pixels = np.ascontiguousarray(pixels[..., :3])
    return pixels


def _converted(image: Image.Image, profile: bytes) -> Image.Image:
    alpha = image.getchannel("A") if image.mode == "RGBA" else None
    source = image.convert("RGB") if image.mode == "RGBA" else image
    try:
        converted = ImageCms.profileToProfile(
            source, ImageCms.ImageCmsProfile(io.BytesIO(profile)), ImageCms.createProfile("sRGB"), outputMode="RGB"
        )
    except ImageCms.PyCMSError:
        return image  # a broken profile says nothing: the numbers are taken as sRGB
    assert converted is not None
    if alpha is not None:
        converted.putalpha(alpha)
    return converted
