"""The interface of finishing: files for output specs, a pure function of pixels, recipe and spec."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Protocol

from campaigns.visible_labels import Label
from core.plugin_config import Config
from core.registry import Registry
from generation.engines.base import Pixels

RECIPE_VERSION = 1
"""Raised whenever the same master and spec would give other bytes; a rendition records it."""


@dataclass(frozen=True)
class Target:
    """One output spec as plain values. image_format: "png", "jpeg", "webp" or "avif"; background: "#rrggbb" or "".

    label: what is drawn into the image (see labels.py).
    """

    slug: str
    width: int
    height: int
    image_format: str
    max_bytes: int | None = None
    background: str = ""
    label: Label | None = None


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


class Step(Protocol):
    """A step between the image and a file. label: its name for people. config: numbers that a brand guide may change.

    One instance is made for each image, with its facts: see `checks.base.Sample`, and "subject_box" if it is known.
    """

    name: str
    label: str
    config: type[Config]

    def __init__(self, facts: Mapping[str, Any]) -> None: ...

    def apply(self, pixels: Pixels, target: Target) -> Pixels:
        """Return the pixels (height × width × 3|4 uint8 sRGB) for a target. It must not change its argument, which
        several targets may share, and returns the same for the same."""


STEPS: Final[Registry[type[Step]]] = Registry(
    "finishing step", "proofline.finishing", {"fit": "generation.finishing.crop:Fit"}
)
"""All steps, in the order in which they are applied to the image of each file before it is encoded.

The label of a target is drawn after them, so that no step crops or covers it.
"""
