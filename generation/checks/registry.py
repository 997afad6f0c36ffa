"""The registry of checks, and how they are all run on an image."""

from __future__ import annotations

import logging
from typing import Final

from core.registry import Registry
from generation.checks.base import Check, CheckResult, Sample

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
_log = logging.getLogger(__name__)


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
