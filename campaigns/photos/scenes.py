"""The product before a background that is not plain (a table, a shelf): a first silhouette, never a sure one.

Colours near the middle that do not occur at the image's edge are taken as the product. GrabCut (Rother, Kolmogorov and
Blake 2004) draws the outline between them and the rest. It runs twice, from these colours and from a plain frame; if
both results agree, they are more reliable.
"""

from __future__ import annotations

from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from campaigns.photos import backgrounds, regions
from campaigns.photos.backgrounds import Floats, Mask

SIDE: Final = 320
FRAME: Final = 0.02  # share of the shorter side that always counts as surroundings
COLOURS: Final = 8
ROUNDS: Final = 4
MAX_CONFIDENCE: Final = 0.55
"""Confidence if both results agree. It is low enough that a person must look at the cut-out."""


def find_product(rgb: NDArray[np.uint8]) -> tuple[Mask, float]:
    """Return (True on the product, confidence 0 … MAX_CONFIDENCE) for height × width × 3 sRGB pixels."""
    scale = min(1.0, SIDE / max(rgb.shape[:2]))
    small = cv2.resize(rgb, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    outer = backgrounds.border_mask(small.shape, FRAME, least=2)
    likely = _likely_product(small)
    drawn = _run_grabcut(small, outer, likely)
    other = _run_grabcut(small, outer, np.ones_like(likely))
    union = int((drawn | other).sum())
    share = float(drawn.mean())
    if not union or not 0.01 < share < 0.9:
        return np.zeros(rgb.shape[:2], dtype=bool), 0.0
    agreement = float((drawn & other).sum()) / union
    confidence = max(0.05, MAX_CONFIDENCE * float(np.clip((agreement - 0.6) / 0.3, 0, 1)))
    return regions.enlarge(drawn, rgb.shape, blur=1.0), round(confidence, 3)


def _likely_product(rgb: NDArray[np.uint8]) -> Mask:
    """Return the pixels whose colour does not occur at the image's edge; those near the middle count more."""
    lab = backgrounds.to_lab(rgb)
    high, wide = lab.shape[:2]
    samples = np.ascontiguousarray(lab[backgrounds.border_mask(lab.shape)][::2])
    cv2.setRNGSeed(1)  # k-means is random; the same photo must give the same cut-out
    criteria = (cv2.TERM_CRITERIA_EPS + cv2.TERM_CRITERIA_MAX_ITER, 20, 0.5)
    count = min(COLOURS, len(samples))
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
    return _above_otsu(np.asarray(strange * middle, dtype=np.float32))


def _above_otsu(values: Floats) -> Mask:
    top = max(float(np.percentile(values, 99.5)), 1e-6)
    bytes_ = np.clip(values / top * 255, 0, 255).astype(np.uint8)
    threshold, _ = cv2.threshold(bytes_, 0, 255, cv2.THRESH_OTSU)
    return np.asarray(bytes_ > threshold, dtype=bool)


def _run_grabcut(rgb: NDArray[np.uint8], outer: Mask, likely: Mask) -> Mask:
    """Return the largest piece that GrabCut finds, starting with `likely` as product and the rest as surroundings."""
    state = np.where(likely, cv2.GC_PR_FGD, cv2.GC_PR_BGD).astype(np.uint8)
    state[outer] = cv2.GC_BGD
    if not (state == cv2.GC_PR_FGD).any():
        return np.zeros(outer.shape, dtype=bool)
    models = np.zeros((1, 65)), np.zeros((1, 65))
    cv2.setRNGSeed(1)
    cv2.grabCut(rgb, state, None, *models, ROUNDS, cv2.GC_INIT_WITH_MASK)
    product = np.isin(state, (cv2.GC_FGD, cv2.GC_PR_FGD)).astype(np.uint8)
    product = cv2.morphologyEx(product, cv2.MORPH_OPEN, np.ones((3, 3), np.uint8))
    count, labels, stats, _ = cv2.connectedComponentsWithStats(product, connectivity=8)
    if count < 2:
        return np.zeros(outer.shape, dtype=bool)
    return np.asarray(labels == 1 + int(np.argmax(stats[1:, cv2.CC_STAT_AREA])), dtype=bool)
