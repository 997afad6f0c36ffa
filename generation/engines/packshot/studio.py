"""A drawn photo studio: the position of a cut-out in the frame, and the light, shadow and reflection around it.

The tilt of the floor is estimated from the curve of the product's foot, as the product was photographed. Shadows are
those of a stack of discs, one per slice of the silhouette. Each is as wide as the silhouette there and as dense as its
alpha: a vase casts a vase's shadow, glass a pale one. Rows and columns are pixels of the frame, row 0 at the top.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from typing import Any, Final

import cv2
import numpy as np
from numpy.typing import NDArray

from generation.engines.packshot.scenes import BlurredScene

Bytes = NDArray[np.uint8]
Floats = NDArray[np.float32]

SLICES: Final = 18
#: Long side, in pixels, of the image that shadows are drawn in. It is enlarged afterwards; shadows are soft.
SHADOW_SIDE: Final = 300
#: Least and greatest tilt of the floor (depth ÷ width of a disc lying on it) that a foot's curve may give.
MIN_TILT, MAX_TILT = 0.08, 0.42
TABLE_EDGE: Final = 0.66
WHITE: Final = (255, 255, 255)


@dataclass(frozen=True)
class Setting:
    """The studio of one image, parsed from a spec's parameters. backdrop: sRGB, or None for a transparent master.

    scene: the name of the image "scene" in planning; it hides backdrop and surface.
    """

    backdrop: tuple[int, int, int] | None = WHITE
    surface: str = "seamless"
    light: str = "left"
    shadow: str = "soft"
    reflection: str = "none"
    fill: float = 0.82
    baseline: float = 0.9
    position: str = "auto"
    offset_x: float = 0.0
    scene: str = ""
    scene_blur: float = 0.5

    @property
    def light_side(self) -> int:
        """−1 from the left, 1 from the right, 0 from above."""
        return {"left": -1, "right": 1}.get(self.light.split()[-1], 0)

    @property
    def is_light_hard(self) -> bool:
        """True for a small lamp instead of a large one."""
        return self.light.startswith("hard")


@dataclass(frozen=True)
class Layer:
    """An image with its place in the frame. colour: h × w × 3, sRGB premultiplied by alpha. alpha: h × w. Both are
    uint8, or float32 0 … 255."""

    colour: Any
    alpha: Any
    left: int
    top: int

    @property
    def bottom(self) -> int:
        return self.top + int(self.alpha.shape[0])

    @property
    def right(self) -> int:
        return self.left + int(self.alpha.shape[1])

    def overlap(self, shape: tuple[int, ...]) -> tuple[Any, Any]:
        """Return (part of the frame, part of the layer) where the layer lies inside a frame of this shape."""
        x0, y0 = max(0, self.left), max(0, self.top)
        x1, y1 = max(x0, min(shape[1], self.right)), max(y0, min(shape[0], self.bottom))
        return np.s_[y0:y1, x0:x1], np.s_[y0 - self.top : y1 - self.top, x0 - self.left : x1 - self.left]

    def lay_over(self, pixels: Bytes) -> None:
        """Lay the layer over opaque pixels in place: colour + below × (1 − alpha)."""
        frame, layer = self.overlap(pixels.shape)
        if not pixels[frame].size:
            return
        rest = (255 - self.alpha[layer].astype(np.float32)) * np.float32(1 / 255)
        below = cv2.multiply(pixels[frame].astype(np.float32), cv2.merge([rest, rest, rest]))
        pixels[frame] = cv2.add(below, self.colour[layer].astype(np.float32), dtype=cv2.CV_8U)


@dataclass(frozen=True)
class Placement(Layer):
    """The product scaled for the frame, uint8. centre, reach, tilt: column, half width and depth ÷ width of the disc
    that its foot covers; foot: the row of the disc's middle."""

    centre: float
    reach: float
    tilt: float
    foot: float

    def box(self, width: int, height: int) -> list[float]:
        """Return the product's box as shares of the frame: left, top, right, bottom."""
        box = [self.left / width, self.top / height, self.right / width, self.bottom / height]
        return [round(min(1.0, max(0.0, share)), 5) for share in box]


def place_product(rgba: Bytes, setting: Setting, width: int, height: int, *, has_scene: bool) -> Placement:
    """Scale a cut-out (h × w × 4, sRGB with straight alpha, cropped to the product) and put it into the frame.

    It is as large as fits into `fill` of the frame's width and height and stands on row `baseline` × height, moved to
    the right by `offset_x` × width. A low product is moved up towards the middle, as a designer would do; before a
    scene less than on a roll of paper, or it would seem to hang on the wall behind the table.
    """
    high, wide = rgba.shape[:2]
    fill, baseline = setting.fill, setting.baseline
    scale = min(fill * width / wide, min(fill * height, baseline * height - 0.02 * height) / high)
    size = max(1, round(wide * scale)), max(1, round(high * scale))
    alpha = np.ascontiguousarray(rgba[..., 3])
    colour = cv2.multiply(rgba[..., :3], cv2.merge([alpha, alpha, alpha]), scale=1 / 255)
    if (wide, high) != size:
        method = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
        alpha, colour = cv2.resize(alpha, size, interpolation=method), cv2.resize(colour, size, interpolation=method)
        if scale > 1:  # cubic overshoots; premultiplied colour never exceeds alpha
            colour = cv2.min(colour, cv2.merge([alpha, alpha, alpha]))
    bottom = baseline * height
    above, below = bottom - size[1], height - bottom
    if setting.position == "auto":
        bottom -= (0.12 if has_scene else 0.3) * max(0.0, above - below)
    left = round(width * (0.5 + setting.offset_x) - size[0] / 2)
    top = round(bottom) - size[1]
    centre, reach, tilt, foot = _footing(np.asarray(alpha))
    return Placement(np.asarray(colour), np.asarray(alpha), left, top, left + centre, reach, tilt, top + foot)


def _footing(alpha: Bytes) -> tuple[float, float, float, float]:
    """Return (centre column, half width, tilt, middle row) of the disc under the product, in pixels of `alpha`."""
    high = alpha.shape[0]
    solid = alpha > 96 if (alpha > 96).any() else alpha > 0
    rows = np.flatnonzero(solid.any(axis=1))
    last = int(rows[-1]) if len(rows) else high - 1
    first = solid.argmax(axis=1)
    until = alpha.shape[1] - solid[:, ::-1].argmax(axis=1)
    widths = np.where(solid.any(axis=1), until - first, 0).astype(np.float64)[: last + 1][::-1]  # from the foot up
    step = max(2, round(0.05 * high))
    grows = widths[:-step] < 0.9 * widths[step:] if len(widths) > step else np.zeros(1, dtype=bool)
    ends = np.flatnonzero(~grows)
    curve = int(ends[0]) if len(ends) else 0
    row = last - min(curve + step // 2, last)
    reach = max(1.0, float(until[row] - first[row]) / 2)
    tilt = float(np.clip(1.15 * (curve + step // 2) / reach, MIN_TILT, MAX_TILT))
    return float(first[row] + until[row]) / 2, reach, tilt, last + 1 - tilt * reach


def _backdrop_light(width: int, height: int, setting: Setting) -> Floats:
    """Return the light of the empty backdrop, height × width, 1 where the colour is exactly as requested. "flat": 1
    everywhere. "seamless": a paper roll, with light that falls off to the corners. "table": the edge of a table before
    a darker wall. A white seamless stays pure white: shops ask for that."""
    surface, is_white = setting.surface, min(setting.backdrop or WHITE) >= 250
    if surface == "flat" or (surface == "seamless" and is_white):
        return np.ones((height, width), dtype=np.float32)
    small = 96
    x, y = np.meshgrid((np.arange(small) + 0.5) / small, (np.arange(small) + 0.5) / small)
    pool = ((x - 0.5 + 0.14 * -setting.light_side) * min(width / height, 1.6)) ** 2 + 0.8 * (y - 0.46) ** 2
    values = 1.035 - (0.24 if setting.is_light_hard else 0.17) * pool
    cove = 1 / (1 + np.exp(-(y - 0.68) / 0.06))
    values = values + 0.018 * cove
    values = np.asarray(cv2.resize(values.astype(np.float32), (width, height), interpolation=cv2.INTER_CUBIC))
    if surface == "table":
        row = (np.arange(height, dtype=np.float32) + 0.5) / height
        edge = 1 / (1 + np.exp(np.clip((TABLE_EDGE - row) * height / max(1.2, 0.0016 * height), -60, 60)))
        wall = 0.9 + 0.03 * np.clip(row / TABLE_EDGE, 0, 1)
        line = 1 - 0.05 * np.exp(-(((row - TABLE_EDGE) / 0.004) ** 2))
        values = values * (edge * (1.0 + 0.05 * (row - TABLE_EDGE)) + (1 - edge) * wall)[:, None] * line[:, None]
    return np.asarray(values, dtype=np.float32)


def paint(setting: Setting, scene: BlurredScene | None, kept: Floats | None, width: int, height: int) -> Bytes:
    """Return the scene, or else the backdrop, in the light that shadows leave: height × width × 3. It is dithered, so
    that soft gradients show no bands, and a scene more: enlarged, its whole levels have steps."""
    if scene is not None:
        planes = (scene.enlarge(channel, width, height) for channel in range(3))
        return _dither(planes if kept is None else (cv2.multiply(plane, kept) for plane in planes), grain=2)
    light = _backdrop_light(width, height, setting)
    light = light if kept is None else cv2.multiply(light, kept)
    return _dither((cv2.multiply(light, float(value)) for value in setting.backdrop or WHITE), grain=1)


def _dither(planes: Iterable[Floats], *, grain: float) -> Bytes:
    """Merge float planes 0 … 255 into an image, height × width × 3; one at a time, to save memory."""
    channels = []
    for channel in planes:
        cv2.scaleAdd(_grain(*channel.shape), grain, channel, dst=channel)
        channels.append(cv2.convertScaleAbs(cv2.max(channel, 0.0)))
    return np.asarray(cv2.merge(channels), dtype=np.uint8)


def darken(image: Bytes, kept: Floats | None) -> Bytes:
    """Return an image (height × width × 3) darkened to the share `kept` of its light; where the share is 1, pixels do
    not change."""
    if kept is None:
        return image.copy()
    share = cv2.merge([kept, kept, kept])
    return np.asarray(cv2.multiply(image.astype(np.float32), share, dtype=cv2.CV_8U), dtype=np.uint8)


@lru_cache(maxsize=4)
def _grain(height: int, width: int) -> Floats:
    """Return even noise between −0.49 and 0.49, always the same. Whole numbers do not change by it."""
    tile = np.random.default_rng(20).uniform(-0.49, 0.49, (256, 256)).astype(np.float32)
    return np.tile(tile, (height // 256 + 1, width // 256 + 1))[:height, :width].copy()


def shadows(placement: Placement, setting: Setting, width: int, height: int) -> Floats | None:
    """Return the share of light that the floor keeps, height × width, 0 … 1; None without shadows.

    "contact": only where the product stands. "soft" and "strong" add the shadow that it casts away from the light.
    """
    if setting.shadow == "none":
        return None
    q = SHADOW_SIDE / max(width, height)
    canvas = (round(width * q), round(height * q))
    # No shadow falls on the wall high above the foot, so those rows are not drawn.
    skipped = int(np.clip(q * (placement.foot - 0.42 * placement.alpha.shape[0]) - 16, 0, canvas[1] - 2))
    floor = _Floor(canvas[0], canvas[1] - skipped, placement.foot * q - skipped, placement.tilt)
    slices = _slices(placement, q)
    extent = q * max(placement.alpha.shape)
    near = _shadow_of_slices(slices, floor, lean=(0.0, 0.0), spread=0.5, start=0.012, fade=0.2 * extent)
    touching = [piece for piece in slices if piece.rise < 0.02 * extent]
    contact = _shadow_of_slices(touching, floor, lean=(0.0, 0.0), spread=0.3, start=0.0042, fade=0.02 * extent)
    kept = (1 - 0.3 * near) * (1 - 0.42 * contact)
    if setting.shadow in ("soft", "strong"):
        side, is_hard = setting.light_side, setting.is_light_hard
        across, back = (0.62, -0.30) if is_hard else (0.42, -0.16)
        lean = (-side * across, back) if side else (0.0, 0.10)
        spread = 0.045 if is_hard else 0.2
        cast = _shadow_of_slices(slices, floor, lean=lean, spread=spread, start=0.003, fade=1.6 * extent)
        kept = kept * (1 - {"soft": 0.26, "strong": 0.42}[setting.shadow] * (1.25 if is_hard else 1.0) * cast)
    whole = cv2.copyMakeBorder(kept, skipped, 0, 0, 0, cv2.BORDER_CONSTANT, value=1.0)
    return np.asarray(cv2.resize(whole, (width, height), interpolation=cv2.INTER_CUBIC), dtype=np.float32).clip(0, 1)


@dataclass(frozen=True)
class _Floor:
    """The small image that shadows are drawn in: its size, the row of the foot in it, the tilt."""

    width: int
    height: int
    foot: float
    tilt: float


@dataclass(frozen=True)
class _Slice:
    """A slice of the silhouette: how high above the floor, and its discs as (centre, half width, density); small px."""

    rise: float
    discs: tuple[tuple[float, float, float], ...]


def _slices(placement: Placement, q: float) -> list[_Slice]:
    """Return the slices from the top of the product to its foot."""
    size = (max(2, round(placement.alpha.shape[1] * q)), max(2, round(placement.alpha.shape[0] * q)))
    alpha = cv2.resize(placement.alpha, size, interpolation=cv2.INTER_AREA).astype(np.float32) / 255
    # Rows below the middle of the foot are the near half of its disc, not a slice of their own.
    usable = max(2, round(size[1] - placement.tilt * placement.reach * q))
    # Slices are thin at the foot, where the shadow is sharp, and thick above.
    edges = np.unique((usable * (1 - np.linspace(1, 0, SLICES + 1) ** 1.8)).round().astype(int))
    slices = []
    for start, end in pairwise(edges):
        density = alpha[start:end].mean(axis=0)
        turns = np.flatnonzero(np.diff((density > 0.06).astype(np.int8), prepend=0, append=0))
        discs = tuple(
            (placement.left * q + (a + b) / 2, (b - a) / 2, float(density[a:b].mean()))
            for a, b in zip(turns[::2], turns[1::2], strict=True)
        )
        slices.append(_Slice(float(usable - end), discs))
    return slices


def _shadow_of_slices(
    slices: list[_Slice], floor: _Floor, *, lean: tuple[float, float], spread: float, start: float, fade: float
) -> Floats:
    """Return the shadow of the slices on the floor, 0 … 1: each slice's discs, moved by `lean` × its height and
    blurred.

    spread: blur ÷ height; start: blur of what touches the floor ÷ frame; fade: height at which a slice's shadow has a
    third of its strength. Drawn from the top down, so that each blur also softens what is above.
    """
    shade = np.zeros((floor.height, floor.width), dtype=np.float32)
    first = start * SHADOW_SIDE
    applied: float | None = None
    for piece in slices:
        weight = float(np.exp(-piece.rise / fade))
        if weight < 0.01:
            continue
        sigma = first + spread * piece.rise
        if applied is not None and applied**2 - sigma**2 > 0.04:
            shade = _blur_shadow(shade, (applied**2 - sigma**2) ** 0.5, floor.tilt)
        applied = sigma
        for centre, half, density in piece.discs:
            layer = np.zeros_like(shade)
            at = centre + lean[0] * piece.rise, floor.foot + lean[1] * floor.tilt * 2.2 * piece.rise
            size = max(8, round(half * 16)), max(8, round(max(half * floor.tilt, 0.6) * 16))
            middle = round(at[0] * 16), round(at[1] * 16)
            cv2.ellipse(layer, middle, size, 0, 0, 360, density * weight, -1, cv2.LINE_AA, 4)
            np.maximum(shade, layer, out=shade)
    return _blur_shadow(shade, applied if applied else first, floor.tilt)


def _blur_shadow(shade: Floats, sigma: float, tilt: float) -> Floats:
    """Blur a shadow on the floor: less in height than in width, because of the tilt."""
    sigmas = max(sigma, 0.3), max(sigma * (0.45 + tilt), 0.3)
    blurred = cv2.GaussianBlur(shade, (0, 0), sigmaX=sigmas[0], sigmaY=sigmas[1], borderType=cv2.BORDER_CONSTANT)
    return np.asarray(blurred)


def reflection(placement: Placement, setting: Setting, frame_height: int) -> Layer | None:
    """Return the product's reflection in the floor, float32; None without one, or without a floor below the product.

    It fades and blurs with distance. It is mirrored along the front edge of the foot's disc, so that a round foot
    touches it along its whole curve.
    """
    if setting.reflection == "none":
        return None
    high, wide = placement.alpha.shape
    columns = np.arange(wide, dtype=np.float32) + placement.left + 0.5
    inside = np.clip(1 - ((columns - placement.centre) / max(placement.reach, 1)) ** 2, 0, 1)
    axis = (placement.foot - placement.top) + placement.tilt * placement.reach * np.sqrt(inside)
    begin = int(axis.min())
    depth = min(frame_height - placement.top - begin, round(0.34 * high) + int(axis.max() - begin) + 1)
    if depth < 2:
        return None
    distance = np.arange(begin, begin + depth, dtype=np.float32)[:, None] + 0.5 - axis[None, :]
    source = np.where(distance > 0, axis[None, :] - distance - 0.5, -10).astype(np.float32)
    across = np.broadcast_to(np.arange(wide, dtype=np.float32)[None, :], source.shape).copy()
    bgr = cv2.remap(placement.colour, across, source, cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT)
    alpha = cv2.remap(placement.alpha, across, source, cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT)
    mirrored = np.dstack([bgr, alpha]).astype(np.float32)
    reach = np.clip(distance / (0.3 * high), 0, 1)[..., None].astype(np.float32)
    strength, near, far = (0.34, 0.0012, 0.006) if setting.reflection == "mirror" else (0.16, 0.004, 0.016)
    sharp = cv2.GaussianBlur(mirrored, (0, 0), max(0.4, near * max(high, wide)))
    quarter = cv2.resize(mirrored, (max(2, wide // 4), max(2, depth // 4)), interpolation=cv2.INTER_AREA)
    quarter = cv2.GaussianBlur(quarter, (0, 0), max(0.5, far * max(high, wide) / 4))
    soft = cv2.resize(quarter, (wide, depth), interpolation=cv2.INTER_LINEAR)
    mixed = (sharp * (1 - reach) + soft * reach) * (strength * (1 - reach) ** 1.7)
    return Layer(mixed[..., :3], mixed[..., 3], placement.left, placement.top + begin)
