"""Reads a prompt (words, `{placeholder}`, `{placeholder|default}`, `{{` and `}}` for braces), fills it with values."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property, lru_cache, partial
from typing import Any

from core.plain_json import strings, with_strings

# A name starts with a letter or underscore; inner spaces, dots and hyphens let feed columns keep their names.
_NAME = re.compile(r"[^\W\d]\w*(?:[ .\-]\w+)*")
_STRUCTURE = re.compile(r"\{\{|\}\}|[{}]")


class PromptSyntaxError(ValueError):
    """The text cannot be read as a prompt. `position` counts characters from 0; `message` is for the author."""

    def __init__(self, message: str, position: int) -> None:
        super().__init__(f"{message} (character {position + 1})")
        self.message = message
        self.position = position


@dataclass(frozen=True)
class Slot:
    """One placeholder: its name, its default (None without one), and its place in the text, end excluded."""

    name: str
    default: str | None
    start: int
    end: int


Node = str | Slot


def is_name(text: str) -> bool:
    return bool(_NAME.fullmatch(text))


def describe_position(text: str, position: int) -> str:
    """Return the position for people: "character 15", or "line 2, character 3" if the text has several lines."""
    line = text.count("\n", 0, position)
    character = position - (text.rfind("\n", 0, position) + 1) + 1
    return f"line {line + 1}, character {character}" if "\n" in text.strip("\n") else f"character {position + 1}"


@lru_cache(maxsize=1024)
def parse(text: str) -> tuple[Node, ...]:
    """Return the text as literal strings and slots, in order; raises PromptSyntaxError with the position."""
    nodes: list[Node] = []
    literal: list[str] = []
    at = 0
    while match := _STRUCTURE.search(text, at):
        literal.append(text[at : match.start()])
        at = match.end()
        if match.group() == "{":
            slot = _slot(text, match.start())
            nodes += ["".join(literal), slot] if any(literal) else [slot]
            literal, at = [], slot.end
        elif match.group() == "}":
            raise PromptSyntaxError("This } closes nothing; write }} for a brace in the text", match.start())
        else:
            literal.append(match.group()[0])
    literal.append(text[at:])
    if any(literal):
        nodes.append("".join(literal))
    return tuple(nodes)


def _slot(text: str, start: int) -> Slot:
    end = text.find("}", start)
    if end < 0:
        raise PromptSyntaxError("This { is never closed; write {{ for a brace in the text", start)
    inside = text[start + 1 : end]
    if "{" in inside:
        raise PromptSyntaxError("A placeholder cannot stand inside another", start + 1 + inside.index("{"))
    raw, bar, default = inside.partition("|")
    name = raw.strip()
    hint = ". Words do not vary by {red|blue}: write {colour} and give it an axis" if bar else ""
    if not name:
        raise PromptSyntaxError(f"This placeholder has no name; write {{colour}} or {{colour|white}}{hint}", start)
    if not is_name(name):
        message = f"{name!r} is not a name; use letters, digits and _ and begin with a letter{hint}"
        raise PromptSyntaxError(message, start + 1)
    return Slot(name, default.strip() if bar else None, start, end + 1)


@dataclass(frozen=True)
class PromptSource:
    """A prompt version as plain values. `style` and `style_negative` are the preset's words, appended unchanged."""

    text: str
    negative: str = ""
    style: str = ""
    style_negative: str = ""
    parameters: Mapping[str, Any] = field(default_factory=dict)  # strings in them, at any depth, may have placeholders

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
    """The text that will be sent, with the places of the values in `text`, and parameters without placeholders."""

    text: str
    negative: str
    spans: tuple[Span, ...]
    parameters: dict[str, Any]
    style_start: int = 0  # where the style's words start in `text`; the length of `text` without a style


class MissingValues(ValueError):
    """A placeholder without default has no value; `names` lists them in reading order."""

    def __init__(self, names: list[str]) -> None:
        super().__init__(f"No value for {', '.join(names)}.")
        self.names = names


def placeholders(source: PromptSource | str) -> list[Slot]:
    """Return all placeholders in reading order: of one text, or of all texts and parameters of a source."""
    texts = [source] if isinstance(source, str) else [source.text, source.negative, *strings(source.parameters)]
    return [node for text in texts for node in parse(text) if isinstance(node, Slot)]


def find_missing_names(source: PromptSource | str, values: Mapping[str, Any]) -> list[str]:
    """Return the names without default that have no value in `values`; each once, in reading order."""
    needed = (PromptSource(source) if isinstance(source, str) else source).required_names
    return [name for name in needed if _is_empty(values.get(name))]


def render(source: PromptSource, values: Mapping[str, Any]) -> RenderedPrompt:
    """Fill `source`; braces inside values are text. Raises MissingValues and PromptSyntaxError.

    A parameter that is only one placeholder keeps its value's type: {"fill": "{fill}"} gives 0.8.
    """
    if missing_names := find_missing_names(source, values):
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


def _is_empty(value: Any) -> bool:
    return value is None or (isinstance(value, str) and not value.strip())


def _value(slot: Slot, values: Mapping[str, Any]) -> tuple[Any, bool]:
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
