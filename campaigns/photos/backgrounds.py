"""The plain background of a photo: its colour at each pixel, fitted from the border, and the difference to it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Mask = NDArray[np.bool_]
BORDER_SHARE = 0.03


@dataclass(frozen=True)
class Background:
    """A fitted background.

    lab: height × width × 3, CIE L*a*b* of the background at each pixel, also behind the product, without shadows.
    noise: robust standard deviation of the border from it, in L*a*b* units. plainness: share of the border that it
    explains, 0 … 1.
    """

    lab: Floats
    noise: float
    plainness: float


@dataclass(frozen=True)
class Departure:
    """The distance of each pixel from the background, in L*a*b* units, height × width.

    light: L* above (positive) or below the background. colour: the part that no shadow explains: hue or chroma that
    differ from the darkened background, and light above it.
    """

    light: Floats
    colour: Floats


def to_lab(rgb: NDArray[np.uint8]) -> Floats:
    """Return L*a*b* of sRGB pixels, float32, L 0 … 100."""
    return np.asarray(cv2.cvtColor(rgb.astype(np.float32) / np.float32(255), cv2.COLOR_RGB2LAB), dtype=np.float32)


def border_mask(shape: tuple[int, ...], share: float = BORDER_SHARE, least: int = 3) -> Mask:
    """Return a mask of the frame along the image's edge, which takes this share of the shorter side."""
    width = max(least, round(share * min(shape[:2])))
    border = np.ones(shape[:2], dtype=bool)
    border[width:-width, width:-width] = False
    return border


def fit_background(lab: Floats, where: Mask, degree: int = 2, rounds: int = 6) -> Background:
    """Fit a polynomial in x and y to `lab` on `where`.

    Outliers (a touching product, a shadow) get a low weight: Tukey's biweight, estimated `rounds` times.
    """
    rows, columns = np.nonzero(where)
    step = max(1, len(rows) // 6000)
    rows, columns = rows[::step], columns[::step]
    values = lab[rows, columns].astype(np.float64)
    design = _terms(columns / lab.shape[1], rows / lab.shape[0], degree)
    weights = np.ones(len(rows))
    # Start from the most common colour, not from the mean, because a product may touch a third of the border.
    centre = _commonest(values)
    weights[np.linalg.norm(values - centre, axis=1) > 25] = 1e-3
    spread = 1.0
    for _ in range(rounds):
        weighted = design * (weights**2)[:, None]
        coefficients = np.linalg.solve(weighted.T @ design + 1e-9 * np.eye(design.shape[1]), weighted.T @ values)
        distance = np.linalg.norm(values - design @ coefficients, axis=1)
        spread = max(0.35, 1.4826 * float(np.median(distance[weights > 0.01])) / 1.5)
        weights = np.sqrt(np.clip(1 - (distance / (6 * spread + 1.5)) ** 2, 0, 1)) ** 2 + 1e-4
    plainness = float(np.mean(distance < 4 * spread + 2))
    return Background(_surface(lab.shape, coefficients, degree), spread, plainness)


def departure_from(lab: Floats, background: Background) -> Departure:
    """Compare an image with its background; shadows darken without changing the hue."""
    channels, background_channels = cv2.split(lab), cv2.split(background.lab)
    light = cv2.subtract(channels[0], background_channels[0])
    # A shadow scales light evenly; a* and b* then shrink with the cube root of light, that is with L* + 16.
    share = cv2.min(cv2.divide(cv2.add(channels[0], 16.0), cv2.add(background_channels[0], 16.0)), 1.0)
    a = cv2.subtract(channels[1], cv2.multiply(background_channels[1], share))
    b = cv2.subtract(channels[2], cv2.multiply(background_channels[2], share))
    # Deep shadows pick up a tint from the product, and JPEG keeps their chroma badly.
    allowed = cv2.min(cv2.max(cv2.multiply(light, -0.12), 0.0), 4.8)
    chroma = cv2.max(cv2.subtract(cv2.magnitude(a, b), allowed), 0.0)
    colour = cv2.magnitude(chroma, cv2.max(light, 0.0))
    return Departure(np.asarray(light, dtype=np.float32), np.asarray(colour, dtype=np.float32))


def _commonest(values: NDArray[np.float64]) -> NDArray[np.float64]:
    cells = np.round(values / 6).astype(np.int64)
    _, inverse, counts = np.unique(cells, axis=0, return_inverse=True, return_counts=True)
    members = inverse.ravel() == counts.argmax()
    centre: NDArray[np.float64] = np.median(values[members], axis=0)
    return centre


def _terms(x: NDArray[np.float64], y: NDArray[np.float64], degree: int) -> NDArray[np.float64]:
    x, y = x * 2 - 1, y * 2 - 1
    return np.stack([x**i * y**j for i in range(degree + 1) for j in range(degree + 1 - i)], axis=-1)


def _surface(shape: tuple[int, ...], coefficients: NDArray[np.floating[Any]], degree: int) -> Floats:
    """Return the polynomial at each pixel, computed at 64 × 64 and enlarged, because it is smooth."""
    x, y = np.meshgrid((np.arange(64) + 0.5) / 64, (np.arange(64) + 0.5) / 64)
    small = (_terms(x, y, degree) @ coefficients).astype(np.float32)
    return np.asarray(cv2.resize(small, (shape[1], shape[0]), interpolation=cv2.INTER_CUBIC), dtype=np.float32)
