"""Masks (height × width, bool): their connected regions, and enlarging."""

from __future__ import annotations

from collections.abc import Iterator

import cv2
import numpy as np
from numpy.typing import NDArray

from campaigns.photos.backgrounds import Mask

Part = tuple[slice, slice]


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
