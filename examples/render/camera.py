"""The position of the camera, so that a product fills the image as in catalogue photos."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

FIELD_OF_VIEW = np.radians(19.0)  # about an 110 mm lens on full frame: little distortion


@dataclass(frozen=True)
class Camera:
    """Position and axes in the scene's units; `shift` moves the image without turning the camera."""

    eye: NDArray[np.float64]
    right: NDArray[np.float64]
    up: NDArray[np.float64]
    forward: NDArray[np.float64]
    tangent: float
    shift: tuple[float, float]


def aim(points: NDArray[np.float64], *, pitch: float, turn: float, fill: float = 0.72) -> Camera:
    """Frame `points` (n × 3): their larger projected extent covers `fill` of the square image, centred.

    pitch: degrees above the horizon. turn: degrees around the product.
    """
    p, a = np.radians(pitch), np.radians(turn)
    backwards = np.array([np.sin(-a) * np.cos(p), np.sin(p), np.cos(a) * np.cos(p)])
    forward = -backwards
    right = np.cross(forward, [0.0, 1.0, 0.0])
    right /= np.linalg.norm(right)
    up = np.cross(right, forward)
    tangent = float(np.tan(FIELD_OF_VIEW / 2))
    centre = (points.min(0) + points.max(0)) / 2
    distance = 6.0
    for _ in range(12):
        low, high = _extent(points, centre + backwards * distance, right, up, forward, tangent)
        distance *= float((high - low).max()) / 2 / fill
    low, high = _extent(points, centre + backwards * distance, right, up, forward, tangent)
    middle = (low + high) / 2
    return Camera(centre + backwards * distance, right, up, forward, tangent, (float(middle[0]), float(middle[1])))


def _extent(
    points: NDArray[np.float64],
    eye: NDArray[np.float64],
    right: NDArray[np.float64],
    up: NDArray[np.float64],
    forward: NDArray[np.float64],
    tangent: float,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the smallest and largest projected (u, w), in a range of -1 … 1 for the image."""
    seen = points - eye
    depth = seen @ forward
    flat = np.stack([seen @ right, seen @ up], 1) / depth[:, None] / tangent
    return flat.min(0), flat.max(0)
