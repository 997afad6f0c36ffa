"""A rendered prompt cut at its values, for showing them coloured."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from campaigns.prompts.rendering import Span


@dataclass(frozen=True)
class Piece:
    """A stretch of a prompt: plain words, or the value of one placeholder (`name` set)."""

    text: str
    name: str = ""


def cut(text: str, spans: Sequence[Span]) -> list[Piece]:
    """The pieces in order; together they are `text` again. Spans are in order and do not overlap."""
    found: list[Piece] = []
    place = 0
    for span in spans:
        found += [Piece(text[place : span.start]), Piece(text[span.start : span.end], span.name)]
        place = span.end
    return [one for one in [*found, Piece(text[place:])] if one.text]
