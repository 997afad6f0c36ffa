"""Fills a prompt: puts values into text, negative text and parameters, and keeps their places in the text."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import Any

from campaigns.prompts.syntax import Node, Slot, parse
from core.plain_json import strings, with_strings


@dataclass(frozen=True)
class PromptSource:
    """A prompt version as plain values. `style` and `style_negative` are the preset's words, appended unchanged.

    parameters: engine parameters; strings in them, at any depth, may contain placeholders.
    """

    text: str
    negative: str = ""
    style: str = ""
    style_negative: str = ""
    parameters: Mapping[str, Any] = field(default_factory=dict)

    @cached_property
    def required_names(self) -> tuple[str, ...]:
        """Return the names of placeholders without default, in reading order; cached, as a run needs it per image."""
        return tuple(dict.fromkeys(slot.name for slot in placeholders(self) if slot.default is None))


@dataclass(frozen=True)
class Span:
    """The place of one value in the rendered text, end excluded. `is_default`: the prompt's own default was used."""

    start: int
    end: int
    name: str
    value: str
    is_default: bool = False


@dataclass(frozen=True)
class RenderedPrompt:
    """The text that will be sent, with the places of the values in `text`, and parameters without placeholders.

    style_start: the start of the style's words in `text`; the length of `text` without a style.
    """

    text: str
    negative: str
    spans: tuple[Span, ...]
    parameters: dict[str, Any]
    style_start: int = 0


class MissingValues(ValueError):
    """A placeholder without default has no value; `names` lists them in reading order."""

    def __init__(self, names: list[str]) -> None:
        super().__init__(f"No value for {', '.join(names)}.")
        self.names = names


def placeholders(source: PromptSource | str) -> list[Slot]:
    """Return all placeholders in reading order: of one text, or of all texts and parameters of a source."""
    return [node for text in _texts(source) for node in parse(text) if isinstance(node, Slot)]


def find_missing_names(source: PromptSource | str, values: Mapping[str, Any]) -> list[str]:
    """Return the names without default that have no value in `values`; each once, in reading order."""
    needed = (PromptSource(source) if isinstance(source, str) else source).required_names
    return [name for name in needed if _is_empty(values.get(name))]


def render(source: PromptSource, values: Mapping[str, Any]) -> RenderedPrompt:
    """Fill `source`; braces inside values are text. Raises MissingValues and PromptSyntaxError.

    A parameter that is only one placeholder keeps its value's type: {"fill": "{fill}"} gives 0.8.
    """
    missing_names = find_missing_names(source, values)
    if missing_names:
        raise MissingValues(missing_names)
    text, spans = _fill_text(parse(source.text), values)
    negative, _ = _fill_text(parse(source.negative), values)
    whole = _append(text, source.style)
    return RenderedPrompt(
        text=whole,
        negative=_append(negative, source.style_negative),
        spans=tuple(spans),
        parameters=with_strings(source.parameters, partial(_parameter, values=values)),
        style_start=len(whole) - len(source.style.strip()),
    )


def _texts(source: PromptSource | str) -> Iterator[str]:
    if isinstance(source, str):
        yield source
        return
    yield source.text
    yield source.negative
    yield from strings(source.parameters)


def _is_empty(value: Any) -> bool:
    return value is None or (isinstance(value, str) and not value.strip())


def _value(slot: Slot, values: Mapping[str, Any]) -> tuple[Any, bool]:
    """Return the value, and whether it is the default."""
    value = values.get(slot.name)
    return (slot.default, True) if _is_empty(value) else (value, False)


def _fill_text(nodes: tuple[Node, ...], values: Mapping[str, Any]) -> tuple[str, list[Span]]:
    parts: list[str] = []
    spans: list[Span] = []
    length = 0
    for node in nodes:
        if isinstance(node, Slot):
            value, is_default = _value(node, values)
            part = str(value).strip()
            spans.append(Span(length, length + len(part), node.name, part, is_default))
        else:
            part = node
        parts.append(part)
        length += len(part)
    return "".join(parts), spans


def _append(text: str, style: str) -> str:
    """Append the style words to the text, after a comma. Leading space of `text` stays, so that spans stay correct."""
    if not style.strip():
        return text
    kept = text.rstrip()
    if not kept:
        return style.strip()
    return f"{kept}{' ' if kept[-1] in ',.;:' else ', '}{style.strip()}"


def _parameter(text: str, values: Mapping[str, Any]) -> Any:
    nodes = parse(text)
    if len(nodes) == 1 and isinstance(nodes[0], Slot):
        value, _ = _value(nodes[0], values)
        return value.strip() if isinstance(value, str) else value
    return _fill_text(nodes, values)[0]
