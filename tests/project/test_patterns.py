"""Test that every regular expression of the project takes about linear time, whatever the text.

Patterns in modules are found by importing the modules, and patterns written where they are used are found in the
source. The hostile texts are made of what the pattern itself can match: its characters and its repeated parts.
"""

from __future__ import annotations

import ast
import importlib
import pkgutil
import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from re import _constants as codes  # type: ignore[attr-defined]
from re import _parser as sre  # type: ignore[attr-defined]
from types import ModuleType
from typing import Any

import pytest

from campaigns.prompts import wording
from config.env import ROOT

PACKAGES = ("core", "campaigns", "generation", "review", "config")
METHODS = ("match", "fullmatch", "search", "sub", "subn", "split", "findall", "finditer")
#: Patterns that are made from texts of people.
MADE = [
    wording._pattern(wording_text) for wording_text in ("sale", "a a a a b", "a  a", "é e\u0301", "a" * 40, "(a+)+$")
]
SIZE = 3600
"""Characters of the hostile texts; a quadratic pattern takes millions of steps for them, a linear one thousands."""
SUSPICIOUS_SECONDS = 0.0015
MOST_GROWTH = 9.0
"""Time for SIZE as a multiple of that for a quarter of it: linear is 4, quadratic 16."""


@dataclass(frozen=True)
class UsedPattern:
    """A pattern and the methods by which the project uses it."""

    pattern: re.Pattern[Any]
    place: str
    methods: frozenset[str]

    @property
    def is_anchored(self) -> bool:
        """Return whether it is tried only at the beginning of a text."""
        return bool(self.methods) and self.methods <= {"match", "fullmatch"}


# -- finding the patterns ----------------------------------------------------------------------------------------------


def modules() -> Iterator[ModuleType]:
    for name in PACKAGES:
        package = importlib.import_module(name)
        for info in pkgutil.walk_packages(package.__path__, f"{name}."):
            if ".migrations" not in info.name and not info.name.endswith(("__main__", ".wsgi", ".child")):
                yield importlib.import_module(info.name)


def patterns_within(value: Any, depth: int = 3) -> Iterator[re.Pattern[Any]]:
    """Yield the patterns in a value: the value itself, or those that it contains."""
    if isinstance(value, re.Pattern):
        yield value
    elif depth and isinstance(value, dict):
        yield from (pattern for part in value.values() for pattern in patterns_within(part, depth - 1))
    elif depth and isinstance(value, (list, tuple, set, frozenset)):
        yield from (pattern for part in value for pattern in patterns_within(part, depth - 1))
    elif depth and isinstance(value, type) and value.__module__.split(".")[0] in PACKAGES:
        yield from (pattern for part in vars(value).values() for pattern in patterns_within(part, depth - 1))


def in_source(path: Path) -> Iterator[tuple[re.Pattern[Any], str, str]]:
    """Yield (pattern, method, place) of each pattern written where it is used, e.g. re.match(r"…", text)."""
    for node in ast.walk(ast.parse(path.read_text())):
        if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.args):
            continue
        if not (isinstance(node.func.value, ast.Name) and node.func.value.id == "re"):
            continue
        method, written = node.func.attr, node.args[0]
        if method in (*METHODS, "compile") and isinstance(written, ast.Constant):
            flags = [part for part in (*node.args[1:], *(keyword.value for keyword in node.keywords)) if _is_flag(part)]
            value = eval("|".join(map(ast.unparse, flags)) or "0", {"re": re})  # noqa: S307
            yield re.compile(written.value, value), method, f"{path.relative_to(ROOT)}:{node.lineno}"


def _is_flag(node: ast.expr) -> bool:
    names = [part for part in ast.walk(node) if isinstance(part, ast.Attribute)]
    return bool(names) and all(name.attr.isupper() for name in names)


def sources() -> list[Path]:
    return [path for name in PACKAGES for path in sorted((ROOT / name).rglob("*.py")) if "migrations" not in path.parts]


@cache
def pattern_calls() -> dict[tuple[str, str], set[str]]:
    """Return (file, variable) -> the pattern methods called on it there; file "" is for other modules."""
    methods: dict[tuple[str, str], set[str]] = {}
    for path in sources():
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Attribute) and node.attr in METHODS:
                for part in ast.walk(node.value):
                    if isinstance(part, ast.Name):
                        methods.setdefault((str(path), part.id), set()).add(node.attr)
                    elif isinstance(part, ast.Attribute):
                        methods.setdefault(("", part.attr), set()).add(node.attr)
    return methods


def methods_of(module: ModuleType, name: str) -> frozenset[str]:
    return frozenset(pattern_calls().get((str(module.__file__), name), set()) | pattern_calls().get(("", name), set()))


@cache
def patterns() -> tuple[UsedPattern, ...]:
    """Return every pattern of the project once. A pattern without a visible use counts as used by search."""
    used: dict[tuple[Any, int], UsedPattern] = {}

    def add(pattern: re.Pattern[Any], place: str, methods: frozenset[str]) -> None:
        key = (pattern.pattern, pattern.flags)
        before = used.get(key)
        earlier = before.methods if before else methods
        together = earlier | methods if earlier and methods else frozenset()
        used[key] = UsedPattern(pattern, before.place if before else place, together)

    for module in modules():
        for name, value in vars(module).items():
            for pattern in patterns_within(value):
                add(pattern, f"{module.__name__}.{name}", methods_of(module, name))
    for path in sources():
        for pattern, method, place in in_source(path):
            if method != "compile" or (pattern.pattern, pattern.flags) not in used:
                add(pattern, place, frozenset() if method == "compile" else frozenset({method}))
    for pattern in MADE:
        add(pattern, "made from words", frozenset({"finditer"}))
    return tuple(used.values())


# -- making hostile texts from a pattern -------------------------------------------------------------------------------


def character(items: list[Any]) -> list[str]:
    """Return a few characters that a set matches."""
    if items[0][0] is codes.NEGATE:
        unwanted = re.compile(_written(items[1:]))
        return [char for char in " a1<,\n" if not unwanted.match(char)][:3] or ["\u20ac"]
    return [char for item in items for char in _of_item(item)][:6]


def _of_item(item: tuple[Any, Any]) -> list[str]:
    code, value = item
    if code is codes.LITERAL:
        return [chr(value)]
    if code is codes.RANGE:
        return [chr(value[0])]
    if code is codes.CATEGORY:
        return {codes.CATEGORY_DIGIT: ["1"], codes.CATEGORY_SPACE: [" ", "\n"], codes.CATEGORY_WORD: ["a", "1"]}.get(
            value, ["<"]
        )
    return []


def _written(items: list[Any]) -> str:
    categories = {codes.CATEGORY_DIGIT: r"\d", codes.CATEGORY_SPACE: r"\s", codes.CATEGORY_WORD: r"\w"}
    opposite = {codes.CATEGORY_NOT_DIGIT: r"\D", codes.CATEGORY_NOT_SPACE: r"\S", codes.CATEGORY_NOT_WORD: r"\W"}
    parts = []
    for code, value in items:
        if code is codes.LITERAL:
            parts.append(re.escape(chr(value)))
        elif code is codes.RANGE:
            parts.append(f"{re.escape(chr(value[0]))}-{re.escape(chr(value[1]))}")
        else:
            parts.append((categories | opposite)[value])
    return f"[{''.join(parts)}]"


def samples(tree: Any) -> list[str]:
    """Return a few texts that a part of a pattern matches, or nearly matches."""
    texts = [""]
    for node in tree:
        texts = [text + more for text in texts[:4] for more in _of_node(node)[:4]] or texts
    return list(dict.fromkeys(texts))[:6]


def _of_node(node: tuple[Any, Any]) -> list[str]:
    code, value = node
    if code is codes.LITERAL:
        return [chr(value)]
    if code is codes.NOT_LITERAL:
        return [char for char in " a<" if char != chr(value)]
    if code is codes.ANY:
        return ["a"]
    if code is codes.IN:
        return character(value) or [""]
    if code is codes.BRANCH:
        return [text for branch in value[1] for text in samples(branch)[:2]]
    if code in (codes.MAX_REPEAT, codes.MIN_REPEAT, codes.POSSESSIVE_REPEAT):
        return [text * max(1, value[0]) for text in samples(value[2])]
    if code is codes.SUBPATTERN:
        return samples(value[3])
    if code is codes.ATOMIC_GROUP:
        return samples(value)
    return [""]


def repeated(tree: Any, before: str = "") -> Iterator[tuple[str, str]]:
    """Yield (text before it, a text that it matches) for each part that may be repeated often."""
    for node in tree:
        code, value = node
        if code in (codes.MAX_REPEAT, codes.MIN_REPEAT, codes.POSSESSIVE_REPEAT):
            if value[1] > 30:
                yield from ((before, text) for text in samples(value[2]) if text)
            yield from repeated(value[2], before)
        elif code is codes.SUBPATTERN:
            yield from repeated(value[3], before)
        elif code is codes.BRANCH:
            for branch in value[1]:
                yield from repeated(branch, before)
        before += (_of_node(node) or [""])[0]


def alphabet(pattern: re.Pattern[Any]) -> list[str]:
    """Return the single characters in the pattern."""
    written = _text(pattern.pattern)
    chars: dict[str, None] = dict.fromkeys(char for text in _trees(sre.parse(written, pattern.flags)) for char in text)
    return [char for char in chars if char][:12]


def _trees(tree: Any) -> Iterator[str]:
    for node in tree:
        code, value = node
        if code in (codes.LITERAL, codes.NOT_LITERAL, codes.ANY, codes.IN):
            yield from _of_node(node)
        elif code in (codes.MAX_REPEAT, codes.MIN_REPEAT, codes.POSSESSIVE_REPEAT):
            yield from _trees(value[2])
        elif code is codes.SUBPATTERN:
            yield from _trees(value[3])
        elif code is codes.BRANCH:
            yield from (text for branch in value[1] for text in _trees(branch))
        elif code in (codes.ASSERT, codes.ASSERT_NOT):
            yield from _trees(value[1])


def _text(written: str | bytes) -> str:
    return written.decode("latin-1") if isinstance(written, bytes) else written


def hostile(pattern: re.Pattern[Any]) -> Iterator[Callable[[int], str]]:
    """Yield functions of a number that make a text of at least that many characters."""
    tree = sre.parse(_text(pattern.pattern), pattern.flags)
    chars = alphabet(pattern)
    loops = list(dict.fromkeys(repeated(tree)))[:24]
    whole = samples(tree)[:3]
    pumps = [("", char) for char in chars] + loops
    pumps += [("", before + text) for before, text in loops[:12] if before]
    pumps += [("", text) for text in whole if text] + [("", text[:-1]) for text in whole if len(text) > 1]
    pumps += [("", char + other) for char in chars[:5] for other in chars[:5] if char != other]
    pumps += [(before, text + other) for before, text in loops[:6] for _, other in loops[:6] if text != other]
    for before, pump in dict.fromkeys(pumps):
        for end in ("", "\x00", f"{pump[:1]}!"):
            yield partial(_pumped, before, pump, end)


def _pumped(before: str, pump: str, end: str, size: int) -> str:
    return before + pump * (size // min(len(pump), 2)) + end


# -- measuring ---------------------------------------------------------------------------------------------------------


def seconds(used: UsedPattern, text: str) -> float:
    subject: Any = text.encode("latin-1", "replace") if isinstance(used.pattern.pattern, bytes) else text
    pattern, began = used.pattern, time.thread_time()
    if "fullmatch" in used.methods:
        pattern.fullmatch(subject)
    if used.is_anchored:
        pattern.match(subject)
    else:
        for _ in pattern.finditer(subject):
            pass
    return time.thread_time() - began


def best_seconds(used: UsedPattern, text: str) -> float:
    return min(seconds(used, text) for _ in range(3))


def growth(used: UsedPattern, make: Callable[[int], str]) -> float:
    """Return the time for SIZE characters divided by that for a quarter; infinite if 100 characters already explode."""
    size, before = 12, 0.0
    while size < 200:
        taken = seconds(used, make(size))
        if taken > 0.002 and taken > 4 * before and best_seconds(used, make(size)) > 0.002:
            return float("inf")
        size, before = max(size + 2, int(size * 1.25)), taken
    if seconds(used, make(SIZE // 4)) < SUSPICIOUS_SECONDS and seconds(used, make(SIZE)) < SUSPICIOUS_SECONDS:
        return 0.0
    if best_seconds(used, make(SIZE)) < SUSPICIOUS_SECONDS:
        return 0.0
    return best_seconds(used, make(SIZE)) / max(best_seconds(used, make(SIZE // 4)), 1e-6)


def worst_growth(used: UsedPattern) -> tuple[float, str]:
    """Return the greatest growth among the hostile texts, and the beginning of that text."""
    greatest = (0.0, "")
    for make in hostile(used.pattern):
        if (grown := growth(used, make)) > greatest[0]:
            greatest = (grown, make(40)[:60])
            if grown > MOST_GROWTH:
                break
    return greatest


def test_the_patterns_of_all_four_packages_are_found() -> None:
    places = {used.place.split(".")[0].split("/")[0] for used in patterns()}
    assert places >= set(PACKAGES)
    assert len(patterns()) > 90


def test_no_pattern_needs_more_than_linear_time_on_hostile_text() -> None:
    slow = {used.place: worst_growth(used) for used in patterns()}
    assert not {place: (grown, text) for place, (grown, text) in slow.items() if grown > MOST_GROWTH}


@pytest.mark.parametrize(
    ("written", "method"),
    [
        (r"(?:<\?xml[^>]*>\s*|<!--.*?-->\s*|<!doctype svg[^>]*>\s*)*<svg\b", "match"),
        (r"<row\b[^>]*?\br\s*=\s*[\"']([0-9]{1,19})[\"']", "finditer"),
        (r"[+-]?[\d.,\s]*\d[\d.,\s]*", "fullmatch"),
        (r"<[^>]*>", "sub"),
        (r"(?:^|\n)\s*[=+\-@]", "search"),
        (r"\s*,\s+|,(?=https?://)|[|\n\r]+", "split"),
        (r"“[^”]*”", "sub"),
        (r"\d+%\|[^|\n\r]*\|\s*(\d+)/(\d+)", "findall"),
        (r"(a+)+$", "match"),
        (r"(?:a|ab|b)*c", "match"),
        (r"(\w+\s?)*:", "fullmatch"),
    ],
)
def test_patterns_that_backtrack_are_recognised_as_slow(written: str, method: str) -> None:
    """Check former patterns of the project and textbook examples, to prove that this test can fail."""
    used = UsedPattern(re.compile(written, re.IGNORECASE | re.DOTALL), "here", frozenset({method}))
    assert worst_growth(used)[0] > MOST_GROWTH
