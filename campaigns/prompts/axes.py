"""The differences between images of a subject: axes (named lists of values; all combinations are made) and seeds."""

from __future__ import annotations

import hashlib
import json
import secrets
from collections.abc import Mapping, Sequence
from itertools import product
from math import prod
from typing import Any

MAX_VARIANTS = 1000
# All engines with a seed accept 31 bits, and JavaScript shows the number without rounding.
MAX_SEED = 2**31 - 1

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
        if not isinstance(values, list | tuple):
            raise AxisError(name, f"Axis {name!r} needs a list of values, not {values!r}.")
        if not values:
            raise AxisError(name, f"Axis {name!r} has no values; remove it or give it at least one.")
        for value in values:
            if not isinstance(value, str | int | float | bool):
                raise AxisError(name, f"Axis {name!r} holds {value!r}; only text, numbers and true/false can vary.")
        if len(set(map(json.dumps, values))) < len(values):
            raise AxisError(name, f"Axis {name!r} names a value twice; each value makes an image of its own.")
    count = prod(len(values) for values in axes.values())
    if count > MAX_VARIANTS:
        longest = max(axes, key=lambda name: len(axes[name]))
        limit = f"at most {MAX_VARIANTS:,} are planned in one run."
        raise AxisError(longest, f"These axes give {count:,} variants of each subject; {limit}")
    return [dict(zip(axes, combination, strict=True)) for combination in product(*axes.values())]


def values_key(values: Mapping[str, Any]) -> str:
    """Return canonical JSON of axis values: equal for equal values in any order."""
    return json.dumps(values, sort_keys=True, ensure_ascii=False, separators=(",", ":"))


def seed_for(strategy: str, *, base: int = 0, subject_key: str = "", template_key: str = "", candidate: int = 1) -> int:
    """Return the seed of one candidate (counted from 1), 0 … MAX_SEED.

    "fixed": base, base + 1, … for all subjects alike. "per_subject": derived from the subject's key, the template and
    `base`, so that a subject keeps its seeds in later runs and gets new ones with a new base. "random": a new seed.
    """
    if strategy == "fixed":
        return (base + candidate - 1) % (MAX_SEED + 1)
    if strategy == "per_subject":
        text = "\x1f".join((template_key, subject_key, str(base), str(candidate)))
        return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") % (MAX_SEED + 1)
    if strategy == "random":
        return secrets.randbelow(MAX_SEED + 1)
    raise ValueError(f"There is no seed strategy {strategy!r}; known are fixed, per_subject, random.")
