"""Small catalogue-like images with exactly known alpha: shaded solids of revolution, drawn supersampled."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
SAMPLES = 3


@dataclass(frozen=True)
class Scene:
    """pixels: height × width × 3 uint8, as a camera would give them. alpha: height × width in 0 … 1, the truth."""

    pixels: NDArray[np.uint8]
    alpha: Floats
    hole: NDArray[np.bool_]


def _profile(kind: str, v: Floats) -> Floats:
    """Return the radius of a solid of revolution at height v (0 bottom … 1 top), as a share of its height."""
    if kind == "mug":
        return np.full_like(v, 0.36) + 0.02 * np.exp(-(((v - 0.02) / 0.05) ** 2)) * -1
    if kind == "vase":
        return (
            0.17 + 0.16 * np.maximum(np.sin(np.pi * np.clip(v * 0.95 + 0.08, 0, 1)), 0) ** 1.4 + 0.05 * v**6
        ).astype(np.float32)
    if kind == "bottle":
        return np.where(v < 0.62, 0.2, 0.2 - 0.13 * np.clip((v - 0.62) / 0.13, 0, 1) ** 0.8).astype(np.float32)
    if kind == "bowl":
        return (0.35 + 0.75 * np.sqrt(np.clip(v, 0, 1))).astype(np.float32)
    if kind == "lamp":
        base = np.where(v < 0.05, 0.2, 0.018)
        return np.where(v > 0.6, 0.3 - 0.12 * (v - 0.6) / 0.4, base).astype(np.float32)
    raise ValueError(kind)


def _grid(size: int) -> tuple[Floats, Floats]:
    steps = (np.arange(size * SAMPLES, dtype=np.float32) + 0.5) / SAMPLES / size
    x, y = np.meshgrid(steps, steps)
    return x, y


def _down(values: Floats, size: int) -> Floats:
    return cv2.resize(values.astype(np.float32), (size, size), interpolation=cv2.INTER_AREA)


def product(kind: str, size: int) -> tuple[Floats, Floats, Floats]:
    """Return (coverage, shade, hole) at SAMPLES × size. coverage: 0 or 1; shade: the light from a white surface."""
    x, y = _grid(size)
    if kind == "plate":
        r = np.hypot((x - 0.5) / 0.4, (y - 0.56) / 0.2)
        well = np.hypot((x - 0.5) / 0.26, (y - 0.57) / 0.12)
        shade = 0.95 - 0.1 * np.clip((y - 0.56) / 0.2, -1, 1) - 0.08 * np.exp(-(((well - 1) / 0.05) ** 2))
        shade = shade - 0.12 * np.clip((r - 0.93) / 0.07, 0, 1)
        return (r <= 1).astype(np.float32), shade.astype(np.float32), np.zeros_like(x)
    top, bottom, tilt = (0.42, 0.8, 0.18) if kind == "bowl" else (0.18, 0.84, 0.16)
    height = bottom - top
    centre = 0.45 if kind == "mug" else 0.5
    v = np.clip((bottom - y) / height, 0, 1)
    radius = _profile(kind, v) * height
    across = (x - centre) / radius
    body = (np.abs(across) <= 1) & (y >= top) & (y <= bottom)
    feet = _profile(kind, np.float32([0.0]))[0] * height
    mouth = _profile(kind, np.float32([1.0]))[0] * height
    foot = np.hypot((x - centre) / feet, (y - bottom) / (feet * tilt)) <= 1
    rim = np.hypot((x - centre) / mouth, (y - top) / (mouth * tilt))
    covered = body | foot | (rim <= 1)
    normal = np.clip(across, -1, 1)
    shade = 0.42 + 0.55 * np.clip(-0.55 * normal + 0.8 * np.sqrt(1 - normal**2), 0, 1)
    shade = shade + 0.1 * np.exp(-(((normal + 0.45) / 0.12) ** 2))
    if kind != "lamp":
        shade = np.where(rim <= 0.93, 0.5 + 0.25 * normal, shade)
        shade = np.where((rim > 0.93) & (rim <= 1), 0.97, shade)
    hole = np.zeros_like(x)
    if kind == "mug":
        ring = np.hypot((x - centre - 0.24) / 0.14, (y - 0.5) / 0.17)
        handle = (np.abs(ring - 0.9) <= 0.1) & (x > centre + 0.2)
        shade = np.where(handle & ~covered, 0.72 - 0.2 * (ring - 0.9) / 0.1, shade)
        hole = ((ring < 0.8) & ~covered & (x > centre + 0.2)).astype(np.float32)
        covered = covered | handle
    return covered.astype(np.float32), shade.astype(np.float32), hole


def backdrop(size: int, colour: tuple[int, int, int], gradient: float) -> Floats:
    """Return a studio wall: `colour` with a pool of light and a vertical fall-off of `gradient` (share of light)."""
    y, x = np.mgrid[0:size, 0:size].astype(np.float32) / size
    light = 1 - gradient * (0.6 * (1 - y) + 0.7 * ((x - 0.45) ** 2 + (y - 0.5) ** 2))
    return np.float32(colour) * light[..., None]


def shadow(alpha: Floats, strength: float) -> Floats:
    """Return the share of light on the floor beside the product: a contact line and a soft shadow to the right."""
    size = len(alpha)
    rows = np.flatnonzero(alpha.max(axis=1) > 0.5)
    columns = alpha[rows[-1] - size // 10 : rows[-1]].max(axis=0)
    y = np.arange(size, dtype=np.float32)[:, None]
    line = cv2.GaussianBlur(columns[None, :], (0, 0), size / 90) * np.exp(
        -(((y - rows[-1] + size * 0.012) / (size * 0.016)) ** 2)
    )
    pool = cv2.GaussianBlur(np.roll(columns, size // 12)[None, :], (0, 0), size / 18) * np.exp(
        -(((y - rows[-1] + size * 0.02) / (size * 0.055)) ** 2)
    )
    light = 1 - strength * np.clip(0.6 * line + 0.55 * pool, 0, 0.9)
    return (light ** (1 / 2.2)).astype(np.float32)  # light scales in linear light, pixels are sRGB


def scene(
    kind: str,
    *,
    size: int = 512,
    colour: tuple[int, int, int] = (181, 101, 60),
    wall: tuple[int, int, int] = (246, 246, 246),
    gradient: float = 0.05,
    shade: float = 0.6,
    noise: float = 1.0,
    quality: int = 92,
    decorate: Callable[[Floats], Floats] | None = None,
) -> Scene:
    """Return a photo: a product before a wall, its shadow, camera noise of sigma `noise`, and a JPEG round trip."""
    covered, lit, hole = product(kind, size)
    alpha = _down(covered, size)
    premultiplied = _down(covered * lit, size)[..., None] * np.float32(colour)
    if decorate:
        premultiplied = decorate(premultiplied)
    floor = backdrop(size, wall, gradient) * shadow(alpha, shade)[..., None]
    pixels = premultiplied + floor * (1 - alpha[..., None])
    pixels = pixels + np.random.default_rng(3).normal(0, noise, pixels.shape) if noise else pixels
    rounded = np.clip(pixels + 0.5, 0, 255).astype(np.uint8)
    if quality < 100:
        encoded = cv2.imencode(".jpg", rounded[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
        rounded = cv2.imdecode(encoded, cv2.IMREAD_COLOR)[..., ::-1]
    return Scene(np.ascontiguousarray(rounded), alpha, _down(hole, size) > 0.99)


def sheet(images: list[NDArray[np.uint8]], columns: int) -> NDArray[np.uint8]:
    """Return images of equal size side by side, in RGB."""
    blank = np.full_like(images[0], 255)
    rows = [images[at : at + columns] for at in range(0, len(images), columns)]
    return np.vstack([np.hstack(row + [blank] * (columns - len(row))) for row in rows])
