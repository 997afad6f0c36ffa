"""The interface of checks: a look at decoded pixels that ends in pass, flag or fail and a sentence a reviewer
understands."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from campaigns import limits
from campaigns.limits import Limit
from generation.engines.base import Pixels

__all__ = ["CHECKS", "Box", "Check", "Limit", "Sample", "Verdict", "register"]

Box = tuple[float, float, float, float]
"""left, top, right, bottom as shares 0–1 of width and height."""


@dataclass
class Sample:
    """One image as all checks see it: decoded once, derived pictures computed once and shared.

    pixels: height × width × 3|4 uint8 sRGB. facts: what the line knows: {"wanted": [w, h], "photo": [w, h],
    "specs": [{"slug", "width", "height"}], "engine": str, "limits": {check: {limit: number}}}, and of a remote
    engine "is_remote" and, where its service was asked for another size, "asked": [w, h].

    Limits are those of the brand's guide as it was when the run was planned: one run is judged alike from its first
    picture to its last, whatever is published meanwhile, and by the guide that its reviewers see beside it.
    """

    pixels: Pixels
    facts: Mapping[str, Any] = field(default_factory=dict)

    def limit(self, check: str, name: str) -> float:
        """The limit of a check, as the guide sets it or by default. KeyError where the check declared no such limit."""
        return limits.value(self.facts.get("limits") or {}, check, name)

    @cached_property
    def rgb(self) -> Pixels:
        """height × width × 3, alpha composed over white."""
        if self.pixels.shape[2] == 3:
            return self.pixels
        alpha = self.pixels[..., 3:4].astype(np.uint16)
        return ((self.pixels[..., :3] * alpha + 255 * (255 - alpha) + 127) // 255).astype(np.uint8)

    @cached_property
    def small(self) -> Pixels:
        """`rgb` area-averaged so that its long edge is at most 512 pixels."""
        height, width = self.rgb.shape[:2]
        scale = 512 / max(height, width)
        if scale >= 1:
            return self.rgb
        size = (max(1, round(width * scale)), max(1, round(height * scale)))
        return np.asarray(cv2.resize(self.rgb, size, interpolation=cv2.INTER_AREA), dtype=np.uint8)

    @cached_property
    def gray(self) -> NDArray[np.uint8]:
        """`small` as luma, height × width."""
        return np.asarray(cv2.cvtColor(self.small, cv2.COLOR_RGB2GRAY), dtype=np.uint8)


@dataclass(frozen=True)
class Verdict:
    """The result of a check: outcome "pass", "flag" or "fail"; score in the check's own unit; where, if it knows."""

    check: str
    outcome: str
    message: str
    score: float | None = None
    box: Box | None = None


class Check(Protocol):
    """A check may also have `limits`, a tuple of `Limit`: the numbers that a brand's guide may move."""

    name: str

    def look(self, sample: Sample) -> Verdict: ...


CHECKS: dict[str, Check] = {}
"""Every known check by name, in the order in which they look."""


def register(check: type[Check]) -> type[Check]:
    """Class decorator: make a check known under its name and run it on every image, in order of registration."""
    if check.name in CHECKS:
        raise ValueError(f"There are two checks called {check.name!r}.")
    CHECKS[check.name] = check()
    limits.declare(check.name, getattr(check, "limits", ()))
    return check
