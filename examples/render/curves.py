"""The curves that shapes are made of: profiles turned on a lathe, or centre lines of bent tubes.

Lengths are in units of about one product height. A curve is an array of (x, y, radius): for lathe parts x is the
distance from the axis and the radius half the wall's thickness; for tubes x, y is the centre line in the plane z = 0.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Curve = NDArray[np.float32]
Knot = tuple[float, float, float]


@dataclass(frozen=True)
class Lathe:
    """A turned part. `strokes` are walls (the first one carries foot to rim); `solid` fills an outline."""

    strokes: Sequence[Curve]
    material: str = "body"
    inner: str = "inside"
    solid: bool = False
    blend: float = 0.0
    flutes: int = 0
    flute_depth: float = 0.0
    flute_range: tuple[float, float] = (0.0, 1.0)


@dataclass(frozen=True)
class Tube:
    """A handle or spout. `wall`: thickness of a hollow one; `cut` = (x, y, normal x, normal y) trims its end."""

    curve: Curve
    material: str = "body"
    blend: float = 0.035
    flatten: float = 1.0
    wall: float = 0.0
    cut: tuple[float, float, float, float] = (0.0, 0.0, 0.0, 0.0)
    clip: bool = True


@dataclass(frozen=True)
class Form:
    """One product's shape. Part 0 is the vessel itself. `pitch` is how steeply it is photographed, in degrees."""

    parts: Sequence[Lathe | Tube]
    pitch: float = 14.0
    turn: float = -24.0


def smooth(*knots: Knot, steps: int = 24) -> Curve:
    """A centripetal Catmull-Rom curve through the knots; a doubled knot makes a corner."""
    pts = np.array(knots, dtype=np.float64)
    ends = np.vstack([2 * pts[0] - pts[1], pts, 2 * pts[-1] - pts[-2]])
    out = [pts[:1]]
    for k in range(1, len(ends) - 2):
        p0, p1, p2, p3 = ends[k - 1 : k + 3]
        gaps = [max(float(np.linalg.norm((b - a)[:2])), 1e-6) ** 0.5 for a, b in ((p0, p1), (p1, p2), (p2, p3))]
        t0, t1 = 0.0, gaps[0]
        t2, t3 = t1 + gaps[1], t1 + gaps[1] + gaps[2]
        t = np.linspace(t1, t2, steps + 1)[1:, None]
        a1 = (t1 - t) / (t1 - t0) * p0 + (t - t0) / (t1 - t0) * p1
        a2 = (t2 - t) / (t2 - t1) * p1 + (t - t1) / (t2 - t1) * p2
        a3 = (t3 - t) / (t3 - t2) * p2 + (t - t2) / (t3 - t2) * p3
        b1 = (t2 - t) / (t2 - t0) * a1 + (t - t0) / (t2 - t0) * a2
        b2 = (t3 - t) / (t3 - t1) * a2 + (t - t1) / (t3 - t1) * a3
        out.append((t2 - t) / (t2 - t1) * b1 + (t - t1) / (t2 - t1) * b2)
    return np.vstack(out).astype(np.float32)


def straight(*knots: Knot) -> Curve:
    """Return a curve of straight pieces; the radius rounds the corners of outlines."""
    return np.array(knots, dtype=np.float32)


def box_outline(radius: float, bottom: float, top: float, rounding: float = 0.012) -> Curve:
    """Return the closed outline of a disc or rod around the axis with rounded edges."""
    turn = np.linspace(0, np.pi / 2, 33)
    low = np.stack([radius - rounding + rounding * np.sin(turn), bottom + rounding - rounding * np.cos(turn)], 1)
    high = np.stack([radius - rounding + rounding * np.cos(turn), top - rounding + rounding * np.sin(turn)], 1)
    return closed([(0.0, bottom), *map(tuple, low), *map(tuple, high), (0.0, top)])


def closed(points: Sequence[tuple[float, ...]]) -> Curve:
    """Close an outline along the axis by mirroring it, so that the axis itself is no edge."""
    right = [(x, y, 0.0) for x, y in points]
    left = [(-x, y, 0.0) for x, y in reversed(points)]
    return np.array([*right, *left, right[0]], dtype=np.float32)


def solid_of(curve: Curve) -> Curve:
    """Return the closed outline of a smooth profile that begins and ends on the axis."""
    return closed([(float(x), float(y)) for x, y, _ in curve])


def foot(radius: float, height: float, half: float = 0.02) -> Curve:
    """Return a foot ring under a bowl or plate."""
    return straight((radius, half, half), (radius, height, half))
