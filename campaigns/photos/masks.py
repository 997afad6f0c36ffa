"""Cut-outs made by people: a painted or uploaded mask, or their own cut-out, applied to the photo's pixels."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from campaigns.photos import cutout, intake
from campaigns.photos.cutout import CutOut

ASPECT_SLACK = 0.01
"""A mask of another size is accepted if its aspect ratio differs from the photo's by at most this share."""
EDGE = 4.0  # distance from a painted edge, in pixels, within which the colours of product and background are taken


def read_mask(data: bytes, *, width: int, height: int) -> NDArray[np.uint8]:
    """Return the alpha of a mask image, height × width uint8: its transparency, or its brightness (white is product).

    Raises intake.Refused if the file is no image, or its aspect ratio is not the photo's.
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


def cut_out_with_mask(pixels: NDArray[np.uint8], alpha: NDArray[np.uint8]) -> CutOut:
    """Apply the alpha to the photo (height × width × 3 or 4, sRGB); the background is removed from mixed pixels.

    The alpha stays exactly as given. Raises NoProduct if nothing in it is opaque.
    """
    box = cutout.box_of(alpha)
    rgb = np.ascontiguousarray(pixels[..., :3])
    part = cutout.product_part(alpha >= cutout.VISIBLE_ALPHA, EDGE)
    rgba = np.zeros((*alpha.shape, 4), dtype=np.uint8)
    rgba[part] = cutout.apply_alpha(np.ascontiguousarray(rgb[part]), np.ascontiguousarray(alpha[part]), EDGE)
    return CutOut(rgba, "manual", 1.0, box)
