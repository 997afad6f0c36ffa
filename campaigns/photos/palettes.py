"""Palettes: the colours that a picture lives by, and what is worth saying about a list of colours. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from campaigns.photos import colours
from campaigns.photos.colours import Floats

FEWEST: Final = 5
MOST: Final = 8
_WORK: Final = 160  # long edge on which colours are counted
_CLUSTERS: Final = 16
_ROUNDS: Final = 12
_MERGED: Final = 0.06  # distance below which two clusters are one colour
_SAME: Final = 0.02  # and below which they are one even where the picture has few colours
_SHADES: Final = np.array([0.6, 1.0, 1.0])  # light and shade of one colour are nearer than two colours
_ACCENT: Final = 12.0  # how much more a fully coloured pixel weighs than a grey one, so that small accents are found
_SMALL: Final = 0.004  # share of the weight below which a cluster is noise
_OPAQUE: Final = 128
FAINT: Final = 6.0
"""ΔE between product and backdrop below which the product hardly shows."""


@dataclass(frozen=True)
class Swatch:
    """One colour of a picture: a name that nobody else in the palette has, "#rrggbb", its share of the area (0–1)."""

    name: str
    hex: str
    share: float


@dataclass(frozen=True)
class Remark:
    """Something to look at in a list of colours; names of those that it is about."""

    one: str
    other: str
    message: str


def of_picture(pixels: NDArray[np.uint8], *, most: int = MOST) -> list[Swatch]:
    """The main colours of `pixels` (height × width × 3|4 uint8 sRGB), largest first; none where all is transparent.

    K-means in OKLab, begun by median cut, so that the same picture always gives the same colours; clusters that look
    alike are merged. Fewer than FEWEST come back only where the picture has no more.
    """
    lab = _seen(pixels)
    if not len(lab):
        return []
    weights = 1 + _ACCENT * np.hypot(lab[:, 1], lab[:, 2])
    labels, centres = _settled(lab, weights, _begun(lab, weights))
    kept = _merged(lab, weights, labels, centres, most)
    found = [colours.hex_of(centre) for centre, _ in kept]
    named = colours.names_of(found)
    return [Swatch(name, colour, round(share, 4)) for name, colour, (_, share) in zip(named, found, kept, strict=True)]


def look_alikes(listed: Sequence[Mapping[str, str]]) -> list[Remark]:
    """Pairs of {"name", "hex"} that people would take for one colour."""
    found = []
    for index, one in enumerate(listed):
        for other in listed[index + 1 :]:
            distance = colours.apart(one["hex"], other["hex"])
            if distance < colours.TWO_COLOURS:
                seen = "cannot be told apart" if distance < colours.JUST_NOTICEABLE else "are hard to tell apart"
                message = f"{one['name']} and {other['name']} {seen} (ΔE {distance:.1f}; two colours from about 5)."
                found.append(Remark(one["name"], other["name"], message))
    return found


def faint_on(products: Sequence[Mapping[str, str]], backdrops: Sequence[Mapping[str, str]]) -> list[Remark]:
    """Palette colours that would hardly show on some of the backdrops, one remark each; lists of {"name", "hex"}."""
    found = []
    for product in products:
        near = [one["name"] for one in backdrops if colours.apart(product["hex"], one["hex"]) < FAINT]
        if near:
            grounds = " and ".join(filter(None, [", ".join(near[:-1]), near[-1]]))
            message = f"A product in {product['name']} hardly shows on {grounds}: only its shadow and edges will."
            found.append(Remark(product["name"], grounds, message))
    return found


def _seen(pixels: NDArray[np.uint8]) -> Floats:
    """The opaque pixels of a small copy as OKLab, n × 3."""
    height, width = pixels.shape[:2]
    scale = _WORK / max(height, width)
    if scale < 1:
        size = (max(1, round(width * scale)), max(1, round(height * scale)))
        pixels = np.asarray(cv2.resize(pixels, size, interpolation=cv2.INTER_AREA), dtype=np.uint8)
    flat = pixels.reshape(-1, pixels.shape[2])
    if flat.shape[1] == 4:
        flat = flat[flat[:, 3] >= _OPAQUE]
    return colours.oklab(flat[:, :3])


def _begun(lab: Floats, weights: Floats) -> Floats:
    """Centres by median cut: the box with the most weight × extent is split until there are enough."""
    boxes = [np.arange(len(lab))]
    while len(boxes) < _CLUSTERS:
        extents = [float(np.ptp(lab[box], axis=0).max() * weights[box].sum()) if len(box) > 1 else 0.0 for box in boxes]
        widest = int(np.argmax(extents))
        if extents[widest] <= 0:
            break
        box = boxes.pop(widest)
        axis = int(np.argmax(np.ptp(lab[box], axis=0)))
        middle = (lab[box, axis].min() + lab[box, axis].max()) / 2
        low = lab[box, axis] <= middle
        boxes += [box[low], box[~low]]
    return np.stack([np.average(lab[box], axis=0, weights=weights[box]) for box in boxes])


def _settled(lab: Floats, weights: Floats, centres: Floats) -> tuple[NDArray[np.intp], Floats]:
    for _ in range(_ROUNDS):
        labels = np.asarray(((lab[:, None] - centres[None]) ** 2).sum(axis=2).argmin(axis=1))
        moved = centres.copy()
        for index in np.unique(labels):
            mine = labels == index
            moved[index] = np.average(lab[mine], axis=0, weights=weights[mine])
        if np.allclose(moved, centres, atol=1e-4):
            break
        centres = moved
    return labels, centres


def _merged(
    lab: Floats, weights: Floats, labels: NDArray[np.intp], centres: Floats, most: int
) -> list[tuple[Floats, float]]:
    """(centre, share of the area), largest first: look-alikes joined, noise dropped, at most `most`."""
    parts = [(centres[i], float(weights[labels == i].sum()), float((labels == i).mean())) for i in range(len(centres))]
    parts = [part for part in parts if part[1] > 0]
    while len(parts) > 1:
        gaps = [
            (float(np.linalg.norm((parts[i][0] - parts[j][0]) * _SHADES)), i, j)
            for i in range(len(parts))
            for j in range(i)
        ]
        gap, i, j = min(gaps)
        enough = _SAME if len(parts) <= FEWEST else _MERGED
        if gap >= enough and len(parts) <= most:
            break
        joined = _joined(parts[i], parts[j])
        parts = [part for index, part in enumerate(parts) if index not in (i, j)] + [joined]
    whole = float(weights.sum())
    large = [part for part in parts if part[1] / whole >= _SMALL]
    return [(centre, share) for centre, _, share in sorted(large or parts, key=lambda part: -part[2])]


def _joined(one: tuple[Floats, float, float], other: tuple[Floats, float, float]) -> tuple[Floats, float, float]:
    weight = one[1] + other[1]
    return (one[0] * one[1] + other[0] * other[1]) / weight, weight, one[2] + other[2]
