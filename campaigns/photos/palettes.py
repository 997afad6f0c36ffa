"""Palettes: the main colours of an image, and remarks about a list of colours. Pure functions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from campaigns.photos import colours
from campaigns.photos.colours import Floats

MIN_COLOURS: Final = 5
MAX_COLOURS: Final = 8
_WORKING_EDGE: Final = 160  # long edge on which colours are counted
_CLUSTERS: Final = 16
_ROUNDS: Final = 12
_MERGE_DISTANCE: Final = 0.06  # distance below which two clusters are one colour
_SAME_COLOUR_DISTANCE: Final = 0.02  # distance below which they are merged even if the image has few colours
#: Lightness counts less: light and shade of one colour are not two colours.
_LAB_WEIGHTS: Final = np.array([0.6, 1.0, 1.0])
_ACCENT_WEIGHT: Final = 12.0  # extra weight of a fully coloured pixel over a grey one, so that small accents are found
_NOISE_SHARE: Final = 0.004  # share of the weight below which a cluster is noise
_MIN_ALPHA: Final = 128
MIN_BACKDROP_CONTRAST: Final = 6.0  # ΔE between product and backdrop below which the product hardly shows


@dataclass(frozen=True)
class Swatch:
    """One colour of an image: a name that is unique in the palette, "#rrggbb", and its share of the area (0–1)."""

    name: str
    hex: str
    share: float


@dataclass(frozen=True)
class Remark:
    """A remark about two colours of a list, with their names."""

    first: str
    second: str
    message: str


def extract_palette(pixels: NDArray[np.uint8], *, most: int = MAX_COLOURS) -> list[Swatch]:
    """Return the main colours of `pixels` (height × width × 3|4 uint8 sRGB), largest first; none if all is transparent.

    Uses k-means in OKLab, initialised by median cut, so that the same image always gives the same colours; similar
    clusters are merged. Fewer than MIN_COLOURS colours are returned only if the image has no more.
    """
    lab = _opaque_pixels(pixels)
    if not len(lab):
        return []
    weights = 1 + _ACCENT_WEIGHT * np.hypot(lab[:, 1], lab[:, 2])
    labels, centres = _settle_clusters(lab, weights, _median_cut(lab, weights))
    kept = _merge_clusters(lab, weights, labels, centres, most)
    hexes = [colours.hex_of(centre) for centre, _ in kept]
    named = colours.names_of(hexes)
    return [Swatch(name, colour, round(share, 4)) for name, colour, (_, share) in zip(named, hexes, kept, strict=True)]


def similar_colour_remarks(listed: Sequence[Mapping[str, str]]) -> list[Remark]:
    """Return remarks about pairs of {"name", "hex"} that people would take for one colour."""
    remarks = []
    for index, first in enumerate(listed):
        for second in listed[index + 1 :]:
            distance = colours.colour_difference(first["hex"], second["hex"])
            if distance < colours.DISTINCT_COLOURS:
                seen = "cannot be told apart" if distance < colours.JUST_NOTICEABLE else "are hard to tell apart"
                message = f"{first['name']} and {second['name']} {seen} (ΔE {distance:.1f}; two colours from about 5)."
                remarks.append(Remark(first["name"], second["name"], message))
    return remarks


def low_contrast_remarks(products: Sequence[Mapping[str, str]], backdrops: Sequence[Mapping[str, str]]) -> list[Remark]:
    """Return a remark for each product colour that hardly shows on some backdrops; lists of {"name", "hex"}."""
    remarks = []
    for product in products:
        near = [
            backdrop["name"]
            for backdrop in backdrops
            if colours.colour_difference(product["hex"], backdrop["hex"]) < MIN_BACKDROP_CONTRAST
        ]
        if near:
            grounds = " and ".join(filter(None, [", ".join(near[:-1]), near[-1]]))
            message = f"A product in {product['name']} hardly shows on {grounds}: only its shadow and edges will."
            remarks.append(Remark(product["name"], grounds, message))
    return remarks


def _opaque_pixels(pixels: NDArray[np.uint8]) -> Floats:
    """Return the opaque pixels of a small copy as OKLab, n × 3."""
    height, width = pixels.shape[:2]
    scale = _WORKING_EDGE / max(height, width)
    if scale < 1:
        size = (max(1, round(width * scale)), max(1, round(height * scale)))
        pixels = np.asarray(cv2.resize(pixels, size, interpolation=cv2.INTER_AREA), dtype=np.uint8)
    flat = pixels.reshape(-1, pixels.shape[2])
    if flat.shape[1] == 4:
        flat = flat[flat[:, 3] >= _MIN_ALPHA]
    return colours.to_oklab(flat[:, :3])


def _median_cut(lab: Floats, weights: Floats) -> Floats:
    """Return centres by median cut: the box with the largest weight × extent is split until there are enough."""
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


def _settle_clusters(lab: Floats, weights: Floats, centres: Floats) -> tuple[NDArray[np.intp], Floats]:
    for _ in range(_ROUNDS):
        labels = np.asarray(((lab[:, None] - centres[None]) ** 2).sum(axis=2).argmin(axis=1))
        moved = centres.copy()
        for index in np.unique(labels):
            members = labels == index
            moved[index] = np.average(lab[members], axis=0, weights=weights[members])
        if np.allclose(moved, centres, atol=1e-4):
            break
        centres = moved
    return labels, centres


def _merge_clusters(
    lab: Floats, weights: Floats, labels: NDArray[np.intp], centres: Floats, most: int
) -> list[tuple[Floats, float]]:
    """Return (centre, share of the area), largest first: similar clusters joined, noise dropped, at most `most`."""
    parts = [(centres[i], float(weights[labels == i].sum()), float((labels == i).mean())) for i in range(len(centres))]
    parts = [part for part in parts if part[1] > 0]
    while len(parts) > 1:
        gaps = [
            (float(np.linalg.norm((parts[i][0] - parts[j][0]) * _LAB_WEIGHTS)), i, j)
            for i in range(len(parts))
            for j in range(i)
        ]
        gap, i, j = min(gaps)
        enough = _SAME_COLOUR_DISTANCE if len(parts) <= MIN_COLOURS else _MERGE_DISTANCE
        if gap >= enough and len(parts) <= most:
            break
        joined = _join_similar(parts[i], parts[j])
        parts = [part for index, part in enumerate(parts) if index not in (i, j)] + [joined]
    whole = float(weights.sum())
    large = [part for part in parts if part[1] / whole >= _NOISE_SHARE]
    return [(centre, share) for centre, _, share in sorted(large or parts, key=lambda part: -part[2])]


def _join_similar(
    first: tuple[Floats, float, float], second: tuple[Floats, float, float]
) -> tuple[Floats, float, float]:
    weight = first[1] + second[1]
    return (first[0] * first[1] + second[0] * second[1]) / weight, weight, first[2] + second[2]
