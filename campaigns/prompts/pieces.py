"""A rendered prompt cut into stretches for showing it: values coloured, the guide's remarks, what is not read."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

from campaigns.prompts.rendering import Rendered, Span
from campaigns.prompts.syntax import Slot, parse
from campaigns.prompts.wording import Lint


@dataclass(frozen=True)
class Piece:
    """A stretch of a prompt: plain words, the value of a placeholder (`name` set), or what the brand guide remarks
    (`kind` and `title`). `is_style`: words of the style preset; `is_unread`: behind the place where the model stops."""

    text: str
    name: str = ""
    kind: str = ""
    title: str = ""
    is_style: bool = False
    is_unread: bool = False


def cut(text: str, spans: Sequence[Span]) -> list[Piece]:
    """The pieces in order; together they are `text` again. Spans are in order and do not overlap."""
    found: list[Piece] = []
    place = 0
    for span in spans:
        found += [Piece(text[place : span.start]), Piece(text[span.start : span.end], span.name)]
        place = span.end
    return [one for one in [*found, Piece(text[place:])] if one.text]


def mark(rendered: Rendered, remarks: Sequence[Lint] = (), unread_from: int | None = None) -> list[Piece]:
    """The whole text in pieces, then one for each required word that is absent. A remark inside a value wins."""
    text, spans = rendered.text, rendered.spans
    end = len(text) if unread_from is None else unread_from
    places = {0, len(text), rendered.style_start, end}
    places |= {edge for span in spans for edge in (span.start, span.end)}
    edges = sorted(places | {edge for remark in remarks for edge in (remark.start, remark.end)})
    pieces = []
    for start, stop in pairwise(edges):
        name = next((one.name for one in spans if one.start <= start and stop <= one.end), "")
        remark = next((one for one in remarks if one.start <= start and stop <= one.end), None)
        kind, title = (remark.kind, remark.message) if remark else ("", "")
        pieces.append(Piece(text[start:stop], name, kind, title, start >= rendered.style_start, start >= end))
    absent = [Piece(one.word, "", "required", one.message) for one in remarks if one.kind == "required"]
    return pieces + absent


def source_place(text: str, rendered: Rendered, place: int) -> int:
    """The character of the prompt's own text that stands at `place` of what it became; the end for a style's words."""
    if place >= rendered.style_start:
        return len(text)
    known = iter(rendered.spans)
    at = 0
    for start, stop, is_slot in _parts(text):
        if is_slot:
            length = len(next(known).value)
            if place < at + length:
                return start
            at += length
            continue
        source = start
        while source < stop:
            if at == place:
                return source
            source += 2 if text[source : source + 2] in ("{{", "}}") else 1
            at += 1
    return len(text)


def _parts(text: str) -> Iterator[tuple[int, int, bool]]:
    """Literal stretches and placeholders of a text as places in it."""
    at = 0
    for node in parse(text):
        if isinstance(node, Slot):
            yield at, node.start, False
            yield node.start, node.end, True
            at = node.end
    yield at, len(text), False
