"""The interface of checks and their registry: a check looks at decoded pixels and returns pass, flag or fail with a
sentence for reviewers."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Final, Protocol, TypeVar

import numpy as np

from core.plugin_config import Config
from core.registry import Registry
from generation.engines.base import Pixels
from generation.finishing.resample import shrink_to_fit

C = TypeVar("C", bound=Config)
_log = logging.getLogger(__name__)

Box = tuple[float, float, float, float]
"""Left, top, right, bottom as shares 0–1 of width and height."""


@dataclass
class Sample:
    """One image for all checks: decoded once, with derived images that are computed once and shared.

    pixels: height × width × 3|4 uint8 sRGB. facts: {"wanted": [w, h] of the job, "photo": [w, h],
    "specs": [{"slug", "width", "height"}], "engine": str, "limits": {check: {limit: number}}}; for a remote engine also
    "is_remote" and, if its service was asked for another size, "asked": [w, h]. After finishing also "files":
    [{"slug", "width", "height", "scale", "problem"}], with the factor by which each file was enlarged from the image,
    or the reason why it could not be made.

    The limits are those of the brand guide when the run was planned. So all images of a run are checked alike, even if
    a new guide is published meanwhile, and by the guide that reviewers see beside them.
    """

    pixels: Pixels
    facts: Mapping[str, Any] = field(default_factory=dict)

    def read_config(self, check: str, config: type[C]) -> C:
        """Return the thresholds of a check, from the guide or their defaults."""
        return config.read((self.facts.get("limits") or {}).get(check, {}))

    @cached_property
    def rgb(self) -> Pixels:
        """The pixels as height × width × 3, composed over white if they have alpha."""
        if self.pixels.shape[2] == 3:
            return self.pixels
        alpha = self.pixels[..., 3:4].astype(np.uint16)
        return ((self.pixels[..., :3] * alpha + 255 * (255 - alpha) + 127) // 255).astype(np.uint8)

    @cached_property
    def small(self) -> Pixels:
        """A copy of `rgb`, area-averaged so that its long edge is at most 512 pixels."""
        return shrink_to_fit(self.rgb, 512)


@dataclass(frozen=True)
class CheckResult:
    """The result of a check. outcome: "pass", "flag" or "fail"; score: in the check's own unit; box: the place, if
    known."""

    check: str
    outcome: str
    message: str
    score: float | None = None
    box: Box | None = None


class Check(Protocol):
    """A check of images. label: its name for people. config: its thresholds, which a brand guide may change."""

    name: str
    label: str
    config: type[Config]

    def inspect(self, sample: Sample) -> CheckResult | None:
        """Return the result; None if the check does not concern this image."""


CHECKS: Final[Registry[type[Check]]] = Registry(
    "check",
    "proofline.checks",
    {
        "pixels": "generation.checks.pixels:PixelsCheck",
        "blank": "generation.checks.pixels:BlankCheck",
        "dimensions": "generation.checks.sizes:DimensionsCheck",
        "photo_size": "generation.checks.sizes:PhotoSizeCheck",
        "renditions": "generation.checks.sizes:RenditionsCheck",
    },
)
"""All checks, in the order in which they run."""


def run_checks(sample: Sample) -> list[CheckResult]:
    """Return the results of all checks on the sample. A check that raises becomes a flag, so no image is lost."""
    results = []
    for check in CHECKS:
        try:
            result = check().inspect(sample)
        except Exception as error:
            _log.exception("check %s broke", check.name)
            message = f"This check could not be made ({type(error).__name__}: {error}); look closely."
            result = CheckResult(check.name, "flag", message)
        if result is not None:
            results.append(result)
    return results
