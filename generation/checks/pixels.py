"""Checks of the pixels themselves: whether they are visible, and whether they show an image."""

from __future__ import annotations

import cv2
import numpy as np

from core.plugin_config import Config, setting
from generation.checks.base import CheckResult, Sample

_TILE = 64  # averaging down to this edge removes grain, so that only real differences remain


class PixelsCheck:
    """Check that the array is an image: height × width × 3 or 4, 8 bits, not empty, and not wholly transparent."""

    name = "pixels"
    label = "Pixels"
    config = Config

    def inspect(self, sample: Sample) -> CheckResult:
        pixels = sample.pixels
        height, width, channels = pixels.shape
        if channels == 4 and int(pixels[..., 3].max()) == 0:
            return CheckResult(self.name, "fail", "Every pixel is transparent: there is nothing to see.")
        kind = "RGB" if channels == 3 else "RGB with transparency"
        return CheckResult(self.name, "pass", f"{width} × {height} px, {kind}, 8 bits per channel.")


class BlankConfig(Config):
    flat: float = setting(
        "One flat colour up to",
        "An image whose tiles differ by no more is called empty and fails. Raise it where backdrops are so soft "
        "that empty images pass; lower it for white products on white.",
        default=3.0, minimum=0, maximum=40, unit="levels of 255",
    )  # fmt: skip
    black: float = setting(
        "Black up to",
        "An image whose brightest tile is no brighter is called black and fails. Lower it for night scenes.",
        default=12.0, minimum=0, maximum=60, unit="levels of 255",
    )  # fmt: skip


class BlankCheck:
    """Check that the image is neither black (a sign that the model's numbers overflowed) nor one flat colour.

    It compares tiles of the image, so that grain alone does not count as content. The score is the largest difference
    between two tiles in any channel, 0–255.
    """

    name = "blank"
    label = "Empty image"
    config = BlankConfig

    def inspect(self, sample: Sample) -> CheckResult:
        tiles = cv2.resize(sample.small, (_TILE, _TILE), interpolation=cv2.INTER_AREA).reshape(-1, 3).astype(np.int16)
        thresholds = sample.read_config(self.name, self.config)
        spread = int((tiles.max(axis=0) - tiles.min(axis=0)).max())
        if int(tiles.max()) <= thresholds.black:
            message = "The image is black. The model's numbers probably overflowed; try again."
            return CheckResult(self.name, "fail", message, float(spread))
        if spread <= thresholds.flat:
            colour = "".join(f"{round(float(level)):02x}" for level in tiles.mean(axis=0))
            return CheckResult(self.name, "fail", f"One flat colour (#{colour}) from edge to edge.", float(spread))
        return CheckResult(self.name, "pass", "There is an image.", float(spread))
