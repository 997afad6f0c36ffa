"""Outpainting: a picture that is smaller than its frame, or of other proportions, and what is around it made anew.

The picture's own pixels stay to the level. What it is surrounded by until the model has drawn is its edge, continued.
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
LEAST_LEFT: Final = 0.1
"""Of the frame's side, for the picture itself."""


def margins(given: Any, width: int, height: int) -> dict[str, int]:
    """Pixels of the frame around the picture, by side; below 1 a number is a share of the frame. ValueError says in a
    sentence what cannot be."""
    if not isinstance(given, Mapping) or not given or set(given) - set(SIDES):
        raise ValueError(f'outpaint is {given!r}; write it as {{"left": 0.25}}, with {", ".join(SIDES)}.')
    found = dict.fromkeys(SIDES, 0)
    for side, amount in given.items():
        if not is_number(amount) or float(amount) < 0:
            raise ValueError(f"outpaint: {side} is {amount!r}; expected pixels, or a share of the frame under 1.")
        whole = width if side in ("left", "right") else height
        found[side] = round(float(amount) * (whole if float(amount) < 1 else 1))
    if not any(found.values()):
        raise ValueError("outpaint adds nothing on any side.")
    for pair, whole in ((("left", "right"), width), (("top", "bottom"), height)):
        if whole - sum(found[side] for side in pair) < LEAST_LEFT * whole:
            raise ValueError(
                f"outpaint: {pair[0]} and {pair[1]} leave less than a tenth of {whole} pixels to the picture."
            )
    return found


def read(spec: Spec, extend: Any, context: Context) -> Canvas:
    """The canvas of one job. extend: margins by side, or True for as much as the frame has more than the picture.

    The picture is cropped to what the margins leave, or fitted into the frame whole. Raises EngineError of kind INPUT.
    """
    stored = canvas.opened(context.load(spec.images["init"]), "start image")
    picture = canvas.flattened(stored)
    if extend is True:
        scale = min(spec.width / picture.width, spec.height / picture.height)
        size = min(spec.width, round(picture.width * scale)), min(spec.height, round(picture.height * scale))
        left, top = (spec.width - size[0]) // 2, (spec.height - size[1]) // 2
    else:
        left, top = extend["left"], extend["top"]
        size = spec.width - left - extend["right"], spec.height - top - extend["bottom"]
    fitted = picture if picture.size == size else ImageOps.fit(picture, size, Image.Resampling.LANCZOS)
    return surrounded(np.asarray(fitted, dtype=np.uint8), left, top, spec.width, spec.height)


def surrounded(picture: Pixels, left: int, top: int, width: int, height: int) -> Canvas:
    """The picture (h × w × 3) at left, top of a frame, which is to be made anew all around it."""
    high, wide = picture.shape[:2]
    borders = (top, height - top - high, left, width - left - wide)
    init = np.asarray(cv2.copyMakeBorder(picture, *borders, borderType=cv2.BORDER_REPLICATE), dtype=np.uint8)
    repaint: Floats = np.ones((height, width), dtype=np.float32)
    repaint[top : top + high, left : left + wide] = 0
    return Canvas(np.ascontiguousarray(init), repaint)
