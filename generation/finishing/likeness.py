"""Features by which two images are compared: PDQ for shapes, a coarse grid of colours for what PDQ, seeing luma only,
misses.

Packshots of one mug in ten colours are nearly equal to a luma hash; their colour grids are not. Comparing stored values
is the business of services/duplicates.py.
"""

from __future__ import annotations

import cv2
import numpy as np
import pdqhash

from generation.engines.base import Pixels

GRID = 4
"""Cells per side of the colour grid."""
MIN_QUALITY = 50
"""PDQ's own quality (0–100, how much structure it found) below which its hash says nothing."""


def pdq(small: Pixels) -> tuple[str, int]:
    """(hash, quality) of a picture of about 512 px: 256 bits as 64 hex digits, "" when the quality is too low.

    Meta's PDQ; two pictures with at most 31 differing bits are confidently the same.
    """
    bits, quality = pdqhash.compute(small)
    if quality < MIN_QUALITY:
        return "", int(quality)
    return np.packbits(bits.astype(np.uint8)).tobytes().hex(), int(quality)


def colours(small: Pixels) -> bytes:
    """GRID × GRID cells, row by row, each L, a, b as one byte: L × 2.55, a + 128, b + 128."""
    cells = cv2.resize(small.astype(np.float32) / 255, (GRID, GRID), interpolation=cv2.INTER_AREA)
    lab = cv2.cvtColor(cells, cv2.COLOR_RGB2LAB) * (2.55, 1, 1) + (0, 128, 128)
    return np.clip(np.rint(lab), 0, 255).astype(np.uint8).tobytes()
