"""Decide whether an image shows another one, or most of it, whatever its size, quality and small shifts of colour.

There are two steps. `hashes` gives PDQ hashes of what the image may have been before it was cropped or framed; masters
whose hash is near one of them are candidates. `find_same` lays the image over candidates and measures what differs.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

import cv2
import numpy as np
from numpy.typing import NDArray

from generation.engines.base import Pixels
from generation.finishing import similarity
from generation.finishing.resample import shrink_to_fit

Floats = NDArray[np.float32]
Mask = NDArray[np.uint8]
"""A part of an image: 255 where it is, else 0; height × width."""

EDGE: Final = 256
"""Long edge of the candidate's copy that images are compared at, in pixels."""
LEAST_CORRELATION: Final = 0.98
LEAST_GAIN: Final = 0.87
MOST_GAIN: Final = 1.15
MOST_SHIFT: Final = 14.0
MOST_CAST: Final = 12.0
MOST_LEVELS: Final = 9.0
MOST_LEVELS_BESIDE: Final = 13.0
"""Limits of what is the same image, chosen by what benchmarks/verify.py measures. A screenshot may have other colours,
but an image that differs in its colours alone is another one: a product in another glaze."""
LEAST_ROUGH_CORRELATION: Final = 0.85
MAX_COMPARED: Final = 5
"""How many candidates are compared exactly: those with the greatest rough correlation."""
_LEAST_STRUCTURE: Final = 1.0  # mean deviation from the surroundings, in levels: a plain area looks like any other
_COARSE: Final = 40
_MARGIN: Final = _COARSE // 8  # how far the image may reach beyond the candidate
_SCALES: Final = tuple(np.arange(0.75, 1.09, 0.03).round(2))
"""Sizes of the image that are tried; 1 is the largest that fits into the candidate."""
_CROPPED: Final = 1 / 9  # what a crop to 90 % took away, as a share of what is left
_FRAMES: Final = (0.012, 0.025)
_TRIMMED: Final = 0.03  # of each edge, before images are compared: a page around a screenshot
_CELL: Final = 16  # pixels of a side of the cells in which differences are averaged
_LABEL_ROOM: Final = 1.15  # times the reach of a label, which a crop to 90 % enlarges
_BLUR: Final = 1.5  # sigma in pixels: what differs by less than this is noise of the encoding


@dataclass(frozen=True)
class Corner:
    """A corner of an image up to where a label reaches, as shares of its sides. name: see campaigns.visible_labels."""

    name: str
    across: float
    down: float


@dataclass(frozen=True)
class Comparison:
    """An image laid over a candidate. Levels are 0–255.

    covered: the share of the candidate that the image shows. correlation: of the luma, -1 to 1. shift: by how many
    levels the channel that differs most is brighter or darker, and cast: by how many more than the mean of the three.
    gains: the least and the greatest contrast of a channel relative to the image's. difference: the mean of all cells
    in levels after the tone of each channel was fitted, and worst: that of the cell that differs most. sharpest: worst,
    but of the luma and of blurred colours, because the copies that are compared have their colours at half resolution.
    """

    covered: float
    correlation: float
    shift: float
    cast: float
    gains: tuple[float, float]
    difference: float
    worst: float
    sharpest: float

    @property
    def is_same(self) -> bool:
        """Return True if both show the same image."""
        return self.is_similar and self.worst < MOST_LEVELS

    @property
    def is_similar(self) -> bool:
        """Return True if they may show the same image, given that one of the candidates does."""
        has_same_tones = self.gains[0] > LEAST_GAIN and self.gains[1] < MOST_GAIN
        has_same_colours = self.shift < MOST_SHIFT and self.cast < MOST_CAST
        return (
            has_same_tones
            and has_same_colours
            and self.correlation > LEAST_CORRELATION
            and self.worst < MOST_LEVELS_BESIDE
        )


def hashes(small: Pixels) -> list[str]:
    """Return PDQ hashes, 64 hex digits each, of the image (about 512 px) as it is, without a frame, and uncropped.

    An image that was cropped is extended to nine places of the uncropped one by repeating its edges.
    """
    images = [small, *(_without_frame(small, share) for share in _FRAMES), *_extended(small)]
    return [found for image in images if (found := similarity.pdq(image, least_quality=1)[0])]


def _without_frame(small: Pixels, share: float) -> Pixels:
    height, width = small.shape[:2]
    down, across = max(1, round(height * share)), max(1, round(width * share))
    return np.ascontiguousarray(small[down:-down, across:-across])


def _extended(small: Pixels) -> Iterator[Pixels]:
    down, across = (round(length * _CROPPED) for length in small.shape[:2])
    for top in (0, down // 2, down):
        for left in (0, across // 2, across):
            lengths = (top, down - top, left, across - left)
            yield np.asarray(cv2.copyMakeBorder(small, *lengths, cv2.BORDER_REPLICATE), dtype=np.uint8)


def trim(small: Pixels) -> Pixels:
    """Return the image, at most 320 px, without its edges, where a screenshot may show the page around it."""
    return shrink_to_fit(_without_frame(small, _TRIMMED), 320)


def place_roughly(image: Pixels, candidate: Pixels) -> tuple[float, Floats]:
    """Return (correlation, 2 × 3 matrix from places of the candidate to places of the image), found at 40 px."""
    small = shrink_to_fit(candidate, _COARSE)
    scale = small.shape[1] / candidate.shape[1]
    height, width = small.shape[:2]
    around = cv2.copyMakeBorder(small, _MARGIN, _MARGIN, _MARGIN, _MARGIN, cv2.BORDER_REPLICATE).astype(np.float32)
    largest = min(width / image.shape[1], height / image.shape[0])
    reduced = shrink_to_fit(image, 2 * _COARSE)
    best, matrix = -1.0, np.eye(2, 3, dtype=np.float32)
    for factor in _SCALES:
        size = tuple(max(8, round(length * largest * factor)) for length in image.shape[1::-1])
        if size[0] > around.shape[1] or size[1] > around.shape[0]:
            continue
        template = cv2.resize(reduced, size, interpolation=cv2.INTER_AREA).astype(np.float32)
        scores = cv2.matchTemplate(around, template, cv2.TM_CCOEFF_NORMED)
        _least, most, _where, (left, top) = cv2.minMaxLoc(scores)
        if np.isfinite(most) and most > best:
            across, down = image.shape[1] / size[0], image.shape[0] / size[1]
            best = float(most)
            matrix = np.array(
                [[scale * across, 0, (_MARGIN - left) * across], [0, scale * down, (_MARGIN - top) * down]],
                np.float32,
            )
    return best, matrix


def compare(image: Pixels, candidate: Pixels, matrix: Floats, shown: Mask) -> Comparison | None:
    """Return what differs between the trimmed image and the candidate (long edge EDGE); `matrix` is a rough placement.

    None if the image covers less than half of the candidate. shown: the part of the image that counts (255).
    """
    image, matrix, shown = _rescaled(image, matrix, shown)
    matrix = _refine(image, candidate, matrix, shown)
    height, width = candidate.shape[:2]
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    laid = cv2.warpAffine(image, matrix, (width, height), flags=flags, borderMode=cv2.BORDER_REPLICATE)
    inside = cv2.warpAffine(np.full(image.shape[:2], 255, np.uint8), matrix, (width, height), flags=flags) == 255
    covered = float(inside.mean())
    mask = cv2.warpAffine(shown, matrix, (width, height), flags=flags) == 255
    if covered < 0.5 or not _has_structure(candidate, mask):
        return None
    return _measure(laid.astype(np.float32), candidate.astype(np.float32), mask, covered)


def find_same(
    small: Pixels, candidates: Sequence[Pixels], labels: Sequence[Corner] = ()
) -> list[tuple[int, Comparison]]:
    """Return (index, comparison) of the candidates that may show the image, the most similar first.

    There is none unless one of them surely does. small: the image with a long edge of about 512 px. candidates: with a
    long edge of EDGE. labels: corners in which the image may have a visible label, which the candidates do not have.
    """
    image = trim(small)
    parts = (np.full(image.shape[:2], 255, np.uint8), *(_outside(corner, image) for corner in labels))
    found = (_find_same(image, candidates, shown) for shown in parts)
    return next(filter(None, found), [])


def _find_same(image: Pixels, candidates: Sequence[Pixels], shown: Mask) -> list[tuple[int, Comparison]]:
    """Return the same for the trimmed image. shown: the part of it that counts (255)."""
    if not shown.all():
        image = np.asarray(cv2.inpaint(image, 255 - shown, 3, cv2.INPAINT_TELEA), np.uint8)
    placed = sorted(
        ((*place_roughly(image, candidate), index) for index, candidate in enumerate(candidates)),
        key=lambda place: -place[0],
    )
    similar = []
    for correlation, matrix, index in placed[:MAX_COMPARED]:
        if correlation > LEAST_ROUGH_CORRELATION:
            comparison = compare(image, candidates[index], matrix, shown)
            if comparison is not None and comparison.is_similar:
                similar.append((index, comparison))
    if not any(comparison.is_same for _index, comparison in similar):
        return []
    return sorted(similar, key=lambda found: found[1].sharpest)


def _outside(corner: Corner, image: Pixels) -> Mask:
    """Return the part of the image without the corner. A crop makes a label larger, a trimmed edge brings it nearer."""
    height, width = image.shape[:2]
    across, down = round(width * corner.across * _LABEL_ROOM), round(height * corner.down * _LABEL_ROOM)
    shown = np.full((height, width), 255, np.uint8)
    rows = slice(0, down) if corner.name.startswith("top") else slice(height - down, height)
    columns = slice(0, across) if corner.name.endswith("left") else slice(width - across, width)
    shown[rows, columns] = 0
    return shown


def _has_structure(candidate: Pixels, mask: NDArray[np.bool_]) -> bool:
    luma = cv2.cvtColor(candidate, cv2.COLOR_RGB2GRAY).astype(np.float32)
    return float(np.abs(_blurred(luma, _BLUR) - _blurred(luma, 8 * _BLUR))[mask].mean()) > _LEAST_STRUCTURE


def _rescaled(image: Pixels, matrix: Floats, shown: Mask) -> tuple[Pixels, Floats, Mask]:
    """Return the image at the candidate's scale, so that warping it averages areas."""
    size = tuple(max(8, round(image.shape[1 - axis] / matrix[axis, axis])) for axis in (0, 1))
    factors = np.array([size[0] / image.shape[1], size[1] / image.shape[0]], np.float32)
    method = cv2.INTER_AREA if factors.max() <= 1 else cv2.INTER_LINEAR
    scaled = np.asarray(cv2.resize(image, size, interpolation=method), np.uint8)
    mask = np.asarray(cv2.resize(shown, size, interpolation=cv2.INTER_NEAREST), np.uint8)
    return scaled, matrix * factors[:, None], mask


def _refine(image: Pixels, candidate: Pixels, matrix: Floats, shown: Mask) -> Floats:
    """Return the placement with the greatest correlation of the luma; the given one where that does not converge."""
    criteria = (cv2.TERM_CRITERIA_EPS | cv2.TERM_CRITERIA_COUNT, 40, 1e-4)
    lumas = [cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY) for pixels in (candidate, image)]
    part = None if shown.all() else shown
    align: Any = cv2.findTransformECC  # its stubs know no size of the filter without a mask
    try:
        halves = [cv2.resize(luma, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA) for luma in lumas]
        half_part = None if part is None else cv2.resize(part, halves[1].shape[::-1], interpolation=cv2.INTER_NEAREST)
        half = matrix.copy() * np.array([1, 1, 0.5], np.float32)
        half = align(*halves, half, cv2.MOTION_AFFINE, criteria, half_part, 5)[1]
        whole = half * np.array([1, 1, 2], np.float32)
        refined = align(*lumas, whole, cv2.MOTION_AFFINE, criteria, part, 5)[1]
    except cv2.error:
        return matrix
    return np.asarray(refined, np.float32)


def _measure(laid: Floats, candidate: Floats, mask: NDArray[np.bool_], covered: float) -> Comparison:
    laid, candidate = _blurred(laid, _BLUR), _blurred(candidate, _BLUR)
    lumas = [cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY) for pixels in (laid, candidate)]
    shifts = candidate[mask].mean(axis=0) - laid[mask].mean(axis=0)
    residual, gains = np.zeros_like(candidate), []
    for channel in range(3):
        fitted, gain = _fit_tone(laid[..., channel], candidate[..., channel], mask)
        residual[..., channel] = (fitted - candidate[..., channel]) * mask
        gains.append(gain)
    cells = _cells(np.abs(residual).max(axis=2), mask)
    luma = cv2.cvtColor(residual, cv2.COLOR_RGB2GRAY)
    colours = np.abs(_blurred(residual - luma[..., None], 4)).max(axis=2)
    return Comparison(
        covered=min(1.0, covered / (1 - 2 * _TRIMMED) ** 2),
        correlation=_correlate(lumas, mask),
        shift=float(np.abs(shifts).max()),
        cast=float(np.abs(shifts - shifts.mean()).max()),
        gains=(min(gains), max(gains)),
        difference=float(cells.mean()),
        worst=float(cells.max()),
        sharpest=float(_cells(np.maximum(np.abs(luma), colours * mask), mask).max()),
    )


def _cells(residual: Floats, mask: NDArray[np.bool_]) -> Floats:
    """Return the mean residual of each cell of which at least a quarter is in the mask."""
    size = tuple(max(1, length // _CELL) for length in mask.shape[::-1])
    shares = cv2.resize(mask.astype(np.float32), size, interpolation=cv2.INTER_AREA)
    sums = cv2.resize(residual, size, interpolation=cv2.INTER_AREA)
    return np.asarray(sums[shares > 0.25] / shares[shares > 0.25], np.float32)


def _fit_tone(given: Floats, wanted: Floats, mask: NDArray[np.bool_]) -> tuple[Floats, float]:
    """Return (`given` with the tone curve, a parabola, that brings it nearest to `wanted`, the gain of a line)."""
    every = mask.copy()
    every[1::2] = every[:, 1::2] = False  # a quarter of the pixels gives the same curve
    x, y = (given[every] - 128) / 128, wanted[every]
    gain = float(np.mean((x - x.mean()) * (y - y.mean())) / max(float(x.var()), 1e-4)) / 128
    terms = np.stack([np.ones_like(x), x, x * x])
    curve = np.linalg.solve(terms @ terms.T + np.diag([0, 1e-3, 1e-1]).astype(np.float32) * len(x), terms @ y)
    x = (given - 128) / 128
    return np.asarray(curve[0] + curve[1] * x + curve[2] * x * x, np.float32), gain


def _blurred(pixels: Floats, sigma: float) -> Floats:
    return np.asarray(cv2.GaussianBlur(pixels, (0, 0), sigma), np.float32)


def _correlate(pair: Iterable[Floats], mask: NDArray[np.bool_]) -> float:
    first, second = (pixels[mask] - pixels[mask].mean() for pixels in pair)
    return float((first @ second) / max(float(np.sqrt((first @ first) * (second @ second))), 1e-6))
