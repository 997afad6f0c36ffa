"""Crop images to another aspect around their subject, which is never cut off if it fits."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from core.plugin_config import Config
from generation.checks.base import Box
from generation.engines.base import Pixels
from generation.finishing.base import Target
from generation.finishing.resample import resize

MARGIN = 0.04
"""Margin around the subject, as a share of its longer side, if there is room for it."""
_DEPTH = 24
"""Number of pixel lines at an edge that give the grain when the backdrop is extended beyond it."""
_FADE = 0.3
"""Distance after which only the plain backdrop is left, as a share of the edge's length."""


@dataclass(frozen=True)
class Window:
    """A rectangle in pixels of an image; it may reach beyond the image, where the backdrop is then extended."""

    left: int
    top: int
    width: int
    height: int


def window(width: int, height: int, aspect: float, subject: Box | None) -> Window:
    """Return the part of a width × height image to show at `aspect` (width / height).

    This is the largest such part, centred on the subject as far as the edges allow. If the subject and its margin do
    not fit into it, it is the smallest rectangle of that aspect around them, which reaches beyond the image.
    """
    shown_width, shown_height = min(width, height * aspect), min(height, width / aspect)
    left, top, right, bottom = _with_margin(subject or (0.5, 0.5, 0.5, 0.5), width, height)
    if right - left > shown_width:
        shown_width, shown_height = right - left, (right - left) / aspect
    if bottom - top > shown_height:
        shown_width, shown_height = (bottom - top) * aspect, bottom - top
    return Window(
        _place((left + right) / 2, shown_width, width),
        _place((top + bottom) / 2, shown_height, height),
        max(1, round(shown_width)),
        max(1, round(shown_height)),
    )


def crop_to_window(pixels: Pixels, part: Window) -> Pixels:
    """Return that part of `pixels`; beyond the edges the backdrop is extended (transparent for images with alpha)."""
    height, width = pixels.shape[:2]
    left, top = max(0, -part.left), max(0, -part.top)
    right, bottom = max(0, part.left + part.width - width), max(0, part.top + part.height - height)
    x, y = max(0, part.left), max(0, part.top)
    inner = pixels[y : part.top + part.height - bottom, x : part.left + part.width - right]
    if not (left or top or right or bottom):
        return np.ascontiguousarray(inner)
    if pixels.shape[2] == 4:
        padded = cv2.copyMakeBorder(inner, top, bottom, left, right, cv2.BORDER_CONSTANT, value=(0, 0, 0, 0))
        return np.asarray(padded, dtype=np.uint8)
    return _extend(inner, top, bottom, left, right)


def fit_to_size(pixels: Pixels, width: int, height: int, subject: Box | None) -> Pixels:
    """Return `pixels` as width × height; if the aspects differ, first crop or extend around the subject."""
    old_height, old_width = pixels.shape[:2]
    if not same_aspect((old_width, old_height), (width, height)):
        pixels = crop_to_window(pixels, window(old_width, old_height, width / height, subject))
    return resize(pixels, width, height)


class Fit:
    """The step that fits an image to the size of a target. Each size is made once."""

    name = "fit"
    label = "Crop and scale"
    config = Config

    def __init__(self, facts: Mapping[str, Any]) -> None:
        self._subject: Box | None = facts.get("subject_box")
        self._fitted: dict[tuple[int, int], Pixels] = {}

    def apply(self, pixels: Pixels, target: Target) -> Pixels:
        size = (target.width, target.height)
        if size not in self._fitted:
            self._fitted[size] = fit_to_size(pixels, *size, self._subject)
        return self._fitted[size]


def enlargement_factor(size: tuple[int, int], target: tuple[int, int], subject: Box | None) -> float:
    """Return the factor by which `fit_to_size` scales `size` (width, height) to `target`; below 1 it shrinks."""
    if same_aspect(size, target):
        return target[0] / size[0]
    return target[0] / window(*size, target[0] / target[1], subject).width


def same_aspect(first: tuple[int, int], second: tuple[int, int]) -> bool:
    """Return whether scaling the first (width, height) to the second distorts by less than one pixel."""
    scale = max(second[0] / first[0], second[1] / first[1])
    return abs(first[0] * scale - second[0]) < 1 and abs(first[1] * scale - second[1]) < 1


def _with_margin(box: Box, width: int, height: int) -> Box:
    """Return `box` in pixels with its margin, which ends at the edge of the image."""
    left, top, right, bottom = box[0] * width, box[1] * height, box[2] * width, box[3] * height
    air = MARGIN * max(right - left, bottom - top)
    return max(0.0, left - air), max(0.0, top - air), min(float(width), right + air), min(float(height), bottom + air)


def _place(centre: float, length: float, available: int) -> int:
    """Return the start of a stretch of `length` around `centre`, kept inside the image. If the stretch is longer than
    the image, it covers both edges."""
    start = centre - length / 2
    spare = available - length
    return round(min(max(start, min(0.0, spare)), max(0.0, spare)))


def _extend(inner: Pixels, top: int, bottom: int, left: int, right: int) -> Pixels:
    rows = [_beyond(inner[:_DEPTH], top)[::-1], inner, _beyond(inner[: -_DEPTH - 1 : -1], bottom)]
    grown = np.concatenate(rows, axis=0).swapaxes(0, 1)
    columns = [_beyond(grown[:_DEPTH], left)[::-1], grown, _beyond(grown[: -_DEPTH - 1 : -1], right)]
    return np.ascontiguousarray(np.concatenate(columns, axis=0).swapaxes(0, 1))


def _beyond(strip: Pixels, count: int) -> Pixels:
    """Return `count` lines that continue outwards from `strip`. The first line of `strip` is the edge of the image.

    They have the edge's colours, smoothed along the edge and faded into the plain backdrop, so that a shadow at the
    edge ends. The strip's own grain is mirrored over them. Repeating the last line would draw streaks, and mirroring
    the strip itself would repeat the subject.
    """
    depth = len(strip)
    if not count:
        return strip[:0]
    lines = np.ascontiguousarray(strip).astype(np.float32)
    line = lines[:4].mean(axis=0)
    edge = cv2.GaussianBlur(line[None], (0, 0), 10.0, borderType=cv2.BORDER_REPLICATE)
    grain = lines - cv2.GaussianBlur(lines, (0, 0), 2.0)
    order = np.arange(count) % (2 * depth)
    mirrored = np.where(order < depth, order, 2 * depth - 1 - order)
    far = np.clip(np.arange(count, dtype=np.float32) / (_FADE * len(line)), 0, 1)
    far = (far * far * (3 - 2 * far))[:, None, None]
    return np.clip(edge * (1 - far) + _plain(line)[None] * far + grain[mirrored] + 0.5, 0, 255).astype(np.uint8)


def _plain(line: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the backdrop along an edge (length × 3): per channel a straight line fitted with the least absolute
    distance (by reweighting), so that a shadow across a part of the edge does not count."""
    place = np.linspace(-1, 1, len(line))
    terms = np.stack([np.ones_like(place), place], axis=1)
    trust = np.ones((len(line), 1))
    for _ in range(20):
        weighted = terms * trust
        fitted = terms @ np.linalg.solve(weighted.T @ terms, weighted.T @ line)
        trust = 1 / np.maximum(np.abs(line - fitted).max(axis=1, keepdims=True), 0.5)
    return np.clip(fitted, line.min(axis=0), line.max(axis=0)).astype(np.float32)
