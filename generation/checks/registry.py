"""The registry of checks, which runs them all on an image. Packages add checks by the entry point group."""

from __future__ import annotations

import logging
from functools import cache
from importlib.metadata import entry_points

from generation.checks import pixels, sizes  # noqa: F401 - registers our own
from generation.checks.base import CHECKS, CheckResult, Sample, register

__all__ = ["CHECKS", "names", "register", "run_checks"]

ENTRY_POINTS = "proofline.checks"
_log = logging.getLogger(__name__)


def names() -> list[str]:
    """Return the names of all checks, in the order in which they run."""
    _load()
    return list(CHECKS)


def run_checks(sample: Sample) -> list[CheckResult]:
    """Return the results of all checks on the sample. A check that raises becomes a flag, so no image is lost."""
    _load()
    results = []
    for check in CHECKS.values():
        try:
            results.append(check.inspect(sample))
        except Exception as error:
            _log.exception("check %s broke", check.name)
            message = f"This check could not be made ({type(error).__name__}: {error}); look closely."
            results.append(CheckResult(check.name, "flag", message))
    return results


@cache
def _load() -> None:
    for point in entry_points(group=ENTRY_POINTS):
        point.load()
