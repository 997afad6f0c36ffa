"""Outpainting: draw the surroundings of an image that is smaller than its frame or of other proportions.

The image's own pixels do not change. Before the model draws, the margins are filled by repeating the image's edge.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import cv2
import numpy as np
from PIL import Image, ImageOps

from generation.engines import canvas
from generation.engines.base import Context, Pixels, Spec
from generation.engines.canvas import Canvas, Floats
from generation.engines.diffusers.parameters import is_number

SIDES: Final = ("left", "top", "right", "bottom")
MIN_IMAGE_SHARE: Final = 0.1
"""The least share of the frame's side for the image itself."""


def margins(given: Any, width: int, height: int) -> dict[str, int]:
    """Return the pixels of the frame around the image, by side; a number below 1 is a share of the frame. Raises
    ValueError with a sentence if they are invalid."""
    if not isinstance(given, Mapping) or not given or set(given) - set(SIDES):
        raise ValueError(f'outpaint is {given!r}; write it as {{"left": 0.25}}, with {", ".join(SIDES)}.')
    pixels_by_side = dict.fromkeys(SIDES, 0)
    for side, amount in given.items():
        if not is_number(amount) or float(amount) < 0:
            raise ValueError(f"outpaint: {side} is {amount!r}; expected pixels, or a share of the frame under 1.")
        whole = width if side in ("left", "right") else height
        pixels_by_side[side] = round(float(amount) * (whole if float(amount) < 1 else 1))
    if not any(pixels_by_side.values()):
        raise ValueError("outpaint adds nothing on any side.")
    for pair, whole in ((("left", "right"), width), (("top", "bottom"), height)):
        if whole - sum(pixels_by_side[side] for side in pair) < MIN_IMAGE_SHARE * whole:
            sides = f"{pair[0]} and {pair[1]}"
            raise ValueError(f"outpaint: {sides} leave less than a tenth of {whole} pixels to the image.")
    return pixels_by_side


def read(spec: Spec, extend: Any, context: Context) -> Canvas:
    """Return the canvas of one job. extend: margins by side, or True to fill the rest of the frame.

    The image is cropped to the space inside the margins, or with True fitted into the frame as a whole. Raises
    EngineError of kind INPUT.
    """
    image = canvas.open_opaque(context.load(spec.images["init"]), "start image")
    if extend is True:
        scale = min(spec.width / image.width, spec.height / image.height)
        size = min(spec.width, round(image.width * scale)), min(spec.height, round(image.height * scale))
        left, top = (spec.width - size[0]) // 2, (spec.height - size[1]) // 2
    else:
        left, top = extend["left"], extend["top"]
        size = spec.width - left - extend["right"], spec.height - top - extend["bottom"]
    fitted = image if image.size == size else ImageOps.fit(image, size, Image.Resampling.LANCZOS)
    return surround(np.asarray(fitted, dtype=np.uint8), left, top, spec.width, spec.height)


def surround(image: Pixels, left: int, top: int, width: int, height: int) -> Canvas:
    """Place the image (h × w × 3) at left, top of a frame whose rest is to be repainted."""
    high, wide = image.shape[:2]
    borders = (top, height - top - high, left, width - left - wide)
    init = np.asarray(cv2.copyMakeBorder(image, *borders, borderType=cv2.BORDER_REPLICATE), dtype=np.uint8)
    repaint: Floats = np.ones((height, width), dtype=np.float32)
    repaint[top : top + high, left : left + wide] = 0
    return Canvas(np.ascontiguousarray(init), repaint)
