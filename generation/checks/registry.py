"""The registry of checks, which runs them all on an image. Packages add checks by the entry point group."""

from __future__ import annotations

import logging
from functools import cache
from importlib.metadata import entry_points

from generation.checks import pixels, sizes  # noqa: F401 - registers our own
from generation.checks.base import CHECKS, Check, CheckResult, Sample, register

__all__ = ["get", "names", "register", "run_checks"]

ENTRY_POINTS = "proofline.checks"
_log = logging.getLogger(__name__)


def names() -> list[str]:
    """Return the names of all checks, in the order in which they run."""
    _load()
    return list(CHECKS)


def get(name: str) -> Check:
    """Return the check called `name`. Raises ValueError with the known names."""
    _load()
    if name not in CHECKS:
        raise ValueError(f"There is no check {name!r}; known are {', '.join(CHECKS)}.")
    return CHECKS[name]


def run_checks(sample: Sample) -> list[CheckResult]:
    """Return the results of all checks on the sample. A check that raises becomes a flag, so no image is lost."""
    _load()
    return [_inspect(check, sample) for check in CHECKS.values()]


def _inspect(check: Check, sample: Sample) -> CheckResult:
    try:
        return check.inspect(sample)
    except Exception as error:
        _log.exception("check %s broke", check.name)
        return CheckResult(
            check.name, "flag", f"This check could not be made ({type(error).__name__}: {error}); look closely."
        )


@cache
def _load() -> None:
    for point in entry_points(group=ENTRY_POINTS):
        point.load()
