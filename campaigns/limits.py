"""The limits that checks judge by: which there are, what each means, and how far a brand's guide may move it.

A check declares its own where it is defined; the guide's page lists them all, and its thresholds name them. Plain data.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Limit:
    """One number that decides a check's outcome.

    meaning: a sentence for the people who set it, with what a smaller or larger number does. unit: a word after the
    number ("times", "levels of 255").
    """

    name: str
    label: str
    meaning: str
    default: float
    minimum: float
    maximum: float
    step: float
    unit: str = ""


_declared: dict[str, tuple[Limit, ...]] = {}


def declare(check: str, limits: Iterable[Limit]) -> None:
    """Make the limits of a check known; declared again, the newer ones count."""
    given = tuple(limits)
    if given:
        _declared[check] = given


def known() -> dict[str, tuple[Limit, ...]]:
    """Check name -> its limits, in the order in which they were declared."""
    return dict(_declared)


def value(thresholds: Mapping[str, Any], check: str, name: str) -> float:
    """The limit as `thresholds` ({check: {limit: number}}) sets it, else its default. KeyError where there is none."""
    for limit in _declared[check]:
        if limit.name == name:
            return float(thresholds.get(check, {}).get(name, limit.default))
    raise KeyError(f"the check {check} has no limit {name!r}")
