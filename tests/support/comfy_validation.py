"""The validation of the tests' ComfyUI server: errors of a graph before it is queued, in ComfyUI's own words."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from tests.support.comfy_nodes import Node


def refusal(kind: str, message: str, extra: Any = None, node_errors: Any = None) -> dict[str, Any]:
    """Return the body of a 400."""
    error = {"type": kind, "message": message, "details": message, "extra_info": extra or {}}
    return {"error": error, "node_errors": node_errors or {}}


def reached(node_errors: dict[str, Any], output: str) -> bool:
    """Return whether an error affects this output node."""
    return any(output in error["dependent_outputs"] for error in node_errors.values())


def validate(
    graph: dict[str, Any], classes: dict[str, Node], files: Collection[str]
) -> tuple[dict[str, Any] | None, dict[str, Any]]:
    """Return (why the whole graph is refused, or None; errors by node, of outputs that would be left out).

    files: what lies on the server's disk, "input/a.png".
    """
    for node_id, node in graph.items():
        if node.get("class_type") not in classes:
            titled = node.get("_meta", {}).get("title")
            extra = {"node_id": node_id, "class_type": node.get("class_type"), "node_title": titled}
            return refusal("missing_node_type", "Node type not found", extra), {}
    outputs = [node_id for node_id, node in graph.items() if classes[node["class_type"]].is_output]
    if not outputs:
        return refusal("prompt_no_outputs", "Prompt has no outputs"), {}
    node_errors: dict[str, Any] = {}
    for output in outputs:
        _validate_from(output, output, graph, classes, files, node_errors)
    if all(reached(node_errors, output) for output in outputs):
        return refusal(
            "prompt_outputs_failed_validation", "Prompt outputs failed validation", node_errors=node_errors
        ), {}
    return None, node_errors


def _validate_from(node_id: str, output: str, graph: Any, classes: Any, files: Any, node_errors: Any) -> None:
    node = graph[node_id]
    errors = []
    for name, (kind, options) in classes[node["class_type"]].required.items():
        value = node["inputs"].get(name)
        if isinstance(value, list):
            _validate_from(value[0], output, graph, classes, files, node_errors)
        else:
            errors += _input_errors(name, kind, options, value, files)
    if errors:
        entry = node_errors.setdefault(
            node_id, {"errors": errors, "dependent_outputs": [], "class_type": node["class_type"]}
        )
        if output not in entry["dependent_outputs"]:
            entry["dependent_outputs"].append(output)


def _input_errors(name: str, kind: Any, options: dict[str, Any], value: Any, files: Any) -> list[dict[str, Any]]:
    def error(problem: str, message: str, details: str) -> list[dict[str, Any]]:
        extra = {"input_name": name, "input_config": [kind, options], "received_value": value}
        return [{"type": problem, "message": message, "details": details, "extra_info": extra}]

    if value is None:
        return error("required_input_missing", "Required input is missing", name)
    if options.get("image_upload"):
        if f"input/{value}" not in files:
            return error(
                "custom_validation_failed", "Custom validation failed for node", f"Invalid image file: {value}"
            )
        return []
    choices = kind if isinstance(kind, list) else options.get("options")
    if choices is not None:
        return (
            []
            if value in choices
            else error("value_not_in_list", "Value not in list", f"{name}: '{value}' not in {choices}")
        )
    if kind in ("INT", "FLOAT"):
        try:
            number = float(value)
        except ValueError:
            return error("invalid_input_type", "Failed to convert an input value", f"{name}, {value}")
        if number < options["min"]:
            return error("value_smaller_than_min", "Value smaller than min", name)
        if number > options["max"]:
            return error("value_bigger_than_max", "Value bigger than max", name)
    return []
