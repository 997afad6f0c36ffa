"""Find the graph in a file that holds more than the graph, as clients, queues and hosts of ComfyUI write it.

Known forms: {"prompt": graph} of ComfyUI's own clients, {"input": {"workflow": graph}} of RunPod, {"workflow": graph},
{"output": graph}, a history with its lists, and a graph as JSON text inside JSON.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from typing import Any, Final

DEEPEST: Final = 6
"""Levels of nesting in which a graph is looked for."""
MOST_PARTS: Final = 10_000
MOST_NESTED: Final = 100
"""Inputs of nodes are nested a few levels at most."""


def graphs_in(plain: Any) -> list[Mapping[str, Any]]:
    """The graphs in parsed JSON, of the level that is nearest to its top; equal ones once."""
    level, seen = [plain], 0
    for _ in range(DEEPEST):
        found: list[Mapping[str, Any]] = []
        for one in level:
            if _is_graph(one) and one not in found:
                found.append(one)
        if found:
            return found
        level = [part for one in level for part in _parts(one)]
        seen += len(level)
        if not level or seen > MOST_PARTS:
            break
    return []


def is_of_editor(plain: Any) -> bool:
    """Return whether this is, or holds, a workflow as ComfyUI's editor saves it, with places and colours of nodes."""
    return any(
        isinstance(one, Mapping)
        and isinstance(one.get("nodes"), list)
        and any(name in one for name in ("links", "last_node_id", "definitions", "version"))
        for one in (plain, *_parts(plain), *(part for one in _parts(plain) for part in _parts(one)))
    )


def unstorable(value: Any) -> str:
    """Return why a value of a node cannot be stored, "" if it can. Nodes that failed may leave values such as NaN."""
    waiting: list[tuple[Any, int]] = [(value, 0)]
    while waiting:
        one, depth = waiting.pop()
        if depth > MOST_NESTED:
            return "is nested too deeply"
        if isinstance(one, float) and not math.isfinite(one):
            name = "NaN" if math.isnan(one) else "Infinity"
            return f"is {name}, and {name} is no number"
        if isinstance(one, str) and any(letter == "\0" or "\ud800" <= letter <= "\udfff" for letter in one):
            return "holds a character that is no text"
        if isinstance(one, Mapping):
            waiting += [(part, depth + 1) for pair in one.items() for part in pair]
        elif isinstance(one, list | tuple):
            waiting += [(part, depth + 1) for part in one]
    return ""


def _is_graph(plain: Any) -> bool:
    """Return whether this is an object of nodes. One recognisable node is enough: a bad one is named later."""
    if not isinstance(plain, Mapping):
        return False
    return any(isinstance(node, Mapping) and "class_type" in node for node in plain.values())


def _parts(plain: Any) -> Iterator[Any]:
    if isinstance(plain, Mapping):
        yield from (part for value in plain.values() for part in _opened(value))
    elif isinstance(plain, list):
        yield from (part for value in plain for part in _opened(value))


def _opened(value: Any) -> Iterator[Any]:
    """A part, and what it holds where it is JSON in a text; parts that can hold nothing are left out."""
    if isinstance(value, Mapping | list):
        yield value
    elif isinstance(value, str) and value.lstrip().startswith("{"):
        try:
            yield json.loads(value)
        except (ValueError, RecursionError):
            return
