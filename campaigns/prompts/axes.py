"""Axes: named lists of values; their combinations are the variants of each subject."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from itertools import product
from math import prod
from typing import Any

MAX_VARIANTS = 1000

Scalar = str | int | float | bool


class AxisError(ValueError):
    """An axis cannot be used; `axis` names it, the message says why."""

    def __init__(self, axis: str, message: str) -> None:
        super().__init__(message)
        self.axis = axis
        self.message = message


def expand_axes(axes: Mapping[str, Sequence[Scalar]]) -> list[dict[str, Any]]:
    """Return all combinations, the last axis varying fastest; one empty combination without axes.

    Raises AxisError for an axis that is empty, repeats a value or contains a list or object, and for more than
    MAX_VARIANTS combinations.
    """
    for name, values in axes.items():
        _ensure_axis(name, values)
    count = prod(len(values) for values in axes.values())
    if count > MAX_VARIANTS:
        longest = max(axes, key=lambda name: len(axes[name]))
        message = (
            f"These axes give {count:,} variants of each subject; at most {MAX_VARIANTS:,} are planned in one run."
        )
        raise AxisError(longest, message)
    return [dict(zip(axes, combination, strict=True)) for combination in product(*axes.values())]


def values_key(values: Mapping[str, Any]) -> str:
    """Return canonical JSON of axis values: equal for equal values in any order."""
    return json.dumps(values, sort_keys=True, ensure_ascii=False, separators=(",", ":"))


def _ensure_axis(name: str, values: Sequence[Scalar]) -> None:
    if not isinstance(values, list | tuple):
        raise AxisError(name, f"Axis {name!r} needs a list of values, not {values!r}.")
    if not values:
        raise AxisError(name, f"Axis {name!r} has no values; remove it or give it at least one.")
    for value in values:
        if not isinstance(value, str | int | float | bool):
            raise AxisError(name, f"Axis {name!r} holds {value!r}; only text, numbers and true/false can vary.")
    if len(set(map(json.dumps, values))) < len(values):
        raise AxisError(name, f"Axis {name!r} names a value twice; each value makes an image of its own.")
