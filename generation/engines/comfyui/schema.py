"""Compare a workflow with a server's schema of its nodes (/object_info): missing nodes and allowed input values.

Product: ComfyUI 0.38. An input is [type, options]; a list of values is the type itself ([["a", "b"], {}]) or, of newer
nodes, ["COMBO", {"options": ["a", "b"]}].
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from generation.engines.comfyui.graph import Range, Workflow, is_link
from generation.engines.service import as_mapping, as_number

#: A list with more values than this is a list of files on one server, not a choice for people.
MAX_CHOICES: Final = 60
NUMBERS: Final = frozenset({"INT", "FLOAT"})


def problems_of(workflow: Workflow, schema: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Return sentences on why a server cannot run this workflow. schema: of /object_info, by class."""
    graph = workflow.graph
    problems = []
    images = {place for mark in workflow.images for place in mark.places}
    for node_id, node in graph.items():
        class_schema = schema.get(node["class_type"])
        where = workflow.title(node_id)
        if class_schema is None:
            problems.append(f"{where} is of the type {node['class_type']}, which is not installed.")
            continue
        required = _input_group(class_schema, "required")
        problems += [f"{where} lacks its {name}." for name in required if name not in node["inputs"]]
        for name, value in node["inputs"].items():
            if not is_link(value) and (node_id, name) not in images:
                problems += _value_problems(where, name, value, *_input(class_schema, name))
    return problems


def ranges_of(workflow: Workflow, schema: Mapping[str, Mapping[str, Any]]) -> dict[str, Range]:
    """Return the ranges of the marked inputs, by mark; only those that the schema limits."""
    ranges = {}
    for mark in workflow.marks.values():
        if mark.is_image:
            continue
        node_id, name = mark.places[0]
        kind, options = _input(schema.get(workflow.graph[node_id]["class_type"], {}), name)
        choices = _choices(kind, options)
        if kind in NUMBERS:
            low, high, step = (as_number(options.get(bound)) for bound in ("min", "max", "step"))
            ranges[mark.name] = Range(kind, low, high, step)
        elif kind == "BOOLEAN":
            ranges[mark.name] = Range(kind)
        elif choices is not None and len(choices) <= MAX_CHOICES:
            ranges[mark.name] = Range(choices=tuple(str(choice) for choice in choices))
    return ranges


def _value_problems(where: str, name: str, value: Any, kind: str, options: Mapping[str, Any]) -> Iterator[str]:
    choices = _choices(kind, options)
    if choices is not None and not options.get("image_upload") and value not in choices:
        there = ", ".join(str(choice) for choice in choices[:5]) or "none at all"
        more = f" and {len(choices) - 5} more" if len(choices) > 5 else ""
        yield f"{where}: there is no {name} called {value!r}; there: {there}{more}."
    if kind in NUMBERS and isinstance(value, int | float):
        low, high = as_number(options.get("min")), as_number(options.get("max"))
        if low is not None and value < low:
            yield f"{where}: {name} is {value:g}; at least {low:g} is needed."
        if high is not None and value > high:
            yield f"{where}: {name} is {value:g}; at most {high:g} is possible."


def _input_group(class_schema: Mapping[str, Any], part: str) -> Mapping[str, Any]:
    return as_mapping(as_mapping(class_schema.get("input")).get(part))


def _input(class_schema: Mapping[str, Any], name: str) -> tuple[str, Mapping[str, Any]]:
    """Return (type, options) of one input; ("", {}) if the schema does not name it. A list of values is converted to
    the newer form, "COMBO" with options."""
    given = _input_group(class_schema, "required").get(name, _input_group(class_schema, "optional").get(name))
    if not isinstance(given, list | tuple) or not given:
        return "", {}
    options = as_mapping(given[1] if len(given) > 1 else None)
    if isinstance(given[0], list | tuple):
        return "COMBO", {**options, "options": given[0]}
    return str(given[0]), options


def _choices(kind: str, options: Mapping[str, Any]) -> list[Any] | None:
    listed = options.get("options") if kind == "COMBO" else None
    return list(listed) if isinstance(listed, list | tuple) else None
