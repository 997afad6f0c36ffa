"""Separate parts of a cut-out: a pair of shoes, or a product with a badge, a logo or a price beside it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

WORKING_SIDE: Final = 1024
"""Longer side, in pixels, at which parts are counted; thin connections, such as a chain, stay visible."""
MIN_PART_ALPHA: Final = 32  # alpha from which a pixel belongs to a part
MIN_PART_AREA: Final = 0.01  # area of a part that counts, as a share of the largest part's
SIMILAR_SIZE: Final = 0.7
"""A part whose width, height and area have at least this share of the largest part's is about the same size."""
MAX_CONFIDENCE_OF_SETS, MAX_CONFIDENCE_OF_OTHERS = 0.5, 0.2
"""Confidence of a cut-out with parts of similar size (used, and shown to a person), and of one with different parts
(used only after a person has accepted it). See LOW_CONFIDENCE and AUTO_ACCEPT_CONFIDENCE in cutout.py."""


@dataclass(frozen=True)
class ConfidenceCap:
    """The most confidence that the cut-out can have, and a note for the person who looks at it."""

    maximum: float
    note: str


def confidence_cap(alpha: NDArray[np.uint8]) -> ConfidenceCap | None:
    """Return why a person should look at the separate parts in an alpha (height × width); None for a single part."""
    sizes = _part_sizes(alpha)
    if len(sizes) < 2:
        return None
    if (sizes >= SIMILAR_SIZE * sizes[0]).all():
        return ConfidenceCap(
            MAX_CONFIDENCE_OF_SETS,
            f"The cut-out has {len(sizes)} separate parts of about the same size. "
            "Look at it: are all of them the product?",
        )
    return ConfidenceCap(
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
