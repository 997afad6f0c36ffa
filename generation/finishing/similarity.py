"""Features to compare images by: a PDQ hash for shapes, and a coarse grid of colours, because PDQ sees only luma.

Packshots of one mug in ten colours have nearly equal luma hashes, but different colour grids. services/duplicates.py
compares the stored values.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

import cv2
import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from generation.engines.base import Pixels


GRID = 4
"""Cells per side of the colour grid."""
MIN_QUALITY = 50
"""The PDQ quality (0–100, the amount of structure) below which the hash is useless."""

_LUMA = np.array([[0.299, 0.587, 0.114]], np.float32)
_SIDE = 64
"""Side of the square of luma samples that a PDQ hash is made from."""
_ANGLES = np.pi / (2 * _SIDE) * np.outer(np.arange(1, 17), 2 * np.arange(_SIDE) + 1)
_COSINES = (np.sqrt(2 / _SIDE) * np.cos(_ANGLES)).astype(np.float32)


def pdq(small: Pixels, *, least_quality: int = MIN_QUALITY) -> tuple[str, int]:
    """Return (hash, quality) of an image of about 512 px: 256 bits as 64 hex digits, "" if the quality is too low.

    This is Meta's PDQ (https://github.com/facebook/ThreatExchange, hashing/pdq): the luma is smoothed by two passes of
    a box filter, sampled at 64 × 64 points, and 16 × 16 of its cosine coefficients are compared with their median. Two
    images with at most 31 differing bits are confidently the same. The reference implementation takes nine times as
    long; the tests compare with it.
    """
    height, width = small.shape[:2]
    if min(height, width) < 5:
        return "", 0
    points = _sample(cv2.transform(small.astype(np.float32), _LUMA))
    steps = sum(np.abs(np.trunc(np.diff(points, axis=axis) * 100 / 255)).sum() for axis in (0, 1))
    quality = min(int(steps / 90), 100)
    if quality < least_quality:
        return "", quality
    coefficients = (_COSINES @ points @ _COSINES.T).ravel()[::-1]  # the reference writes the last coefficient first
    bits = coefficients > np.partition(coefficients, 127)[127]
    return np.packbits(bits).tobytes().hex(), quality


def _sample(luma: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return _SIDE × _SIDE samples of the smoothed luma. At the borders, averages are of the pixels that exist."""
    sizes, behind, weights = _box(luma.shape)
    anchor = (sizes[1] - behind[1], sizes[0] - behind[0])
    for _ in range(2):
        sums = cv2.boxFilter(luma, -1, sizes[::-1], anchor=anchor, normalize=False, borderType=cv2.BORDER_CONSTANT)
        luma = sums * weights
    rows, columns = (((np.arange(_SIDE) + 0.5) * length / _SIDE).astype(int) for length in luma.shape)
    return luma[np.ix_(rows, columns)]


@lru_cache(maxsize=4)
def _box(shape: tuple[int, ...]) -> tuple[list[int], list[int], NDArray[np.float32]]:
    """Return (sides, sides behind, weights) of the box filter for luma of this shape.

    sides behind: the part of each side that comes after the pixel. weights: 1 ÷ the number of pixels in each box.
    Results are cached, because most images have one of few shapes.
    """
    sizes = [(length + 127) // 128 for length in shape]
    behind = [(size + 2) // 2 for size in sizes]
    places = [np.arange(length) for length in shape]
    counts = [
        np.minimum(place + after, len(place)) - np.maximum(place + after - size, 0)
        for place, after, size in zip(places, behind, sizes, strict=True)
    ]
    return sizes, behind, (1 / np.outer(*counts)).astype(np.float32)


def colours(small: Pixels) -> bytes:
    """Return GRID × GRID cells, row by row, with L, a and b as one byte each: L × 2.55, a + 128, b + 128."""
    cells = cv2.resize(small.astype(np.float32), (GRID, GRID), interpolation=cv2.INTER_AREA) / 255
    lab = cv2.cvtColor(cells, cv2.COLOR_RGB2LAB) * (2.55, 1, 1) + (0, 128, 128)
    return np.clip(np.rint(lab), 0, 255).astype(np.uint8).tobytes()
