"""Finds what PostgreSQL cannot store in a request. Middleware and API parsers use it, so that nobody else needs to."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable
from typing import Any

from django.utils.translation import gettext as _

from core.errors import BadRequest, Invalid, Problem

MAX_DEPTH = 50  # of nested lists and objects; no request needs ten, and Python's parser fails at about a thousand
SMALLEST_INTEGER, LARGEST_INTEGER = -(2**63), 2**64 - 1
"""Seeds of ComfyUI have 64 bits without sign. jsonb can store them; a bigint column refuses them itself."""
SHOWN_PROBLEMS = 20

_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")

# A path is None for the whole value, else (path of the parent, key or index). It is joined only for a fault.
_Path = tuple[Any, Any] | None


class InvalidJson(BadRequest):
    """The text cannot be read as JSON at all."""


def escape_unstorable(text: str) -> str:
    """Return `text` with characters that cannot be stored or sent written as escapes such as \\u0000."""
    return _UNSTORABLE.sub(lambda match: f"\\u{ord(match.group()):04x}", text)


def text_problem(text: str) -> str:
    """Return a sentence that says why PostgreSQL cannot store `text`; "" if it can."""
    match = _UNSTORABLE.search(text)
    if match is None:
        return ""
    sentence = (
        _("Character %(place)d is NUL (%(code)s), which cannot be stored. Remove it.")
        if match.group() == "\x00"
        else _("Character %(place)d is half of a surrogate pair (%(code)s), which cannot be stored. Remove it.")
    )
    return sentence % {"place": match.start() + 1, "code": f"U+{ord(match.group()):04X}"}


def problems(value: Any, prefix: str = "") -> list[Problem]:
    """Return the first faults of a parsed JSON value, each with a JSON pointer that begins with `prefix`.

    Faults are NUL and lone surrogates in text and in names of members, NaN and infinite numbers, integers beyond 64
    bits, and nesting beyond MAX_DEPTH.
    """
    faults: list[Problem] = []
    waiting: list[tuple[Any, _Path, int]] = [(value, None, 0)]
    while waiting and len(faults) < SHOWN_PROBLEMS:
        item, path, depth = waiting.pop()
        if isinstance(item, dict | list):
            if depth == MAX_DEPTH:
                message = _("Lists and objects are nested more than %(depth)d levels deep. Send it flatter.")
                faults.append(Problem(prefix + _pointer(path)[:200], message % {"depth": MAX_DEPTH}))
                continue
            for name in item if isinstance(item, dict) else ():
                if message := text_problem(name):
                    message = _("In the name of the member: %(problem)s") % {"problem": message}
                    faults.append(Problem(prefix + _pointer((path, name)), message))
            members = item.items() if isinstance(item, dict) else enumerate(item)
            waiting += reversed([(member, (path, key), depth + 1) for key, member in members])
        elif message := _scalar_problem(item):
            faults.append(Problem(prefix + _pointer(path), message))
    return faults


def field_problems(fields: Iterable[tuple[str, Iterable[str]]], prefix: str = "") -> list[Problem]:
    """Return the faults in the names and values of a query string or a form, given as (name, values)."""
    faults = []
    for name, values in fields:
        message = next((problem for problem in map(text_problem, values) if problem), "")
        if problem := text_problem(name):
            message = _("In the name of the field: %(problem)s") % {"problem": problem}
        if message:
            faults.append(Problem(prefix + escape_unstorable(name)[:100], message))
    return faults[:SHOWN_PROBLEMS]


def ensure_form_is_storable(form: Any, files: Any, prefix: str = "") -> None:
    """Raise Invalid for names and values of a form, or names of its files, that cannot be stored."""
    file_names = [(name, [file.name or "" for file in group]) for name, group in files.lists()]
    ensure_no_problems(field_problems([*form.lists(), *file_names], prefix))


def ensure_no_problems(faults: list[Problem]) -> None:
    if faults:
        places = ", ".join(fault.pointer or "/" for fault in faults[:3])
        raise Invalid(_("The request holds values that cannot be stored: %(places)s.") % {"places": places}, faults)


def read_json(text: str, *, prefix: str = "") -> Any:
    """Parse JSON from a client. Raises InvalidJson, and Invalid for values that cannot be stored."""
    try:
        value = json.loads(text)
    except json.JSONDecodeError as error:
        sentence = _("This is not JSON: %(reason)s (line %(line)d, character %(character)d).")
        place = {"reason": error.msg, "line": error.lineno, "character": error.colno}
        raise InvalidJson(sentence % place) from None
    except RecursionError:
        sentence = _("This JSON cannot be read: it is nested more than %(depth)d levels deep.")
        raise InvalidJson(sentence % {"depth": MAX_DEPTH}) from None
    except ValueError:
        raise InvalidJson(_("This JSON cannot be read: a number has thousands of digits. Send it as text.")) from None
    ensure_no_problems(problems(value, prefix))
    return value


def read_json_field(text: str) -> Any:
    """Parse JSON from a form field. Raises ValueError with a sentence for the person."""
    try:
        return read_json(text)
    except InvalidJson as error:
        raise ValueError(error.message) from None
    except Invalid as refusal:
        problem = refusal.problems[0]
        sentence = _("At %(place)s: %(problem)s") if problem.pointer else "%(problem)s"
        raise ValueError(sentence % {"place": problem.pointer, "problem": problem.message}) from None


def _scalar_problem(item: Any) -> str:
    if isinstance(item, str):
        return text_problem(item)
    if isinstance(item, float) and not math.isfinite(item):
        return _("This is not a finite number (NaN, Infinity, or beyond 1.8e308). Send a finite number or null.")
    if isinstance(item, int) and not SMALLEST_INTEGER <= item <= LARGEST_INTEGER:
        sentence = _("This integer is not between %(smallest)d and %(largest)d. Send it as text.")
        return sentence % {"smallest": SMALLEST_INTEGER, "largest": LARGEST_INTEGER}
    return ""


def _pointer(path: _Path) -> str:
    """Join a path into a JSON pointer (RFC 6901)."""
    keys = []
    while path is not None:
        path, key = path
        keys.append(escape_unstorable(str(key)).replace("~", "~0").replace("/", "~1")[:100])
    return "".join(f"/{key}" for key in reversed(keys))
