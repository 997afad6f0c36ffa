"""Compares placeholders with the existing names: which are unknown, and which name was probably meant."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from dataclasses import dataclass

from campaigns.prompts.syntax import PromptSyntaxError, Slot, describe_position, parse


@dataclass(frozen=True)
class Remark:
    """A remark about a part of a prompt text, end excluded. kind: "syntax", "unknown" or "alternatives".

    replacement: the most similar existing name, or empty.
    """

    kind: str
    start: int
    end: int
    message: str
    replacement: str = ""


def check_spelling(text: str, existing: Iterable[str]) -> list[Remark]:
    """Return the first syntax error; if there is none, the suspicious placeholders, in order.

    These are placeholders without default whose name does not exist, and those that look like a choice of words.
    """
    try:
        nodes = parse(text)
    except PromptSyntaxError as error:
        where = describe_position(text, error.position)
        return [Remark("syntax", error.position, min(len(text), error.position + 1), f"{error.message} ({where}).")]
    names = list(dict.fromkeys(existing))
    remarks = []
    for node in nodes:
        if isinstance(node, Slot) and "|" in (node.default or ""):
            remarks.append(_alternatives(node, names))
        elif isinstance(node, Slot) and node.name not in names and node.default is None:
            remarks.append(_unknown(node, names))
    return remarks


def alternatives(text: str, existing: Iterable[str] = ()) -> list[Remark]:
    """Return the placeholders that look like a choice of words: {red|blue|green}; none if the text is broken."""
    return [remark for remark in check_spelling(text, existing) if remark.kind == "alternatives"]


def _nearest_name(name: str, existing: Iterable[str]) -> str:
    """Return the existing name that is most similar; empty if none is similar enough."""
    by_folded = {each.casefold(): each for each in existing}
    matches = difflib.get_close_matches(name.casefold(), list(by_folded), n=1, cutoff=0.6)
    return by_folded[matches[0]] if matches else ""


def _alternatives(slot: Slot, names: list[str]) -> Remark:
    sent = f"the words “{slot.default}” are sent as they stand"
    if slot.name in names:
        message = f"Where a product has no “{slot.name}”, {sent}. Keep one default, or use an axis “{slot.name}”."
    else:
        words = f"{{{slot.name}|{slot.default}}}"
        message = f"“{slot.name}” is no placeholder here: of {words} {sent}. Use an axis for words that vary."
    return Remark("alternatives", slot.start, slot.end, message)


def _unknown(slot: Slot, names: list[str]) -> Remark:
    replacement = _nearest_name(slot.name, names)
    advice = f"Did you mean “{replacement}”?" if replacement else f"Give it a default, {{{slot.name}|…}}, or an axis."
    return Remark("unknown", slot.start, slot.end, f"No product has “{slot.name}”. {advice}", replacement)
