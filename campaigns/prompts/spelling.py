"""Placeholders against the names that exist: which are unknown, and what was probably meant."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from dataclasses import dataclass

from campaigns.prompts.syntax import PromptSyntaxError, Slot, parse, place


@dataclass(frozen=True)
class Remark:
    """Something about a stretch of a prompt text, end excluded. kind: "syntax", "unknown" or "alternatives"; `instead`
    is the known name that is nearest, empty where none is near."""

    kind: str
    start: int
    end: int
    message: str
    instead: str = ""


def check(text: str, known: Iterable[str]) -> list[Remark]:
    """Return the first mistake of syntax; without one, the doubtful placeholders, in order.

    Those are placeholders without default whose name nothing has, and those that look like a choice of words.
    """
    try:
        nodes = parse(text)
    except PromptSyntaxError as error:
        where = place(text, error.position)
        return [Remark("syntax", error.position, min(len(text), error.position + 1), f"{error.message} ({where}).")]
    names = list(dict.fromkeys(known))
    found = []
    for node in nodes:
        if isinstance(node, Slot) and "|" in (node.default or ""):
            found.append(_alternatives(node, names))
        elif isinstance(node, Slot) and node.name not in names and node.default is None:
            found.append(_unknown(node, names))
    return found


def alternatives(text: str, known: Iterable[str] = ()) -> list[Remark]:
    """Return the placeholders that look like a choice of words: {red|blue|green}; none if the text is broken."""
    return [remark for remark in check(text, known) if remark.kind == "alternatives"]


def nearest(name: str, known: Iterable[str]) -> str:
    """The known name that is most like this one; empty where none is near."""
    plain = {one.casefold(): one for one in known}
    found = difflib.get_close_matches(name.casefold(), list(plain), n=1, cutoff=0.6)
    return plain[found[0]] if found else ""


def _alternatives(slot: Slot, names: list[str]) -> Remark:
    sent = f"the words “{slot.default}” are sent as they stand"
    if slot.name in names:
        message = f"Where a product has no “{slot.name}”, {sent}. Keep one default, or use an axis “{slot.name}”."
    else:
        words = f"{{{slot.name}|{slot.default}}}"
        message = f"“{slot.name}” is no placeholder here: of {words} {sent}. Use an axis for words that vary."
    return Remark("alternatives", slot.start, slot.end, message)


def _unknown(slot: Slot, names: list[str]) -> Remark:
    instead = nearest(slot.name, names)
    message = f"No product has “{slot.name}”."
    message += f" Did you mean “{instead}”?" if instead else f" Give it a default, {{{slot.name}|…}}, or an axis."
    return Remark("unknown", slot.start, slot.end, message, instead)
