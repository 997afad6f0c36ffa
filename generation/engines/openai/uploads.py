"""Images and masks for OpenAI's edits: PNG, JPEG or WebP, upright, and a mask that is transparent where ours is white.

With a mask, the first image and the mask are cropped to the requested size. Then the result matches it pixel by pixel,
and the part outside the mask can be put back (canvas.py).
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from PIL import Image, UnidentifiedImageError

from campaigns.photos import metadata
from generation.engines import canvas
from generation.engines.base import Context, EngineError, ErrorKind, ImageRef, Pixels, Spec
from generation.engines.canvas import Canvas
from generation.engines.openai.profiles import MEGABYTE, Profile, Size
from generation.finishing.decode import Undecodable, decode
from generation.finishing.encode import encode_master

MASK: Final = "mask"
_TYPES: Final[Mapping[str, str]] = {"PNG": "image/png", "JPEG": "image/jpeg", "WEBP": "image/webp"}


@dataclass(frozen=True)
class Upload:
    """One file of a form."""

    name: str
    data: bytes
    media_type: str


@dataclass(frozen=True)
class Uploads:
    """The files of a request. images: in the order in which they are sent, none for a prompt alone. canvas: the
    cropped first image and its mask, if there is a mask."""

    images: tuple[Upload, ...] = ()
    mask: Upload | None = None
    canvas: Canvas | None = None


def roles(spec: Spec, profile: Profile) -> list[str]:
    """Return the roles of the spec's images, in the order in which they are sent; without the mask."""
    return [role for role in profile.roles if role in spec.images]


def read(spec: Spec, size: Size, profile: Profile, context: Context) -> Uploads:
    """Return the spec's images as files. Raises EngineError (INPUT) if one cannot be read or is too large."""
    sent = roles(spec, profile)
    if not sent:
        return Uploads()
    if MASK not in spec.images:
        return Uploads(tuple(_read_upload(role, spec.images[role], profile, context) for role in sent))
    images = {"init": spec.images[sent[0]], MASK: spec.images[MASK]}
    cut = canvas.read(replace(spec, width=size[0], height=size[1], images=images), context)
    assert cut is not None and cut.repaint is not None
    first = _check_size(Upload(f"{sent[0]}.png", encode_master(cut.init).data, "image/png"), profile.max_image_bytes)
    mask = _check_size(Upload("mask.png", _mask_png(cut.repaint), "image/png"), profile.max_mask_bytes)
    others = tuple(_read_upload(role, spec.images[role], profile, context) for role in sent[1:])
    return Uploads((first, *others), mask, cut)


def put_back(cut: Canvas, made: Pixels) -> Pixels:
    """Put the result back into the image that was sent, so that everything outside the mask is unchanged."""
    high, wide = cut.init.shape[:2]
    image = canvas.flatten(Image.fromarray(made))
    if image.size != (wide, high):
        image = image.resize((wide, high), Image.Resampling.LANCZOS)
    return cut.with_repainted(np.asarray(image))


def _mask_png(repaint: canvas.Floats) -> bytes:
    """Return a PNG that is transparent where the image is to be repainted."""
    alpha = np.rint((1 - repaint) * 255).astype(np.uint8)
    stream = io.BytesIO()
    Image.merge("RGBA", [Image.new("L", alpha.shape[::-1])] * 3 + [Image.fromarray(alpha)]).save(stream, "PNG")
    return stream.getvalue()


def _read_upload(role: str, ref: ImageRef, profile: Profile, context: Context) -> Upload:
    """Return a stored file unchanged, or as PNG if it is of another format or rotated."""
    data = context.load(ref)
    try:
        with Image.open(io.BytesIO(data)) as image:
            kind = image.format or ""
            is_upright = not metadata.has_turned_orientation(image)
        if kind in _TYPES and is_upright:
            return _check_size(Upload(f"{role}.{kind.lower()}", data, _TYPES[kind]), profile.max_image_bytes)
        png = encode_master(decode(data)).data
    except (Undecodable, UnidentifiedImageError, OSError, ValueError, Image.DecompressionBombError) as error:
        raise EngineError(ErrorKind.INPUT, f"The {role} image cannot be read: {error}") from error
    return _check_size(Upload(f"{role}.png", png, "image/png"), profile.max_image_bytes)


def _check_size(upload: Upload, most: int) -> Upload:
    if len(upload.data) > most:
        size = f"{len(upload.data) / MEGABYTE:.1f} MB"
        message = f"{upload.name} has {size}; the service takes at most {most / MEGABYTE:.0f} MB. Use a smaller image."
        raise EngineError(ErrorKind.INPUT, message)
    return upload
