"""The thresholds of checks: their meaning, and the range in which a brand's guide may change them. Plain data.

A check declares its own thresholds where it is defined; the guide's page lists them all.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Threshold:
    """One number that decides the outcome of a check.

    meaning: a sentence for the people who set it; it says what a smaller or larger number does. unit: a word after the
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


_declared: dict[str, tuple[Threshold, ...]] = {}


def declare_thresholds(check: str, thresholds: Iterable[Threshold]) -> None:
    """Register the thresholds of a check; a second declaration replaces the first."""
    declared = tuple(thresholds)
    if declared:
        _declared[check] = declared


def thresholds_by_check() -> dict[str, tuple[Threshold, ...]]:
    """Return check name -> its thresholds, in the order of declaration."""
    return dict(_declared)


def threshold_value(thresholds: Mapping[str, Any], check: str, name: str) -> float:
    """Return the threshold from `thresholds` ({check: {name: number}}) or its default. KeyError if there is none."""
    for threshold in _declared[check]:
        if threshold.name == name:
            return float(thresholds.get(check, {}).get(name, threshold.default))
    raise KeyError(f"the check {check} has no limit {name!r}")
