"""Wording against the brand guide: what must be said, what is approved, what must not be said, and where."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Protocol

# Combining marks are no word characters to `re`; without them "cafe" would be found in a decomposed "café".
_WORD = r"[\w\u0300-\u036f]"


class Guide(Protocol):
    """The part of a brand guide that wording needs; plain lists of words and phrases."""

    required_wording: Sequence[str]
    approved_wording: Sequence[str]
    banned_wording: Sequence[str]


@dataclass(frozen=True)
class Lint:
    """One remark: kind "required" (absent, marked at the text's end), "banned" or "approved"; end excluded."""

    kind: str
    word: str
    start: int
    end: int
    message: str

    @property
    def is_problem(self) -> bool:
        return self.kind != "approved"


def lint(text: str, guide: Guide) -> list[Lint]:
    """Remarks on `text` in order of place. Whole words, any case; an approved phrase shields the words inside it."""
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
        Lint(
            "required",
            word,
            len(text),
            len(text),
            f"The brand guide asks for “{word}”; it is not in the text.",
        )
        for word in guide.required_wording
        if word.strip() and not any(True for _ in _places(text, word))
    ]
    return sorted(
        [*approved, *banned, *required],
        key=lambda remark: (remark.start, remark.end, remark.kind),
    )


def problems(text: str, guide: Guide) -> list[Lint]:
    """Only what the author must change: banned words and required words that are absent."""
    return [remark for remark in lint(text, guide) if remark.is_problem]


def _places(text: str, word: str) -> Iterable[tuple[int, int]]:
    if not word.strip():
        return
    for match in _pattern(word).finditer(text):
        yield match.span()


@lru_cache(maxsize=4096)
def _pattern(word: str) -> re.Pattern[str]:
    parts = (r"\s+" if char.isspace() else _either(char) for char in " ".join(_composed(word).split()))
    return re.compile(f"(?<!{_WORD}){''.join(parts)}(?!{_WORD})", re.IGNORECASE)


def _composed(word: str) -> str:
    return unicodedata.normalize("NFC", word)


def _either(char: str) -> str:
    """A character in its composed or its decomposed form: texts pasted on a Mac often hold the latter."""
    decomposed = unicodedata.normalize("NFD", char)
    return re.escape(char) if decomposed == char else f"(?:{re.escape(char)}|{re.escape(decomposed)})"
