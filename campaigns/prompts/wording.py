"""Compares a text with the brand guide: required, approved and banned wording, and its places."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Protocol

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
    """Return the remarks on `text`, in order of place.

    Only whole words match, in any case. Banned words inside an approved phrase are allowed.
    """
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
