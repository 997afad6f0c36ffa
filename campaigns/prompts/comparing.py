"""Compares two texts: which words were removed, and which were added. It compares words, because people read it."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from difflib import SequenceMatcher
from typing import Any

_WORDS = re.compile(r"\{[^{}]*\}|\w+|\s+|[^\w\s]")


@dataclass(frozen=True)
class TextPart:
    """A part of a text; `is_different`: the other text does not have it here."""

    text: str
    is_different: bool


@dataclass(frozen=True)
class Difference:
    """A named value in both versions, with its parts on either side."""

    name: str
    left: tuple[TextPart, ...]
    right: tuple[TextPart, ...]

    @property
    def is_same(self) -> bool:
        return not any(stretch.is_different for stretch in (*self.left, *self.right))


def compare_words(name: str, left: str, right: str) -> Difference:
    """Compare two texts word by word; a placeholder is one word."""
    before, after = _WORDS.findall(left), _WORDS.findall(right)
    removed: list[TextPart] = []
    added: list[TextPart] = []
    steps = SequenceMatcher(None, before, after, autojunk=False).get_opcodes()
    for number, (kind, a, b, c, d) in enumerate(steps):
        # A space between two changed words belongs to the change.
        is_between = 0 < number < len(steps) - 1 and not "".join(before[a:b]).strip()
        for stretches, part in ((removed, "".join(before[a:b])), (added, "".join(after[c:d]))):
            if part:
                _add(stretches, part, kind != "equal" or is_between)
    return Difference(name, tuple(removed), tuple(added))


def _add(stretches: list[TextPart], text: str, is_different: bool) -> None:
    if stretches and stretches[-1].is_different == is_different:
        text = stretches.pop().text + text
    stretches.append(TextPart(text, is_different))


def compare_settings(left: Mapping[str, Any], right: Mapping[str, Any]) -> list[Difference]:
    """Compare two sets of named values, each as a whole; names in the order of the left, then new ones."""
    differences = []
    for name in dict.fromkeys([*left, *right]):
        before, after = (_display_value(side[name]) if name in side else "" for side in (left, right))
        removed, added = ((TextPart(side, before != after),) if side else () for side in (before, after))
        differences.append(Difference(name, removed, added))
    return differences


def _display_value(value: Any) -> str:
    """Return a value as people read it: lists with commas, other values as JSON, text without quotes."""
    if isinstance(value, str):
        return value
    if isinstance(value, list):
        return ", ".join(map(_display_value, value))
    return json.dumps(value, ensure_ascii=False)
