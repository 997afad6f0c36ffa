"""Cut-outs that people make: a painted or sent mask, or their own cut-out, laid on the photo's pixels."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from campaigns.photos import cutout, intake
from campaigns.photos.cutout import CutOut, NoProduct

ASPECT_SLACK = 0.01
"""A mask of another size is taken if its shape is the photo's within this share."""
EDGE = 4.0
"""How far from a painted edge, in pixels, the colours of product and background are sought."""


def read(data: bytes, *, width: int, height: int) -> NDArray[np.uint8]:
    """The alpha that a picture means, height × width uint8: its transparency, or its brightness (white is product).

    Raises intake.Refused for what is no picture, or a picture of another shape than the photo.
    """
    pixels = intake.admit(data).pixels
    high, wide = pixels.shape[:2]
    if abs(wide / high * height / width - 1) > ASPECT_SLACK:
        raise intake.Refused(
            f"The mask is {wide} × {high} px and the photo {width} × {height} px: save it in the photo's own size."
        )
    if pixels.shape[2] == 4 and pixels[..., 3].min() < 250:
        alpha = pixels[..., 3]
    else:
        alpha = cv2.cvtColor(np.ascontiguousarray(pixels[..., :3]), cv2.COLOR_RGB2GRAY)
    if (wide, high) != (width, height):
        method = cv2.INTER_AREA if wide > width else cv2.INTER_LINEAR
        alpha = cv2.resize(np.ascontiguousarray(alpha), (width, height), interpolation=method)
    return np.ascontiguousarray(alpha, dtype=np.uint8)


def apply(pixels: NDArray[np.uint8], alpha: NDArray[np.uint8]) -> CutOut:
    """The photo (height × width × 3 or 4, sRGB) with this alpha; in mixed pixels the background's colour is taken out.

    The alpha stays exactly as given. Raises NoProduct if nothing of it is opaque.
    """
    box = cutout.box_of(alpha)
    rgb = np.ascontiguousarray(pixels[..., :3])
    left, top, right, bottom = box
    margin = round(4 * EDGE) + 2
    part = np.s_[max(0, top - margin) : bottom + margin, max(0, left - margin) : right + margin]
    rgba = np.zeros((*alpha.shape, 4), dtype=np.uint8)
    rgba[part] = cutout.without_background(np.ascontiguousarray(rgb[part]), np.ascontiguousarray(alpha[part]), EDGE)
    return CutOut(rgba, "manual", 1.0, box)


__all__ = ["NoProduct", "apply", "read"]
