"""Remarks on a prompt's text: wording that the brand guide requires, approves or bans, and unknown placeholders."""

from __future__ import annotations

import difflib
import re
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Protocol

from campaigns.prompts.rendering import PromptSyntaxError, Slot, describe_position, parse

# `re` does not count combining marks as word characters; "cafe" would match in a decomposed "café".
_WORD = r"[\w\u0300-\u036f]"


class Guide(Protocol):
    """The lists of words and phrases of a brand guide that this module needs."""

    required_wording: Sequence[str]
    approved_wording: Sequence[str]
    banned_wording: Sequence[str]


@dataclass(frozen=True)
class Lint:
    """One remark of kind "required" (missing; placed at the text's end), "banned" or "approved"; end excluded."""

    kind: str
    word: str
    start: int
    end: int
    message: str

    @property
    def is_problem(self) -> bool:
        return self.kind != "approved"


def lint(text: str, guide: Guide) -> list[Lint]:
    """Return the remarks on whole words, in any case, in order; banned ones are allowed in an approved phrase."""
    approved = [
        Lint("approved", word, start, end, f"“{word}” is the brand guide's own wording.")
        for word in guide.approved_wording
        for start, end in _places(text, word)
    ]
    banned = [
        Lint("banned", word, start, end, f"The brand guide bans “{word}”.")
        for word in guide.banned_wording
        for start, end in _places(text, word)
        if not any(shield.start <= start and end <= shield.end for shield in approved)
    ]
    required = [
        Lint("required", word, len(text), len(text), f"The brand guide asks for “{word}”; it is not in the text.")
        for word in guide.required_wording
        if word.strip() and not _places(text, word)
    ]
    return sorted([*approved, *banned, *required], key=lambda remark: (remark.start, remark.end, remark.kind))


def problems(text: str, guide: Guide) -> list[Lint]:
    """Return what the author must change: banned words, and missing required words."""
    return [remark for remark in lint(text, guide) if remark.is_problem]


def _places(text: str, word: str) -> list[tuple[int, int]]:
    return [match.span() for match in _pattern(word).finditer(text)] if word.strip() else []


@lru_cache(maxsize=4096)
def _pattern(word: str) -> re.Pattern[str]:
    composed = " ".join(unicodedata.normalize("NFC", word).split())
    parts = (r"\s+" if char.isspace() else _either_form(char) for char in composed)
    return re.compile(f"(?<!{_WORD}){''.join(parts)}(?!{_WORD})", re.IGNORECASE)


def _either_form(char: str) -> str:
    """Return a pattern for a character in composed or decomposed form; text pasted on a Mac is often decomposed."""
    decomposed = unicodedata.normalize("NFD", char)
    return re.escape(char) if decomposed == char else f"(?:{re.escape(char)}|{re.escape(decomposed)})"


@dataclass(frozen=True)
class Remark:
    """A remark on text[start:end]. kind: "syntax", "unknown" or "alternatives". replacement: the most similar name."""

    kind: str
    start: int
    end: int
    message: str
    replacement: str = ""


def check_spelling(text: str, existing: Iterable[str]) -> list[Remark]:
    """Return the first syntax error, or else the placeholders that do not exist or look like a choice of words."""
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


def _alternatives(slot: Slot, names: list[str]) -> Remark:
    sent = f"the words “{slot.default}” are sent as they stand"
    if slot.name in names:
        message = f"Where a product has no “{slot.name}”, {sent}. Keep one default, or use an axis “{slot.name}”."
    else:
        words = f"{{{slot.name}|{slot.default}}}"
        message = f"“{slot.name}” is no placeholder here: of {words} {sent}. Use an axis for words that vary."
    return Remark("alternatives", slot.start, slot.end, message)


def _unknown(slot: Slot, names: list[str]) -> Remark:
    by_folded = {name.casefold(): name for name in names}
    matches = difflib.get_close_matches(slot.name.casefold(), list(by_folded), n=1, cutoff=0.6)
    replacement = by_folded[matches[0]] if matches else ""
    advice = f"Did you mean “{replacement}”?" if replacement else f"Give it a default, {{{slot.name}|…}}, or an axis."
    return Remark("unknown", slot.start, slot.end, f"No product has “{slot.name}”. {advice}", replacement)
