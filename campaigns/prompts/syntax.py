"""The syntax of a prompt text: literal words, `{placeholder}`, `{placeholder|default}`, `{{` and `}}` for braces."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache

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
        place = start + 1 + inside.index("{")
        raise PromptSyntaxError("A placeholder cannot stand inside another", place)
    raw, bar, default = inside.partition("|")
    name = raw.strip()
    hint = ". Words do not vary by {red|blue}: write {colour} and give it an axis" if bar else ""
    if not name:
        raise PromptSyntaxError(f"This placeholder has no name; write {{colour}} or {{colour|white}}{hint}", start)
    if not is_name(name):
        message = f"{name!r} is not a name; use letters, digits and _ and begin with a letter{hint}"
        raise PromptSyntaxError(message, start + 1)
    return Slot(name, default.strip() if bar else None, start, end + 1)
