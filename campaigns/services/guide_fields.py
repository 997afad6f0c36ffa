"""Validation of the fields of a brand guide: each field is normalised, or its mistake is described."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

from campaigns import thresholds
from campaigns.choices import Light
from campaigns.photos import colours
from core.errors import Invalid, Problem

COLOURS: Final = ("palette", "backdrops")
WORDING: Final = ("required_wording", "approved_wording", "banned_wording")
#: Shares of the image's height with which each of our engines works.
RANGES: Final = {"fill_ratio": (0.1, 1.0), "baseline": (0.2, 1.0)}
FIELDS: Final = frozenset({*COLOURS, *WORDING, *RANGES, "backdrop", "light", "thresholds"})
MAX_COLOURS: Final = 40
MAX_PHRASES: Final = 300
MAX_PHRASE_LENGTH: Final = 120
MAX_NAME_LENGTH: Final = 40
#: The value of a form field that was emptied.
_EMPTY: Final[dict[str, Any]] = {**{name: [] for name in (*COLOURS, *WORDING)}, "thresholds": {}}
_LABELS: Final = {"fill_ratio": "fill", "baseline": "baseline"}


def clean_fields(fields: Mapping[str, Any], *, beside: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Return the fields as they are stored: colours in lower-case hex, wording without repeats, numbers in range.

    beside: the guide's other fields, for rules about two fields. Raises Invalid with every problem. A problem's pointer
    is the field, or "palette/2/hex" inside a list.
    """
    problems = [Problem(name, "The guide has no such field.") for name in sorted(set(fields) - FIELDS)]
    cleaned: dict[str, Any] = {}
    for name in sorted(set(fields) & FIELDS):
        given = _EMPTY.get(name, "") if fields[name] is None else fields[name]
        if name in COLOURS:
            cleaned[name] = _colours(name, given, problems)
        elif name in WORDING:
            cleaned[name] = _wording(name, given, problems)
        elif name in RANGES:
            cleaned[name] = _share(name, given, problems)
        elif name == "thresholds":
            cleaned[name] = _thresholds(given, problems)
        else:
            cleaned[name] = _word(name, given, problems)
    if not problems:
        problems += _check_combinations({**(beside or {}), **cleaned}, cleaned)
    if problems:
        raise Invalid("The guide has mistakes.", problems)
    return cleaned


def _colours(name: str, given: Any, problems: list[Problem]) -> list[dict[str, str]]:
    if not isinstance(given, list) or len(given) > MAX_COLOURS:
        problems.append(Problem(name, f"Give a list of at most {MAX_COLOURS} colours.", str(given)[:100]))
        return []
    cleaned: list[dict[str, str]] = []
    for index, colour in enumerate(given):
        if not isinstance(colour, Mapping) or set(colour) - {"name", "hex"}:
            message = 'Each colour is {"name": "Clay", "hex": "#b5651d"}.'
            problems.append(Problem(f"{name}/{index}", message, str(colour)[:100]))
            continue
        label = " ".join(str(colour.get("name", "")).split())
        problem = _name_problem(label, cleaned)
        if problem:
            problems.append(Problem(f"{name}/{index}/name", problem, label[:100]))
        try:
            cleaned.append({"name": label, "hex": colours.normalise_hex(str(colour.get("hex", "")))})
        except ValueError as error:
            problems.append(Problem(f"{name}/{index}/hex", str(error), str(colour.get("hex", ""))[:100]))
    return cleaned


def _name_problem(label: str, before: list[dict[str, str]]) -> str:
    if not label or len(label) > MAX_NAME_LENGTH:
        return f"A colour needs a name of at most {MAX_NAME_LENGTH} letters that people can say, such as Clay."
    if not re.search(r"[^\W\d_]", label) or any(not char.isprintable() for char in label):
        return f"“{label}” is no name that people can say; write a word, such as Clay."
    if any(colour["name"].casefold() == label.casefold() for colour in before):
        return f"There are two colours called {label}; give each a name of its own."
    return ""


def _wording(name: str, given: Any, problems: list[Problem]) -> list[str]:
    if not isinstance(given, list) or not all(isinstance(word, str) and word.strip() for word in given):
        problems.append(Problem(name, "Give a list of words or phrases, none of them empty.", str(given)[:100]))
        return []
    phrases: dict[str, str] = {}
    for word in given:
        plain = " ".join(word.split())
        if len(plain) > MAX_PHRASE_LENGTH:
            message = f"A phrase has at most {MAX_PHRASE_LENGTH} characters; this one has {len(plain)}."
            problems.append(Problem(name, message, plain[:100]))
        phrases.setdefault(plain.casefold(), plain)
    if len(phrases) > MAX_PHRASES:
        problems.append(Problem(name, f"Give at most {MAX_PHRASES} phrases."))
    return list(phrases.values())


def _share(name: str, given: Any, problems: list[Problem]) -> float:
    low, high = RANGES[name]
    if not isinstance(given, int | float) or isinstance(given, bool) or not low <= given <= high:
        message = f"Give the {_LABELS[name]} as a share of the image's height, from {low:.0%} to {high:.0%}."
        problems.append(Problem(name, message, str(given)[:100]))
        return high
    return round(float(given), 4)


def _thresholds(given: Any, problems: list[Problem]) -> dict[str, dict[str, float]]:
    if not isinstance(given, Mapping):
        problems.append(Problem("thresholds", 'Give {"check": {"limit": number}}.', str(given)[:100]))
        return {}
    known_limits = thresholds.thresholds_by_check()
    changed: dict[str, dict[str, float]] = {}
    for check, numbers in given.items():
        there = {limit.name: limit for limit in known_limits.get(check, ())}
        if not there or not isinstance(numbers, Mapping):
            message = f"Checks with limits are {', '.join(known_limits)}; each holds {{limit: number}}."
            problems.append(Problem(f"thresholds/{check}", message, str(check)[:100]))
            continue
        for name, number in numbers.items():
            pointer = f"thresholds/{check}/{name}"
            limit = there.get(name)
            if limit is None:
                problems.append(Problem(pointer, f"This check's limits are {', '.join(there)}.", str(name)[:100]))
            elif not isinstance(number, int | float) or not limit.minimum <= number <= limit.maximum:
                message = f"Give a number from {limit.minimum:g} to {limit.maximum:g}."
                problems.append(Problem(pointer, message, str(number)[:100]))
            elif float(number) != limit.default:  # a limit at the default follows the default
                changed.setdefault(check, {})[name] = float(number)
    return changed


def _word(name: str, given: Any, problems: list[Problem]) -> str:
    text = " ".join(str(given).split())
    if name == "light" and text and text not in Light.values:
        problems.append(Problem(name, f"The light comes from one of: {', '.join(Light.values)}.", text[:100]))
    if name == "backdrop" and len(text) > 60:
        problems.append(Problem(name, "The name of the default backdrop has at most 60 characters.", text[:100]))
    return text


def _check_combinations(whole: Mapping[str, Any], changed: Mapping[str, Any]) -> list[Problem]:
    """Check the rules about two fields; each problem points at the field that was changed."""
    problems = []
    backdrops, default = whole.get("backdrops") or [], whole.get("backdrop") or ""
    names = [backdrop["name"] for backdrop in backdrops]
    if names and default and default.casefold() not in {name.casefold() for name in names}:
        message = f"The default backdrop “{default}” is not among the backdrops: {', '.join(names)}."
        problems.append(Problem("backdrop" if "backdrop" in changed else "backdrops", message, default))
    banned = {word.casefold() for word in whole.get("banned_wording") or []}
    for name in ("required_wording", "approved_wording"):
        both = [word for word in whole.get(name) or [] if word.casefold() in banned]
        if both:
            kind = name.removesuffix("_wording")
            at = name if name in changed else "banned_wording"
            problems.append(Problem(at, f"“{both[0]}” is {kind} and banned at once; take one away.", both[0]))
    return problems
