"""Find the graph in a file that holds more than the graph, such as files of ComfyUI clients, queues and hosts.

Known forms: {"prompt": graph} of ComfyUI's own clients, {"input": {"workflow": graph}} of RunPod, {"workflow": graph},
{"output": graph}, a history with its lists, and a graph as JSON text inside JSON.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import Any, Final

from generation.engines.service import as_list, as_mapping

MAX_DEPTH: Final = 6  # levels of nesting in which a graph is looked for
MAX_PARTS: Final = 10_000
MAX_NESTING: Final = 100  # inputs of nodes are nested a few levels at most


def graphs_in(plain: Any) -> list[Mapping[str, Any]]:
    """Return the graphs in parsed JSON, from the highest level that has any; equal ones once."""
    level, seen = [plain], 0
    for _ in range(MAX_DEPTH):
        graphs: list[Mapping[str, Any]] = []
        for value in level:
            # One recognisable node is enough: bad ones are reported later.
            is_graph = any("class_type" in as_mapping(node) for node in as_mapping(value).values())
            if is_graph and value not in graphs:
                graphs.append(value)
        if graphs:
            return graphs
        level = [part for value in level for part in _parts(value)]
        seen += len(level)
        if seen > MAX_PARTS:
            break
    return []


def is_editor_workflow(plain: Any) -> bool:
    """Return whether this is, or holds, a workflow in the format of ComfyUI's editor, with positions and colours."""
    names = {"links", "last_node_id", "definitions", "version"}
    parts = (plain, *_parts(plain), *(part for outer in _parts(plain) for part in _parts(outer)))
    return any(isinstance(part.get("nodes"), list) and names & part.keys() for part in map(as_mapping, parts))


def storage_problem(value: Any) -> str:
    """Return why a node's value cannot be stored; "" if it can. Nodes that failed may leave values such as NaN."""
    waiting: list[tuple[Any, int]] = [(value, 0)]
    while waiting:
        current, depth = waiting.pop()
        if depth > MAX_NESTING:
            return "is nested too deeply"
        if isinstance(current, float) and not math.isfinite(current):
            name = "NaN" if math.isnan(current) else "Infinity"
            return f"is {name}, and {name} is no number"
        if isinstance(current, str) and any(letter == "\0" or "\ud800" <= letter <= "\udfff" for letter in current):
            return "holds a character that is no text"
        if isinstance(current, Mapping):
            waiting += [(part, depth + 1) for pair in current.items() for part in pair]
        elif isinstance(current, list | tuple):
            waiting += [(part, depth + 1) for part in current]
    return ""


def _parts(plain: Any) -> Iterator[Any]:
    for value in as_mapping(plain).values() or as_list(plain):
        if isinstance(value, Mapping | list):
            yield value
        elif isinstance(value, str) and value.lstrip().startswith("{"):
            with suppress(ValueError, RecursionError):
                yield json.loads(value)
