"""Cuts texts into parts for display: a rendered prompt by what its words mean, two texts by what differs."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from itertools import pairwise
from typing import Any

from campaigns.prompts.rendering import RenderedPrompt, Slot, Span, parse
from campaigns.prompts.wording import Lint

_WORDS = re.compile(r"\{[^{}]*\}|\w+|\s+|[^\w\s]")


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
    text: str, spans: Sequence[Span] = (), remarks: Sequence[Lint] = (), *, style_start: int | None = None,
    unread_from: int | None = None,
) -> list[Piece]:  # fmt: skip
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


@dataclass(frozen=True)
class TextPart:
    """A part of a text; `is_different`: the other text does not have it here."""

    text: str
    is_different: bool


@dataclass(frozen=True)
class Difference:
    """A named value in both versions, with its parts on either side."""

    name: str
    left: tuple[TextPart, ...]
    right: tuple[TextPart, ...]

    @property
    def is_same(self) -> bool:
        return not any(stretch.is_different for stretch in (*self.left, *self.right))


def compare_words(name: str, left: str, right: str) -> Difference:
    """Compare two texts word by word; a placeholder is one word."""
    before, after = _WORDS.findall(left), _WORDS.findall(right)
    removed: list[TextPart] = []
    added: list[TextPart] = []
    steps = SequenceMatcher(None, before, after, autojunk=False).get_opcodes()
    for number, (kind, a, b, c, d) in enumerate(steps):
        # A space between two changed words belongs to the change.
        is_between = 0 < number < len(steps) - 1 and not "".join(before[a:b]).strip()
        for stretches, part in ((removed, "".join(before[a:b])), (added, "".join(after[c:d]))):
            if part:
                _add(stretches, part, kind != "equal" or is_between)
    return Difference(name, tuple(removed), tuple(added))


def _add(stretches: list[TextPart], text: str, is_different: bool) -> None:
    if stretches and stretches[-1].is_different == is_different:
        text = stretches.pop().text + text
    stretches.append(TextPart(text, is_different))


def compare_settings(left: Mapping[str, Any], right: Mapping[str, Any]) -> list[Difference]:
    """Compare two sets of named values, each as a whole; names in the order of the left, then new ones."""
    differences = []
    for name in dict.fromkeys([*left, *right]):
        before, after = (_display_value(side[name]) if name in side else "" for side in (left, right))
        removed, added = ((TextPart(side, before != after),) if side else () for side in (before, after))
        differences.append(Difference(name, removed, added))
    return differences


def _display_value(value: Any) -> str:
    """Return a value as people read it: lists with commas, other values as JSON, text without quotes."""
    if isinstance(value, str):
        return value
    if isinstance(value, list):
        return ", ".join(map(_display_value, value))
    return json.dumps(value, ensure_ascii=False)
