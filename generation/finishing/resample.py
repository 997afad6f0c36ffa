"""Scale images down or up without fringes. Crops are in crop.py."""

from __future__ import annotations

from typing import TYPE_CHECKING

import cv2
import numpy as np
from PIL import ImageColor

if TYPE_CHECKING:
    from generation.engines.base import Pixels


def resize(pixels: Pixels, width: int, height: int) -> Pixels:
    """Return `pixels` (height × width × 3|4 uint8, straight alpha) at a new size; the same array if nothing changes.

    Shrinking averages areas, enlarging uses Lanczos. Alpha is multiplied in before and divided out after, so that the
    colour of invisible pixels does not bleed into the edge.
    """
    old_height, old_width = pixels.shape[:2]
    if (old_width, old_height) == (width, height):
        return pixels
    shrinks = width <= old_width and height <= old_height
    method = cv2.INTER_AREA if shrinks else cv2.INTER_LANCZOS4
    if pixels.shape[2] == 3:
        return np.asarray(cv2.resize(pixels, (width, height), interpolation=method), dtype=np.uint8)
    alpha = pixels[..., 3:].astype(np.uint16)
    scaled = cv2.resize(np.dstack([pixels[..., :3] * alpha, alpha * 255]), (width, height), interpolation=method)
    weight = np.maximum(scaled[..., 3:].astype(np.float32), 1.0)
    colour = np.minimum(scaled[..., :3] * 255.0 / weight + 0.5, 255.0)
    opacity = (scaled[..., 3:].astype(np.uint32) + 127) // 255
    return np.ascontiguousarray(np.dstack([colour, opacity]).astype(np.uint8))


def shrink_to_fit(pixels: Pixels, long_edge: int) -> Pixels:
    """Return `pixels` scaled down so that the longer edge is at most `long_edge`; never enlarged."""
    height, width = pixels.shape[:2]
    longest = max(height, width)
    if longest <= long_edge:
        return pixels
    return resize(pixels, max(1, round(width * long_edge / longest)), max(1, round(height * long_edge / longest)))


def composite_over(pixels: Pixels, background: str) -> Pixels:
    """Return `pixels` without alpha, laid over `background` ("#rrggbb", "" is white): height × width × 3."""
    if pixels.shape[2] == 3:
        return pixels
    alpha = pixels[..., 3:].astype(np.uint16)
    colour = ImageColor.getrgb("#" + (background.strip().removeprefix("#") or "ffffff"))[:3]
    under = np.asarray(colour, dtype=np.uint16) * (255 - alpha)
    return ((pixels[..., :3] * alpha + under + 127) // 255).astype(np.uint8)
