"""Cuts a rendered prompt into parts for display: coloured values, remarks of the guide, and text that is not read."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

from campaigns.prompts.rendering import RenderedPrompt, Span
from campaigns.prompts.syntax import Slot, parse
from campaigns.prompts.wording import Lint


@dataclass(frozen=True)
class Piece:
    """A part of a prompt: plain words, the value of a placeholder (`name` is set), or words with a remark of the guide.

    kind and title: the remark. is_style: words of the style preset. is_cut_off: words after the place where the model
    stops reading.
    """

    text: str
    name: str = ""
    kind: str = ""
    title: str = ""
    is_style: bool = False
    is_cut_off: bool = False


def split_text(
    text: str,
    spans: Sequence[Span] = (),
    remarks: Sequence[Lint] = (),
    *,
    style_start: int | None = None,
    unread_from: int | None = None,
) -> list[Piece]:
    """Return the pieces of `text` in order: cut at its values, its remarks, its style, and where the model stops."""
    style = len(text) if style_start is None else style_start
    end = len(text) if unread_from is None else unread_from
    parts: list[Span | Lint] = [*spans, *remarks]
    edges = {0, len(text), style, end, *(edge for part in parts for edge in (part.start, part.end))}
    pieces = []
    for start, stop in pairwise(sorted(edges)):
        name = next((span.name for span in spans if span.start <= start and stop <= span.end), "")
        remark = next((lint for lint in remarks if lint.start <= start and stop <= lint.end), None)
        kind, title = (remark.kind, remark.message) if remark else ("", "")
        pieces.append(Piece(text[start:stop], name, kind, title, start >= style, start >= end))
    return pieces


def mark_remarks(rendered: RenderedPrompt, remarks: Sequence[Lint] = (), unread_from: int | None = None) -> list[Piece]:
    """Return the whole text in pieces, and a piece for each missing required word. A remark inside a value wins."""
    pieces = split_text(
        rendered.text, rendered.spans, remarks, style_start=rendered.style_start, unread_from=unread_from
    )
    return pieces + [Piece(lint.word, "", "required", lint.message) for lint in remarks if lint.kind == "required"]


def source_place(text: str, rendered: RenderedPrompt, place: int) -> int:
    """Return the character of the prompt's source text for a place in the rendered text; its end for style words."""
    if place >= rendered.style_start:
        return len(text)
    spans = iter(rendered.spans)
    at = 0
    for start, stop, is_slot in _parts(text):
        if is_slot:
            length = len(next(spans).value)
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
    """Yield (start, end, is placeholder) of the literal parts and placeholders of a text."""
    at = 0
    for node in parse(text):
        if isinstance(node, Slot):
            yield at, node.start, False
            yield node.start, node.end, True
            at = node.end
    yield at, len(text), False
