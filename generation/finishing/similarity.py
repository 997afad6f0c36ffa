"""Features to compare images by: a PDQ hash for shapes, and a coarse grid of colours, because PDQ sees only luma.

Packshots of one mug in ten colours have nearly equal luma hashes, but different colour grids. services/duplicates.py
compares the stored values.
"""

from __future__ import annotations

import cv2
import numpy as np
import pdqhash

from generation.engines.base import Pixels

GRID = 4
"""Cells per side of the colour grid."""
MIN_QUALITY = 50
"""The PDQ quality (0–100, the amount of structure) below which the hash is useless."""


def pdq(small: Pixels) -> tuple[str, int]:
    """Return (hash, quality) of an image of about 512 px: 256 bits as 64 hex digits, "" if the quality is too low. This
    is Meta's PDQ; two images with at most 31 differing bits are confidently the same."""
    bits, quality = pdqhash.compute(small)
    if quality < MIN_QUALITY:
        return "", int(quality)
    return np.packbits(bits.astype(np.uint8)).tobytes().hex(), int(quality)


def colours(small: Pixels) -> bytes:
    """Return GRID × GRID cells, row by row, with L, a and b as one byte each: L × 2.55, a + 128, b + 128."""
    cells = cv2.resize(small.astype(np.float32) / 255, (GRID, GRID), interpolation=cv2.INTER_AREA)
    lab = cv2.cvtColor(cells, cv2.COLOR_RGB2LAB) * (2.55, 1, 1) + (0, 128, 128)
    return np.clip(np.rint(lab), 0, 255).astype(np.uint8).tobytes()
