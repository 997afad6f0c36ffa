"""The confidence of a cut-out: the contrast along its outline, whether the result is plausible, and its separate parts.

Separate parts are a pair of shoes, or a product with a badge, a logo or a price beside it.
"""

from __future__ import annotations

from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from campaigns.photos.backgrounds import Background, Floats, Mask

#: The stretch of an edge, as a share of its length, over which contrast is averaged; and the least contrast, in L*a*b*
#: units, of the faintest stretch of a reliable edge. Below it, that part of the outline is a guess.
OUTLINE_STRETCH, FAINT_CONTRAST = 0.04, 3.0
WORKING_SIDE: Final = 1024
"""Longer side, in pixels, at which parts are counted; thin connections, such as a chain, stay visible."""
MIN_PART_ALPHA: Final = 32  # alpha from which a pixel belongs to a part
MIN_PART_AREA: Final = 0.01  # area of a part that counts, as a share of the largest part's
SIMILAR_SIZE: Final = 0.7
"""A part whose width, height and area have at least this share of the largest part's is about the same size."""
MAX_CONFIDENCE_OF_SETS, MAX_CONFIDENCE_OF_OTHERS = 0.5, 0.2
"""Confidence of a cut-out with parts of similar size (used, and shown to a person), and of one with different parts
(used only after a person has accepted it). See LOW_CONFIDENCE and AUTO_ACCEPT_CONFIDENCE in cutout.py."""


def confidence(mask: Mask, smooth: Floats, background: Background, border: Mask) -> float:
    """Return 0 … 1 from the contrast along the edge, the plainness of the background, and how plausible the mask is."""
    share = float(mask.mean())
    if share < 0.002 or share > 0.97:
        return 0.0
    half = np.ascontiguousarray(mask[::2, ::2])
    edge = half & (cv2.erode(half.astype(np.uint8), np.ones((3, 3), np.uint8)) == 0)
    contrast = _contrast(half, np.ascontiguousarray(smooth[::2, ::2]))[edge]
    clear = float(np.mean(np.clip(contrast / 9, 0, 1)) * (1 - np.mean(contrast < 3))) if contrast.size else 0.0
    plain = float(np.clip((background.plainness - 0.5) / 0.45, 0, 1) * np.clip(1.3 - background.noise / 6, 0.2, 1))
    touching = float(mask[border].mean())
    whole = float(np.clip(1.1 - 3 * touching, 0.3, 1))
    # One guessed stretch is enough for a mistake: a missing part of a rim, or an included shadow.
    followed = float(np.clip(0.45 + 0.55 * _faintest(mask, _contrast(mask, smooth)) / FAINT_CONTRAST, 0, 1))
    return round(float(np.clip(clear * plain * whole * followed, 0, 1)), 3)


def _faintest(mask: Mask, contrast: Floats) -> float:
    """Return the least mean contrast over a stretch of any outline that is long enough."""
    outlines, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    longest = max((len(outline) for outline in outlines), default=0)
    least = float("inf")
    for outline in outlines:
        if len(outline) < 0.1 * longest:
            continue
        along = contrast[outline[:, 0, 1], outline[:, 0, 0]]
        size = max(5, round(OUTLINE_STRETCH * longest))
        around = np.concatenate([along, along[:size]])
        least = min(least, float(np.convolve(around, np.full(size, 1 / size), "valid").min()))
    return least if np.isfinite(least) else 0.0


def _contrast(mask: Mask, lab: Floats) -> Floats:
    """Return the L*a*b* distance between inside and outside, height × width; only meaningful on the mask's edge."""
    solid = mask.astype(np.uint8)
    ball = np.ones((5, 5), np.uint8)
    means = []
    for part in (solid - cv2.erode(solid, ball), cv2.dilate(solid, ball) - solid):
        weight = cv2.blur(part.astype(np.float32), (7, 7))
        means.append(cv2.blur(lab * part[..., None], (7, 7)) / np.maximum(weight, 1e-3)[..., None])
    return np.asarray(np.linalg.norm(means[0] - means[1], axis=-1), dtype=np.float32)


def confidence_cap(alpha: NDArray[np.uint8]) -> tuple[float, str] | None:
    """Return the most confidence that an alpha (height × width) with separate parts can have; None for a single part.

    The second value is a note for the person who looks at it.
    """
    sizes = _part_sizes(alpha)
    if len(sizes) < 2:
        return None
    if (sizes >= SIMILAR_SIZE * sizes[0]).all():
        return (
            MAX_CONFIDENCE_OF_SETS,
            f"The cut-out has {len(sizes)} separate parts of about the same size. "
            "Look at it: are all of them the product?",
        )
    return (
        MAX_CONFIDENCE_OF_OTHERS,
        f"The cut-out has {len(sizes)} separate parts of different sizes: a badge, a logo or a price may be in it. "
        "Accept it if all parts are the product, or erase what is not.",
    )


def _part_sizes(alpha: NDArray[np.uint8]) -> NDArray[np.int32]:
    """Return width, height and area of each part that counts, n × 3, the largest area first."""
    scale = min(1.0, WORKING_SIDE / max(alpha.shape))
    small = alpha if scale == 1 else cv2.resize(alpha, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    solid = (small >= MIN_PART_ALPHA).astype(np.uint8)
    _, _, stats, _ = cv2.connectedComponentsWithStats(solid, connectivity=8)
    sizes = stats[1:, [cv2.CC_STAT_WIDTH, cv2.CC_STAT_HEIGHT, cv2.CC_STAT_AREA]]
    sizes = sizes[np.argsort(-sizes[:, 2], kind="stable")]
    if len(sizes):
        sizes = sizes[sizes[:, 2] >= MIN_PART_AREA * sizes[0, 2]]
    return np.asarray(sizes, dtype=np.int32)
