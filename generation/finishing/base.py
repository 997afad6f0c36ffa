"""The interface of finishing: files for output specs, a pure function of pixels, recipe and spec."""

from __future__ import annotations

from dataclasses import dataclass

RECIPE_VERSION = 1
"""Raised whenever the same master and spec would give other bytes; a rendition records it."""


@dataclass(frozen=True)
class Target:
    """One output spec as plain values. image_format: "png", "jpeg" or "webp"; background: "#rrggbb" or ""."""

    slug: str
    width: int
    height: int
    image_format: str
    max_bytes: int | None = None
    background: str = ""


@dataclass(frozen=True)
class Encoded:
    """One encoded file. quality is None for lossless formats."""

    data: bytes
    image_format: str
    width: int
    height: int
    quality: int | None = None
    sha256: str = ""


class TooLarge(Exception):
    """No quality at or above the floor fits under the byte limit; the message says which was the smallest seen."""
