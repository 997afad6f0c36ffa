"""The scene behind the product: a small image of an empty place, cropped to the frame, blurred and enlarged.

A lens focused on the product shows the table around its foot nearly sharp, and the parts above, which are farther away,
less and less. The blur also hides the low resolution of a scene. Rows and columns are pixels, row 0 at the top.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import cv2
import numpy as np
from numpy.typing import NDArray

Bytes = NDArray[np.uint8]
Floats = NDArray[np.float32]

#: Blur of the farthest part at full strength: the sigma of a Gaussian, as a share of the frame's long side.
MAX_BLUR: Final = 0.05
#: The share of that blur where the product stands.
BLUR_SHARE_AT_FOOT: Final = 0.25
#: The least blur, in pixels of the scene. Without it, the enlarged pixels would be visible.
MIN_BLUR_PIXELS: Final = 0.7
#: The distance above the foot where the blur is full, as a share of the frame's height.
FULL_BLUR_DISTANCE: Final = 0.55
#: The share cut off at the top if a scene is higher than the frame: more than below, so that the table stays.
TOP_CROP_SHARE: Final = 0.65
LEVELS: Final = 4
#: Pixels per sigma of the least blur in the small image: enough to enlarge it with cubic filtering without steps.
PIXELS_PER_SIGMA: Final = 1.3
MIN_SIDE: Final = 160


@dataclass(frozen=True)
class BlurredScene:
    """A small, blurred scene: three planes (red, green, blue), float32 0 … 255, of the frame's aspect."""

    planes: tuple[Floats, Floats, Floats]

    @property
    def nbytes(self) -> int:
        return sum(plane.nbytes for plane in self.planes)

    def enlarge(self, channel: int, width: int, height: int) -> Floats:
        """Return one plane enlarged to the frame, height × width."""
        plane = self.planes[channel]
        return np.asarray(cv2.resize(plane, (width, height), interpolation=cv2.INTER_CUBIC), dtype=np.float32)


def decode(stored: bytes) -> Bytes | None:
    """Decode a stored image to height × width × 3 sRGB; None if it is none. Transparent parts become white."""
    coded = np.frombuffer(stored, dtype=np.uint8)
    decoded: Any = cv2.imdecode(coded, cv2.IMREAD_UNCHANGED) if coded.size else None
    if decoded is None or decoded.dtype != np.uint8:
        return None
    if decoded.ndim == 2:
        return np.asarray(cv2.cvtColor(decoded, cv2.COLOR_GRAY2RGB), dtype=np.uint8)
    if decoded.shape[2] == 4:
        alpha = decoded[..., 3:].astype(np.float32) / 255
        decoded = np.round(decoded[..., :3] * alpha + 255 * (1 - alpha)).astype(np.uint8)
    return np.asarray(cv2.cvtColor(decoded, cv2.COLOR_BGR2RGB), dtype=np.uint8)


def blur_scene(scene: Bytes, *, width: int, height: int, blur: float, foot: float) -> BlurredScene:
    """Crop a scene (h × w × 3, sRGB) to the frame's aspect and blur it as a lens focused on the product would.

    blur: 0 … 1, of MAX_BLUR; foot: the row on which the product stands, as a share of the frame's height.
    """
    cropped = crop_to_aspect(scene, width=width, height=height)
    long_side, pixels = max(width, height), max(cropped.shape[:2])
    least = MIN_BLUR_PIXELS / pixels
    far = max(least, blur * MAX_BLUR)
    near = max(least, BLUR_SHARE_AT_FOOT * blur * MAX_BLUR)
    side = min(long_side, max(MIN_SIDE, round(PIXELS_PER_SIGMA / near)))
    size = max(2, round(side * width / long_side)), max(2, round(side * height / long_side))
    method = cv2.INTER_AREA if size[0] < cropped.shape[1] else cv2.INTER_CUBIC
    small = np.asarray(cv2.resize(cropped.astype(np.float32), size, interpolation=method))
    sigmas = np.geomspace(near, far, LEVELS) * side if far > near else np.array([near * side])
    levels = [cv2.GaussianBlur(small, (0, 0), float(sigma), borderType=cv2.BORDER_REFLECT_101) for sigma in sigmas]
    mixed = _by_row(levels, _depth(size[1], foot)).clip(0, 255)
    red, green, blue = (np.ascontiguousarray(mixed[..., channel]) for channel in range(3))
    return BlurredScene((red, green, blue))


def crop_to_aspect(scene: Bytes, *, width: int, height: int) -> Bytes:
    """Return the largest part of a scene with the frame's aspect: centred, and more from below than from above."""
    high, wide = scene.shape[:2]
    if wide * height > high * width:
        kept = max(1, round(high * width / height))
        left = (wide - kept) // 2
        return scene[:, left : left + kept]
    kept = max(1, round(wide * height / width))
    top = round((high - kept) * TOP_CROP_SHARE)
    return scene[top : top + kept]


def _depth(rows: int, foot: float) -> Floats:
    """Return the distance of each row, from 0 where the product stands to 1. Rows in front of it also get some blur."""
    row = (np.arange(rows, dtype=np.float32) + 0.5) / rows
    behind = np.clip((foot - row) / FULL_BLUR_DISTANCE, 0, 1)
    before = np.clip((row - foot) / FULL_BLUR_DISTANCE, 0, 1)
    away = np.maximum(behind * behind * (3 - 2 * behind), before)
    return np.asarray(away, dtype=np.float32)


def _by_row(levels: list[Any], depth: Floats) -> Floats:
    """Mix each row from the two levels nearest to its depth."""
    place = depth * (len(levels) - 1)
    mixed = np.zeros_like(levels[0])
    for number, level in enumerate(levels):
        mixed += level * np.clip(1 - np.abs(place - number), 0, 1)[:, None, None]
    return np.asarray(mixed, dtype=np.float32)
