"""Visible labels of images, such as “AI-generated”: their measures and letters. They are drawn by the finishing.

Plain functions without Django, which the form of an output spec and the finishing share: what fits here fits there.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from math import ceil
from typing import Final

from PIL import ImageFont

CORNERS: Final = ("bottom-right", "bottom-left", "top-right", "top-left")
MAX_LENGTH: Final = 40
PERCENT: Final = (2, 15)
"""The least and the most height of a label, in percent of the shorter side."""
USUAL_PERCENT: Final = 4
MIN_HEIGHT: Final = 16
"""Pixels of the height below which its letters could not be read."""
_LETTER_SHARE: Final = 0.62
"""Size of the letters, as a share of the label's height."""
_UNKNOWN: Final = "\uffff"
"""A character that no font has, so that it is drawn as the others that the font lacks."""


@dataclass(frozen=True)
class Label:
    """A label of the images of an output spec. corner: one of CORNERS. percent: its height, see PERCENT."""

    text: str
    corner: str = CORNERS[0]
    percent: int = USUAL_PERCENT


@dataclass(frozen=True)
class Measures:
    """A label in an image, in pixels. padding: beside its text. margin: from the edges of the image."""

    width: int
    height: int
    padding: int
    margin: int
    font_size: int

    def fits(self, width: int, height: int) -> bool:
        return self.width + 2 * self.margin <= width and self.height + 2 * self.margin <= height


def measure(label: Label, width: int, height: int) -> Measures:
    """Return the measures of a label in an image of this size; see `Measures.fits`."""
    plate = round(min(width, height) * label.percent / 100)
    font_size = max(1, round(plate * _LETTER_SHARE))
    padding, margin = round(plate * 0.45), round(plate * 0.5)
    return Measures(ceil(load_font(font_size).getlength(label.text)) + 2 * padding, plate, padding, margin, font_size)


def reach(label: Label, width: int, height: int) -> tuple[float, float]:
    """Return how far a label reaches from its corner, as shares of the width and of the height of the image."""
    measures = measure(label, width, height)
    return (measures.width + measures.margin) / width, (measures.height + measures.margin) / height


def least_percent(width: int, height: int) -> int:
    """Return the least height in percent whose letters can be read in an image of this size."""
    return max(PERCENT[0], ceil(100 * MIN_HEIGHT / min(width, height)))


def find_missing_letters(text: str) -> str:
    """Return the characters of the text that the font cannot draw, each once."""
    return "".join(dict.fromkeys(letter for letter in text if letter != " " and not _has(letter)))


@lru_cache(maxsize=32)
def load_font(size: int) -> ImageFont.FreeTypeFont:
    """Return the font that is part of Pillow, so that each installation draws the same. It has few accents."""
    font = ImageFont.load_default(size)
    assert isinstance(font, ImageFont.FreeTypeFont)
    return font.font_variant(layout_engine=ImageFont.Layout.BASIC)


@lru_cache(maxsize=1024)
def _has(letter: str) -> bool:
    return letter.isprintable() and _draw(letter) != _draw(_UNKNOWN)


def _draw(letter: str) -> tuple[tuple[int, int], bytes]:
    mask = load_font(40).getmask(letter)
    return mask.size, bytes(mask)
