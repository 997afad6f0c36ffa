"""Compare a workflow with a server's schema of its nodes (/object_info): missing nodes and allowed input values.

Product: ComfyUI 0.38. An input is [type, options]; a list of values is the type itself ([["a", "b"], {}]) or, of newer
nodes, ["COMBO", {"options": ["a", "b"]}].
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from generation.engines.comfyui.graph import Range, Workflow, is_link

#: A list with more values than this is a list of files on one server, not a choice for people.
MAX_CHOICES: Final = 60
NUMBERS: Final = frozenset({"INT", "FLOAT"})


def problems_of(workflow: Workflow, schema: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Return sentences on why a server cannot run this workflow. schema: of /object_info, by class."""
    graph = workflow.graph
    problems = []
    for node_id, node in graph.items():
        class_schema = schema.get(node["class_type"])
        if class_schema is None:
            problems.append(f"{workflow.title(node_id)} is of the type {node['class_type']}, which is not installed.")
            continue
        problems += _missing_inputs(workflow, node_id, class_schema)
        for name, value in node["inputs"].items():
            if not is_link(value) and not _is_filled_by_image(workflow, node_id, name):
                problems += _value_problems(workflow, node_id, name, value, class_schema)
    return problems


def ranges_of(workflow: Workflow, schema: Mapping[str, Mapping[str, Any]]) -> dict[str, Range]:
    """Return the ranges of the marked inputs, by mark; only those that the schema limits."""
    ranges = {}
    for mark in workflow.marks.values():
        if mark.is_image:
            continue
        node_id, name = mark.places[0]
        class_schema = schema.get(workflow.graph[node_id]["class_type"])
        kind, options = _input(class_schema, name) if class_schema else ("", {})
        choices = _choices(kind, options)
        if kind in NUMBERS:
            ranges[mark.name] = Range(kind, _number(options, "min"), _number(options, "max"), _number(options, "step"))
        elif kind == "BOOLEAN":
            ranges[mark.name] = Range(kind)
        elif choices is not None and len(choices) <= MAX_CHOICES:
            ranges[mark.name] = Range(choices=tuple(str(choice) for choice in choices))
    return ranges


def _is_filled_by_image(workflow: Workflow, node_id: str, name: str) -> bool:
    return any((node_id, name) in mark.places for mark in workflow.images)


def _missing_inputs(workflow: Workflow, node_id: str, class_schema: Mapping[str, Any]) -> Iterator[str]:
    required = _input_group(class_schema, "required")
    for name in required:
        if name not in workflow.graph[node_id]["inputs"]:
            yield f"{workflow.title(node_id)} lacks its {name}."


def _value_problems(
    workflow: Workflow, node_id: str, name: str, value: Any, class_schema: Mapping[str, Any]
) -> Iterator[str]:
    kind, options = _input(class_schema, name)
    choices = _choices(kind, options)
    where = workflow.title(node_id)
    if choices is not None and not options.get("image_upload") and value not in choices:
        there = ", ".join(str(choice) for choice in choices[:5]) or "none at all"
        more = f" and {len(choices) - 5} more" if len(choices) > 5 else ""
        yield f"{where}: there is no {name} called {value!r}; there: {there}{more}."
    if kind in NUMBERS and isinstance(value, int | float):
        low, high = _number(options, "min"), _number(options, "max")
        if low is not None and value < low:
            yield f"{where}: {name} is {value:g}; at least {low:g} is needed."
        if high is not None and value > high:
            yield f"{where}: {name} is {value:g}; at most {high:g} is possible."


def _input_group(class_schema: Mapping[str, Any], part: str) -> Mapping[str, Any]:
    inputs = class_schema.get("input")
    part_inputs = inputs.get(part) if isinstance(inputs, Mapping) else None
    return part_inputs if isinstance(part_inputs, Mapping) else {}


def _input(class_schema: Mapping[str, Any], name: str) -> tuple[str, Mapping[str, Any]]:
    """Return (type, options) of one input; ("", {}) if the schema does not name it. A list of values is converted to
    the newer form, "COMBO" with options."""
    given = _input_group(class_schema, "required").get(name, _input_group(class_schema, "optional").get(name))
    if not isinstance(given, list | tuple) or not given:
        return "", {}
    options = given[1] if len(given) > 1 and isinstance(given[1], Mapping) else {}
    if isinstance(given[0], list | tuple):
        return "COMBO", {**options, "options": given[0]}
    return str(given[0]), options


def _choices(kind: str, options: Mapping[str, Any]) -> list[Any] | None:
    listed = options.get("options") if kind == "COMBO" else None
    return list(listed) if isinstance(listed, list | tuple) else None


def _number(options: Mapping[str, Any], name: str) -> float | None:
    value = options.get(name)
    return value if isinstance(value, int | float) and not isinstance(value, bool) else None
