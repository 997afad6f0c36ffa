"""Which checks there are, and looking at one image with all of them. Packages add theirs by the entry point group."""

from __future__ import annotations

import logging
from functools import cache
from importlib.metadata import entry_points

from generation.checks.base import Check, Sample, Verdict

ENTRY_POINTS = "proofline.checks"
_checks: dict[str, Check] = {}
_log = logging.getLogger(__name__)


def register(check: type[Check]) -> type[Check]:
    """Class decorator: make a check known under its name and run it on every image, in order of registration."""
    if check.name in _checks:
        raise ValueError(f"There are two checks called {check.name!r}.")
    _checks[check.name] = check()
    return check


def names() -> list[str]:
    """Names of all checks, in the order in which they look."""
    _load()
    return list(_checks)


def get(name: str) -> Check:
    """The check called `name`; ValueError lists the known names."""
    _load()
    if name not in _checks:
        raise ValueError(f"There is no check {name!r}; known are {', '.join(_checks)}.")
    return _checks[name]


def examine(sample: Sample) -> list[Verdict]:
    """What every check says of the sample. A check that breaks is a flag with its own name, never a lost image."""
    _load()
    return [_look(check, sample) for check in _checks.values()]


def _look(check: Check, sample: Sample) -> Verdict:
    try:
        return check.look(sample)
    except Exception as error:
        _log.exception("check %s broke", check.name)
        return Verdict(
            check.name, "flag", f"This check could not be made ({type(error).__name__}: {error}); look closely."
        )


@cache
def _load() -> None:
    from generation.checks import pixels, sizes  # noqa: F401 - registers our own

    for point in entry_points(group=ENTRY_POINTS):
        point.load()
