"""The confidence of a cut-out: the contrast along its outline, and whether the result is plausible."""

from __future__ import annotations

import cv2
import numpy as np

from campaigns.photos.backgrounds import Background, Floats, Mask

#: The stretch of an edge, as a share of its length, over which contrast is averaged; and the least contrast, in L*a*b*
#: units, of the faintest stretch of a reliable edge. Below it, that part of the outline is a guess.
OUTLINE_STRETCH, FAINT_CONTRAST = 0.04, 3.0


def confidence(mask: Mask, smooth: Floats, background: Background, border: Mask) -> float:
    """Return 0 … 1 from the contrast along the edge, the plainness of the background, and how plausible the mask is."""
    share = float(mask.mean())
    if share < 0.002 or share > 0.97:
        return 0.0
    half = np.ascontiguousarray(mask[::2, ::2])
    contrast = _contrast(half, np.ascontiguousarray(smooth[::2, ::2]))[_edge(half)]
    clear = float(np.mean(np.clip(contrast / 9, 0, 1)) * (1 - np.mean(contrast < 3))) if contrast.size else 0.0
    plain = float(np.clip((background.plainness - 0.5) / 0.45, 0, 1) * np.clip(1.3 - background.noise / 6, 0.2, 1))
    touching = float(mask[border].mean())
    whole = float(np.clip(1.1 - 3 * touching, 0.3, 1))
    # One guessed stretch is enough for a mistake: a missing part of a rim, or an included shadow.
    followed = float(np.clip(0.45 + 0.55 * _faintest(mask, _contrast(mask, smooth)) / FAINT_CONTRAST, 0, 1))
    return round(float(np.clip(clear * plain * whole * followed, 0, 1)), 3)


def _edge(mask: Mask) -> Mask:
    solid = mask.astype(np.uint8)
    return np.asarray(solid - cv2.erode(solid, np.ones((3, 3), np.uint8)) > 0, dtype=bool)


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
