"""Two texts side by side: which words went, which came. For people, so it goes by words and not by characters."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from difflib import SequenceMatcher
from typing import Any

_WORDS = re.compile(r"\{[^{}]*\}|\w+|\s+|[^\w\s]")


@dataclass(frozen=True)
class Stretch:
    """A stretch of a text; `is_other`: the other text does not have it here."""

    text: str
    is_other: bool


@dataclass(frozen=True)
class Difference:
    """One thing in both: its stretches on either side."""

    name: str
    left: tuple[Stretch, ...]
    right: tuple[Stretch, ...]

    @property
    def is_same(self) -> bool:
        return not any(one.is_other for one in (*self.left, *self.right))


def words(name: str, left: str, right: str) -> Difference:
    """Compare two texts word by word; a placeholder is one word."""
    before, after = _WORDS.findall(left), _WORDS.findall(right)
    matcher = SequenceMatcher(None, before, after, autojunk=False)
    gone: list[Stretch] = []
    come: list[Stretch] = []
    steps = matcher.get_opcodes()
    for number, (kind, a, b, c, d) in enumerate(steps):
        # A space between two changed words belongs to the change.
        is_between = 0 < number < len(steps) - 1 and not "".join(before[a:b]).strip()
        for found, part in ((gone, "".join(before[a:b])), (come, "".join(after[c:d]))):
            if part:
                _add(found, part, kind != "equal" or is_between)
    return Difference(name, tuple(gone), tuple(come))


def _add(found: list[Stretch], text: str, is_other: bool) -> None:
    if found and found[-1].is_other == is_other:
        text = found.pop().text + text
    found.append(Stretch(text, is_other))


def settings(left: Mapping[str, Any], right: Mapping[str, Any]) -> list[Difference]:
    """Compare two sets of named values, each as one stretch; names in the order of the left, then new ones."""
    found = []
    for name in dict.fromkeys([*left, *right]):
        sides = [plain(side[name]) if name in side else "" for side in (left, right)]
        is_other = sides[0] != sides[1]
        gone, come = ((Stretch(side, is_other),) if side else () for side in sides)
        found.append(Difference(name, gone, come))
    return found


def plain(value: Any) -> str:
    """A value as people read it: lists with commas, the rest as JSON without quotes around text."""
    if isinstance(value, str):
        return value
    if isinstance(value, list):
        return ", ".join(plain(one) for one in value)
    return json.dumps(value, ensure_ascii=False)
