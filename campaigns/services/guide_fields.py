"""Validation of the fields of a brand guide: each field is normalised, or its mistake is described."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, Final

from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

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
_RANGE_MISTAKES: Final = {
    "fill_ratio": gettext_lazy("Give the fill as a share of the image's height, from %(low)s to %(high)s."),
    "baseline": gettext_lazy("Give the baseline as a share of the image's height, from %(low)s to %(high)s."),
}


def clean_fields(fields: Mapping[str, Any], *, beside: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Return the fields as they are stored: colours in lower-case hex, wording without repeats, numbers in range.

    beside: the guide's other fields, for rules about two fields. Raises Invalid with every problem. A problem's pointer
    is the field, or "palette/2/hex" inside a list.
    """
    problems = [Problem(name, _("The guide has no such field.")) for name in sorted(set(fields) - FIELDS)]
    cleaned: dict[str, Any] = {}
    for name in sorted(set(fields) & FIELDS):
        given = _EMPTY.get(name, "") if fields[name] is None else fields[name]
        cleaned[name] = _CLEANERS[name](name, given, problems)
    if not problems:
        problems += _check_combinations({**(beside or {}), **cleaned}, cleaned)
    if problems:
        raise Invalid(_("The guide has mistakes."), problems)
    return cleaned


def _colours(name: str, given: Any, problems: list[Problem]) -> list[dict[str, str]]:
    if not isinstance(given, list) or len(given) > MAX_COLOURS:
        message = _("Give a list of at most %(most)d colours.") % {"most": MAX_COLOURS}
        problems.append(Problem(name, message, str(given)[:100]))
        return []
    cleaned: list[dict[str, str]] = []
    for index, colour in enumerate(given):
        if not isinstance(colour, Mapping) or set(colour) - {"name", "hex"}:
            message = _('Each colour is {"name": "Clay", "hex": "#b5651d"}.')
            problems.append(Problem(f"{name}/{index}", message, str(colour)[:100]))
            continue
        label = " ".join(str(colour.get("name", "")).split())
        if problem := _name_problem(label, cleaned):
            problems.append(Problem(f"{name}/{index}/name", problem, label[:100]))
        try:
            cleaned.append({"name": label, "hex": colours.normalise_hex(str(colour.get("hex", "")))})
        except ValueError as error:
            problems.append(Problem(f"{name}/{index}/hex", str(error), str(colour.get("hex", ""))[:100]))
    return cleaned


def _name_problem(label: str, before: list[dict[str, str]]) -> str:
    if not label or len(label) > MAX_NAME_LENGTH:
        message = _("A colour needs a name of at most %(most)d letters that people can say, such as Clay.")
        return message % {"most": MAX_NAME_LENGTH}
    if not re.search(r"[^\W\d_]", label) or any(not char.isprintable() for char in label):
        return _("“%(name)s” is no name that people can say; write a word, such as Clay.") % {"name": label}
    if any(colour["name"].casefold() == label.casefold() for colour in before):
        return _("There are two colours called %(name)s; give each a name of its own.") % {"name": label}
    return ""


def _wording(name: str, given: Any, problems: list[Problem]) -> list[str]:
    if not isinstance(given, list) or not all(isinstance(word, str) and word.strip() for word in given):
        problems.append(Problem(name, _("Give a list of words or phrases, none of them empty."), str(given)[:100]))
        return []
    phrases: dict[str, str] = {}
    for word in given:
        plain = " ".join(word.split())
        if len(plain) > MAX_PHRASE_LENGTH:
            message = _("A phrase has at most %(most)d characters; this one has %(count)d.")
            values = {"most": MAX_PHRASE_LENGTH, "count": len(plain)}
            problems.append(Problem(name, message % values, plain[:100]))
        phrases.setdefault(plain.casefold(), plain)
    if len(phrases) > MAX_PHRASES:
        problems.append(Problem(name, _("Give at most %(most)d phrases.") % {"most": MAX_PHRASES}))
    return list(phrases.values())


def _share(name: str, given: Any, problems: list[Problem]) -> float:
    low, high = RANGES[name]
    if not isinstance(given, int | float) or isinstance(given, bool) or not low <= given <= high:
        message = _RANGE_MISTAKES[name] % {"low": f"{low:.0%}", "high": f"{high:.0%}"}
        problems.append(Problem(name, message, str(given)[:100]))
        return high
    return round(float(given), 4)


def _thresholds(pointer: str, given: Any, problems: list[Problem]) -> dict[str, dict[str, float]]:
    if not isinstance(given, Mapping):
        problems.append(Problem(pointer, _('Give {"check": {"limit": number}}.'), str(given)[:100]))
        return {}
    known_limits = thresholds.thresholds_by_check()
    changed: dict[str, dict[str, float]] = {}
    for check, numbers in given.items():
        there = {limit.name: limit for limit in known_limits.get(check, ())}
        if not there or not isinstance(numbers, Mapping):
            message = _("Checks with limits are %(names)s; each holds {limit: number}.")
            message %= {"names": ", ".join(known_limits)}
            problems.append(Problem(f"{pointer}/{check}", message, str(check)[:100]))
            continue
        for name, number in numbers.items():
            place, limit = f"{pointer}/{check}/{name}", there.get(name)
            if limit is None:
                message = _("This check's limits are %(names)s.") % {"names": ", ".join(there)}
                problems.append(Problem(place, message, str(name)[:100]))
            elif not isinstance(number, int | float) or not limit.minimum <= number <= limit.maximum:
                values = {"low": f"{limit.minimum:g}", "high": f"{limit.maximum:g}"}
                message = _("Give a number from %(low)s to %(high)s.") % values
                problems.append(Problem(place, message, str(number)[:100]))
            elif float(number) != limit.default:  # a limit at the default follows the default
                changed.setdefault(check, {})[name] = float(number)
    return changed


def _word(name: str, given: Any, problems: list[Problem]) -> str:
    text = " ".join(str(given).split())
    if name == "light" and text and text not in Light.values:
        message = _("The light comes from one of: %(names)s.") % {"names": ", ".join(Light.values)}
        problems.append(Problem(name, message, text[:100]))
    if name == "backdrop" and len(text) > 60:
        problems.append(Problem(name, _("The name of the default backdrop has at most 60 characters."), text[:100]))
    return text


_CLEANERS: Final[dict[str, Callable[[str, Any, list[Problem]], Any]]] = {
    **dict.fromkeys(COLOURS, _colours),
    **dict.fromkeys(WORDING, _wording),
    **dict.fromkeys(RANGES, _share),
    "thresholds": _thresholds, "backdrop": _word, "light": _word,
}  # fmt: skip


def _check_combinations(whole: Mapping[str, Any], changed: Mapping[str, Any]) -> list[Problem]:
    """Check the rules about two fields; each problem points at the field that was changed."""
    problems = []
    backdrops, default = whole.get("backdrops") or [], whole.get("backdrop") or ""
    names = [backdrop["name"] for backdrop in backdrops]
    if names and default and default.casefold() not in {name.casefold() for name in names}:
        message = _("The default backdrop “%(name)s” is not among the backdrops: %(names)s.")
        message %= {"name": default, "names": ", ".join(names)}
        problems.append(Problem("backdrop" if "backdrop" in changed else "backdrops", message, default))
    banned = {word.casefold() for word in whole.get("banned_wording") or []}
    for name, message in (
        ("required_wording", _("“%(word)s” is required and banned at once; take one away.")),
        ("approved_wording", _("“%(word)s” is approved and banned at once; take one away.")),
    ):
        both = [word for word in whole.get(name) or [] if word.casefold() in banned]
        if both:
            at = name if name in changed else "banned_wording"
            problems.append(Problem(at, message % {"word": both[0]}, both[0]))
    return problems
