"""The images of OpenAI's images API: the files that an edit sends, and the image in an answer.

Sent are PNG, JPEG or WebP, upright, and a mask that is transparent where ours is white. With a mask, the first image
and the mask are cropped to the requested size. Then the result matches it pixel by pixel, and the part outside the mask
can be put back (canvas.py). An answer is paid for: whatever goes wrong with its image, the request is never sent again.
"""

from __future__ import annotations

import base64
import binascii
import io
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final, NamedTuple
from urllib.parse import urljoin

import numpy as np
from PIL import Image, UnidentifiedImageError

from campaigns.photos import metadata
from generation.engines import canvas
from generation.engines.base import MAX_REMOTE_ID_LENGTH, Context, EngineError, ErrorKind, ImageRef, Pixels, Spec
from generation.engines.canvas import Canvas
from generation.engines.openai.profiles import MEGABYTE, Profile, Size
from generation.engines.service import Service, pixels_of
from generation.finishing.decode import Undecodable, decode
from generation.finishing.encode import encode_master

MASK: Final = "mask"
_TYPES: Final[Mapping[str, str]] = {"PNG": "image/png", "JPEG": "image/jpeg", "WEBP": "image/webp"}
DOWNLOAD_TRIES: Final = 3
RETRIED_KINDS: Final = frozenset({ErrorKind.ENDPOINT, ErrorKind.TRANSIENT, ErrorKind.RATE})
"""Errors after which an image is fetched again later: its host is not allowed yet, or is unavailable."""


class Upload(NamedTuple):
    """One file of a form, in the form that httpx takes."""

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


def read_uploads(spec: Spec, size: Size, profile: Profile, context: Context) -> Uploads:
    """Return the spec's images as files. Raises EngineError (INPUT) if one cannot be read or is too large."""
    if not (sent := roles(spec, profile)):
        return Uploads()
    if MASK not in spec.images:
        return Uploads(tuple(_read_upload(role, spec.images[role], profile, context) for role in sent))
    images = {"init": spec.images[sent[0]], MASK: spec.images[MASK]}
    cut = canvas.read(replace(spec, width=size[0], height=size[1], images=images), context)
    assert cut is not None and cut.repaint is not None
    first = _check_size(Upload(f"{sent[0]}.png", encode_master(cut.init).data, "image/png"), profile.max_image_bytes)
    alpha = np.rint((1 - cut.repaint) * 255).astype(np.uint8)  # transparent where the image is to be repainted
    stream = io.BytesIO()
    Image.merge("RGBA", [Image.new("L", alpha.shape[::-1])] * 3 + [Image.fromarray(alpha)]).save(stream, "PNG")
    mask = _check_size(Upload("mask.png", stream.getvalue(), "image/png"), profile.max_mask_bytes)
    others = tuple(_read_upload(role, spec.images[role], profile, context) for role in sent[1:])
    return Uploads((first, *others), mask, cut)


def put_back(cut: Canvas, made: Pixels) -> Pixels:
    """Put the result back into the image that was sent, so that everything outside the mask is unchanged."""
    high, wide = cut.init.shape[:2]
    image = canvas.flatten(Image.fromarray(made))
    if image.size != (wide, high):
        image = image.resize((wide, high), Image.Resampling.LANCZOS)
    return cut.with_repainted(np.asarray(image))


def _read_upload(role: str, ref: ImageRef, profile: Profile, context: Context) -> Upload:
    """Return a stored file unchanged, or as PNG if it is of another format or rotated."""
    data = context.load(ref)
    try:
        with Image.open(io.BytesIO(data)) as image:
            kind = image.format or ""
            is_upright = not metadata.has_turned_orientation(image)
        if kind in _TYPES and is_upright:
            upload = Upload(f"{role}.{kind.lower()}", data, _TYPES[kind])
        else:
            upload = Upload(f"{role}.png", encode_master(decode(data)).data, "image/png")
    except (Undecodable, UnidentifiedImageError, OSError, ValueError, Image.DecompressionBombError) as error:
        raise EngineError(ErrorKind.INPUT, f"The {role} image cannot be read: {error}") from error
    return _check_size(upload, profile.max_image_bytes)


def _check_size(upload: Upload, most: int) -> Upload:
    if len(upload.data) > most:
        size = f"{len(upload.data) / MEGABYTE:.1f} MB"
        message = f"{upload.name} has {size}; the service takes at most {most / MEGABYTE:.0f} MB. Use a smaller image."
        raise EngineError(ErrorKind.INPUT, message)
    return upload


def read_pixels(entry: Mapping[str, Any], source: Service) -> Pixels:
    """Return the decoded image. If the answer has its address, it is fetched at once: such addresses expire soon."""
    image = _data_or_address(entry)
    return pixels_of(_download(image, source) if isinstance(image, str) else image)


def find_address_for_later(entry: Mapping[str, Any], source: Service, error: EngineError) -> str:
    """Return the address of an image that could not be fetched now, because of `error`, and is fetched later. Raises
    EngineError of kind UNCERTAIN if there is no address or another try would not help."""
    image = _data_or_address(entry)
    address = urljoin(source.base_url, image) if isinstance(image, str) else ""
    if error.kind in RETRIED_KINDS and 0 < len(address) <= MAX_REMOTE_ID_LENGTH:
        return address
    raise lost_image_error(error) from error


def fetch(address: str, source: Service) -> Pixels:
    """Return the pixels at an address. Raises EngineError: of RETRIED_KINDS if a retry may help, else UNCERTAIN."""
    try:
        return pixels_of(_download(address, source))
    except EngineError as error:
        if error.kind in RETRIED_KINDS:
            raise
        raise lost_image_error(error) from error


def lost_image_error(error: EngineError) -> EngineError:
    """Return the error of an image that is made and paid for, and that cannot be fetched or read."""
    message = f"The image was made and could not be taken over: {error.message}"
    return EngineError(ErrorKind.UNCERTAIN, message, log=error.log)


def _data_or_address(entry: Mapping[str, Any]) -> bytes | str:
    """Return the file's bytes or its address. Raises EngineError (UNCERTAIN) if the bytes are garbled."""
    text, url = str(entry.get("b64_json") or ""), str(entry.get("url") or "")
    if not text and not url.startswith("data:"):
        return url
    encoded = (text or url).rpartition(",")[2]  # some servers put a data URL where the others put plain base64
    try:
        return base64.b64decode(encoded, validate=True)
    except (binascii.Error, ValueError) as error:
        raise EngineError(ErrorKind.UNCERTAIN, f"The image in the answer is cut off or garbled: {error}") from error


def _download(url: str, source: Service) -> bytes:
    for tried in range(1, DOWNLOAD_TRIES):
        try:
            return source.download(url)
        except EngineError as error:
            if error.kind not in {ErrorKind.TRANSIENT, ErrorKind.RATE}:
                raise
            time.sleep(min(error.retry_after_seconds or 0.5 * tried, 5.0))
    return source.download(url)
