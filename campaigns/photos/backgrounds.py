"""The background of a photo: a plain one is fitted from the border, a product is told from any other; regions of masks.

A mask is height × width, bool. If a background is not plain (a table, a shelf), colours near the middle that do not
occur at the image's edge are taken as the product. GrabCut (Rother, Kolmogorov and Blake 2004) draws the outline
between them and the rest. It runs twice, from these colours and from a plain frame; if both results agree, they are
more reliable.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Mask = NDArray[np.bool_]
Part = tuple[slice, slice]
BORDER_SHARE = 0.03
SCENE_SIDE: Final = 320
FRAME: Final = 0.02  # share of the shorter side that always counts as surroundings
SCENE_COLOURS: Final = 8
GRABCUT_ROUNDS: Final = 4
MAX_SCENE_CONFIDENCE: Final = 0.55
"""Confidence if both results agree. It is low enough that a person must look at the cut-out."""


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


def fit_background(lab: Floats, where: Mask, degree: int = 2) -> Background:
    """Fit a polynomial in x and y to `lab` on `where`.

    Outliers (a touching product, a shadow) get a low weight: Tukey's biweight.
    """
    rows, columns = np.nonzero(where)
    step = max(1, len(rows) // 6000)
    rows, columns = rows[::step], columns[::step]
    values = lab[rows, columns].astype(np.float64)
    design = _terms(columns / lab.shape[1], rows / lab.shape[0], degree)
    weights = np.ones(len(rows))
    # Start from the most common colour, not from the mean, because a product may touch a third of the border.
    _, inverse, counts = np.unique(
        np.round(values / 6).astype(np.int64), axis=0, return_inverse=True, return_counts=True
    )
    centre = np.median(values[inverse.ravel() == counts.argmax()], axis=0)
    weights[np.linalg.norm(values - centre, axis=1) > 25] = 1e-3
    spread = 1.0
    for _ in range(6):
        weighted = design * (weights**2)[:, None]
        coefficients = np.linalg.solve(weighted.T @ design + 1e-9 * np.eye(design.shape[1]), weighted.T @ values)
        distance = np.linalg.norm(values - design @ coefficients, axis=1)
        spread = max(0.35, 1.4826 * float(np.median(distance[weights > 0.01])) / 1.5)
        weights = np.sqrt(np.clip(1 - (distance / (6 * spread + 1.5)) ** 2, 0, 1)) ** 2 + 1e-4
    plainness = float(np.mean(distance < 4 * spread + 2))
    # The polynomial is smooth, so it is computed at 64 × 64 and enlarged.
    x, y = np.meshgrid((np.arange(64) + 0.5) / 64, (np.arange(64) + 0.5) / 64)
    small = (_terms(x, y, degree) @ coefficients).astype(np.float32)
    surface = cv2.resize(small, (lab.shape[1], lab.shape[0]), interpolation=cv2.INTER_CUBIC)
    return Background(np.asarray(surface, dtype=np.float32), spread, plainness)


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


def _terms(x: NDArray[np.float64], y: NDArray[np.float64], degree: int) -> NDArray[np.float64]:
    x, y = x * 2 - 1, y * 2 - 1
    return np.stack([x**i * y**j for i in range(degree + 1) for j in range(degree + 1 - i)], axis=-1)


def iter_regions(mask: Mask, connectivity: int = 4) -> Iterator[tuple[NDArray[np.int32], Part, Mask]]:
    """Yield (left, top, width, height, area) of each connected region, its rectangle, and its pixels in there."""
    count, labels, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=connectivity)
    for index in range(1, count):
        left, top, width, height, _ = stats[index]
        part = np.s_[top : top + height, left : left + width]
        yield stats[index], part, labels[part] == index


def connected_to(seed: Mask, allowed: Mask, *, connectivity: int = 4, least: float = 0) -> Mask:
    """Return the regions of `allowed` that hold a pixel of `seed` and more than `least` pixels."""
    count, labels = cv2.connectedComponents(allowed.astype(np.uint8), connectivity=connectivity)
    touched = np.zeros(count, dtype=bool)
    touched[np.unique(labels[seed & allowed])] = True
    touched[0] = False
    if least:
        touched &= np.bincount(labels.ravel(), minlength=count) > least
    return np.asarray(touched[labels], dtype=bool)


def enlarge(mask: Mask, shape: tuple[int, ...], *, blur: float) -> Mask:
    """Return the mask at the size of `shape`. Its steps are smoothed by a blur, in pixels before enlarging."""
    soft = cv2.GaussianBlur(mask.astype(np.float32), (0, 0), blur)
    return np.asarray(cv2.resize(soft, (shape[1], shape[0]), interpolation=cv2.INTER_CUBIC) > 0.5, dtype=bool)


def without_small_parts(product: Mask) -> Mask:
    """Remove parts smaller than a hundredth of the largest part, and holes of a few pixels."""
    count, labels, stats, _ = cv2.connectedComponentsWithStats(product.astype(np.uint8), connectivity=8)
    if count < 2:
        return product
    areas = stats[:, cv2.CC_STAT_AREA]
    keep = areas >= 0.01 * areas[1:].max()
    keep[0] = False
    product = np.asarray(keep[labels], dtype=bool)
    count, labels, stats, _ = cv2.connectedComponentsWithStats((~product).astype(np.uint8), connectivity=4)
    small = stats[:, cv2.CC_STAT_AREA] < max(9, 1e-5 * product.size)
    small[0] = False
    return product | small[labels]


def find_product(rgb: NDArray[np.uint8]) -> tuple[Mask, float]:
    """Return (True on the product, confidence 0 … MAX_SCENE_CONFIDENCE) for height × width × 3 sRGB pixels."""
    scale = min(1.0, SCENE_SIDE / max(rgb.shape[:2]))
    small = cv2.resize(rgb, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    outer = border_mask(small.shape, FRAME, least=2)
    likely = _likely_product(small)
    drawn = _run_grabcut(small, outer, likely)
    other = _run_grabcut(small, outer, np.ones_like(likely))
    union = int((drawn | other).sum())
    share = float(drawn.mean())
    if not union or not 0.01 < share < 0.9:
        return np.zeros(rgb.shape[:2], dtype=bool), 0.0
    agreement = float((drawn & other).sum()) / union
    confidence = max(0.05, MAX_SCENE_CONFIDENCE * float(np.clip((agreement - 0.6) / 0.3, 0, 1)))
    return enlarge(drawn, rgb.shape, blur=1.0), round(confidence, 3)


def _likely_product(rgb: NDArray[np.uint8]) -> Mask:
    """Return the pixels whose colour does not occur at the image's edge; those near the middle count more."""
    lab = to_lab(rgb)
    high, wide = lab.shape[:2]
    samples = np.ascontiguousarray(lab[border_mask(lab.shape)][::2])
    cv2.setRNGSeed(1)  # k-means is random; the same photo must give the same cut-out
    criteria = (cv2.TERM_CRITERIA_EPS + cv2.TERM_CRITERIA_MAX_ITER, 20, 0.5)
    count = min(SCENE_COLOURS, len(samples))
    _, labels, centres = cv2.kmeans(samples, count, np.empty(0, np.int32), criteria, 2, cv2.KMEANS_PP_CENTERS)
    strange = np.full((high, wide), np.inf, dtype=np.float32)
    for index, centre in enumerate(centres):
        members = samples[labels[:, 0] == index]
        spread = float(np.sqrt(((members - centre) ** 2).sum(axis=1).mean() + 9)) if len(members) else 3.0
        # A shadow changes the light of the surroundings more than their colour.
        distance = np.linalg.norm((lab - centre) * np.asarray((0.6, 1.3, 1.3), dtype=np.float32), axis=-1) / spread
        strange = np.minimum(strange, distance)
    strange = cv2.GaussianBlur(strange, (0, 0), 2.0)
    y, x = np.mgrid[0:high, 0:wide].astype(np.float32)
    middle = np.exp(-(((x / wide - 0.5) / 0.36) ** 2) - ((y / high - 0.52) / 0.38) ** 2)
    values = np.asarray(strange * middle, dtype=np.float32)
    levels = np.clip(values / max(float(np.percentile(values, 99.5)), 1e-6) * 255, 0, 255).astype(np.uint8)
    threshold, _ = cv2.threshold(levels, 0, 255, cv2.THRESH_OTSU)
    return np.asarray(levels > threshold, dtype=bool)


def _run_grabcut(rgb: NDArray[np.uint8], outer: Mask, likely: Mask) -> Mask:
    """Return the largest piece that GrabCut finds, starting with `likely` as product and the rest as surroundings."""
    state = np.where(likely, cv2.GC_PR_FGD, cv2.GC_PR_BGD).astype(np.uint8)
    state[outer] = cv2.GC_BGD
    if not (state == cv2.GC_PR_FGD).any():
        return np.zeros(outer.shape, dtype=bool)
    models = np.zeros((1, 65)), np.zeros((1, 65))
    cv2.setRNGSeed(1)
    cv2.grabCut(rgb, state, None, *models, GRABCUT_ROUNDS, cv2.GC_INIT_WITH_MASK)
    product = np.isin(state, (cv2.GC_FGD, cv2.GC_PR_FGD)).astype(np.uint8)
    product = cv2.morphologyEx(product, cv2.MORPH_OPEN, np.ones((3, 3), np.uint8))
    count, labels, stats, _ = cv2.connectedComponentsWithStats(product, connectivity=8)
    if count < 2:
        return np.zeros(outer.shape, dtype=bool)
    return np.asarray(labels == 1 + int(np.argmax(stats[1:, cv2.CC_STAT_AREA])), dtype=bool)
