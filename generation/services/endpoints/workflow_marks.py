"""Marks and settled questions of an uploaded workflow, compared with the workflow that the endpoint had before.

The guesses are made anew. A mark that a person changed by hand is kept at every node that is still the same.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from generation.engines.comfyui import marks as comfyui_marks
from generation.engines.comfyui import questions as comfyui_questions
from generation.engines.comfyui.graph import Graph, NotAWorkflow, is_link, marks_of, read, saving_nodes
from generation.engines.comfyui.questions import MEANT, Meant
from generation.engines.comfyui.words import Place

Inputs = dict[str, list[Any]]


def of_upload(graph: Graph, before: Mapping[str, Any]) -> dict[str, Any]:
    """The settings "inputs", "output_node" and "meant_as_is" of an uploaded graph. before: the endpoint's config.

    Raises NotAWorkflow where no node saves an image.
    """
    old = _old_graph(before)
    marks = _marks(graph, old, before)
    inputs = comfyui_marks.as_config(_places(marks))
    meant = _still_meant(graph, old, inputs, before)
    guessed = _by_place(comfyui_marks.guess(graph))
    for one in comfyui_questions.of_graph(graph, marks_of(graph, inputs), meant):
        if not one.is_meant and not one.mark and one.place in guessed:
            marks[one.place] = guessed[one.place]  # nobody has said that it is to stay without a mark
    settings: dict[str, Any] = {"inputs": comfyui_marks.as_config(_places(marks))}
    if meant:
        settings[MEANT] = [list(one) for one in sorted(meant)]
    saving = saving_nodes(graph)
    if len(saving) > 1:
        settings["output_node"] = _output(graph, old, before, saving)
    return settings


def settled(graph: Graph, inputs: Inputs, places: Collection[Place]) -> list[list[str]]:
    """The setting "meant_as_is" for the questions at these places; a place without a question is left out."""
    asked = comfyui_questions.of_graph(graph, marks_of(graph, inputs))
    return sorted(list(one.key) for one in asked if one.place in places)


def _old_graph(before: Mapping[str, Any]) -> Graph:
    try:
        return read(before["workflow"]) if before.get("workflow") else {}
    except NotAWorkflow:
        return {}


def _marks(graph: Graph, old: Graph, before: Mapping[str, Any]) -> dict[Place, str]:
    """Place -> name: the guesses, and over them what a person changed in the guesses about the earlier workflow."""
    guessed = _by_place(comfyui_marks.guess(graph))
    if not old:
        return guessed
    kept, guessed_then = _by_place(before.get("inputs") or {}), _by_place(comfyui_marks.guess(old))
    by_hand = {
        place: kept.get(place, "")
        for place in {**guessed_then, **kept}
        if kept.get(place) != guessed_then.get(place) and _is_same(graph, old, place)
    }
    marks = {**guessed, **by_hand}
    lost = set(kept.values()) - set(marks.values())
    # A name that was in use and has no place left goes where it is guessed to belong.
    marks |= {place: name for place, name in guessed.items() if name in lost}
    return {place: name for place, name in marks.items() if name}


def _is_same(graph: Graph, old: Graph, place: Place) -> bool:
    """Return whether both graphs have this node, of the same class, and a value (or a connection) at this input."""
    node_id, name = place
    one, other = graph.get(node_id), old.get(node_id)
    if one is None or other is None or one["class_type"] != other["class_type"]:
        return False
    if name not in one["inputs"] or name not in other["inputs"]:
        return False
    return is_link(one["inputs"][name]) == is_link(other["inputs"][name])


def _still_meant(graph: Graph, old: Graph, inputs: Inputs, before: Mapping[str, Any]) -> set[Meant]:
    """Return what was said to be meant, where the node, its mark and its value are the same."""
    asked = comfyui_questions.of_graph(graph, marks_of(graph, inputs))
    kept = comfyui_questions.meant_in(before)
    return {one.key for one in asked if one.key in kept and _is_same(graph, old, one.place)}


def _output(graph: Graph, old: Graph, before: Mapping[str, Any], saving: list[str]) -> str:
    """The node whose image counts: the one that a person chose if it is still there, else the last one."""
    chosen, saved_then = str(before.get("output_node") or ""), saving_nodes(old)
    is_by_hand = bool(saved_then) and chosen != saved_then[-1]
    is_there = chosen in saving and chosen in old and old[chosen]["class_type"] == graph[chosen]["class_type"]
    return chosen if is_by_hand and is_there else saving[-1]


def _by_place(inputs: Mapping[str, Any]) -> dict[Place, str]:
    """{"prompt": ["6", "text"]} as {("6", "text"): "prompt"}."""
    return {
        (str(place[0]), str(place[1])): str(name)
        for name, given in inputs.items()
        for place in (given if given and isinstance(given[0], list) else [given])
        if isinstance(place, list) and len(place) == 2
    }


def _places(marks: Mapping[Place, str]) -> dict[str, list[Place]]:
    """{("6", "text"): "prompt"} as {"prompt": [("6", "text")]}."""
    found: dict[str, list[Place]] = {}
    for place, name in marks.items():
        found.setdefault(name, []).append(place)
    return found
