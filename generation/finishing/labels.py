"""Draw the visible label of an output spec, such as “AI-generated”, into a corner of its images.

White letters on a dark plate that lets a fifth of the image through: the contrast is at least 8:1 on any image, also
where an image is transparent and the page behind it is white.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from campaigns.visible_labels import Label, Measures, load_font, measure
from generation.engines.base import Pixels

PLATE: Final = (18, 18, 18)
OPACITY: Final = 0.8
LETTERS: Final = (255, 255, 255)
Floats = NDArray[np.float32]
Coverage = NDArray[np.float32]
"""The share of each pixel that a shape covers, height × width, 0 to 1."""


def draw_label(pixels: Pixels, label: Label) -> Pixels:
    """Return a copy of the image with the label. Raises ValueError if it does not fit; a form has refused that."""
    height, width = pixels.shape[:2]
    measures = measure(label, width, height)
    if not measures.fits(width, height):
        raise ValueError(f"The label {label.text!r} does not fit into {width} × {height} px.")
    vertical, horizontal = label.corner.split("-")
    top = measures.margin if vertical == "top" else height - measures.margin - measures.height
    left = measures.margin if horizontal == "left" else width - measures.margin - measures.width
    labelled = pixels.copy()
    part = labelled[top : top + measures.height, left : left + measures.width]
    plated = _lay_over(part.astype(np.float32), PLATE, _plate(measures) * np.float32(OPACITY))
    part[...] = np.rint(_lay_over(plated, LETTERS, _letters(label.text, measures))).astype(np.uint8)
    return labelled


def _lay_over(part: Floats, colour: tuple[int, int, int], coverage: Coverage) -> Floats:
    """Return the part of an image (height × width × 3|4) under a colour of this coverage."""
    share, drawn = coverage[..., None], np.array(colour, np.float32)
    if part.shape[2] == 3:
        return np.asarray(part * (1 - share) + drawn * share, np.float32)
    below = part[..., 3:] / 255 * (1 - share)
    opacity = below + share
    mixed = (part[..., :3] * below + drawn * share) / np.maximum(opacity, 1e-6)
    return np.asarray(np.where(share > 0, np.dstack([mixed, opacity * 255]), part), np.float32)


def _plate(measures: Measures) -> Coverage:
    """Return a rectangle with round corners, by the distance of each pixel from its edge."""
    radius = measures.height / 4
    y, x = np.ogrid[: measures.height, : measures.width]
    beyond_x = np.maximum(np.abs(x + 0.5 - measures.width / 2) - (measures.width / 2 - radius), 0)
    beyond_y = np.maximum(np.abs(y + 0.5 - measures.height / 2) - (measures.height / 2 - radius), 0)
    coverage = np.clip(radius + 0.5 - np.hypot(beyond_x, beyond_y), 0, 1)
    return np.asarray(coverage, dtype=np.float32)


def _letters(text: str, measures: Measures) -> Coverage:
    """Return the text with its capitals in the middle of the height."""
    font = load_font(measures.font_size)
    _left, top, _right, bottom = font.getbbox("H", anchor="ls")
    baseline = (measures.height - (bottom - top)) / 2 + (bottom - top)
    drawn = Image.new("L", (measures.width, measures.height))
    ImageDraw.Draw(drawn).text((measures.padding, round(baseline)), text, 255, font, anchor="ls")
    return np.asarray(np.asarray(drawn) / 255, np.float32)
