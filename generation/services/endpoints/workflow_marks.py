"""Marks and settled questions of an uploaded workflow, compared with the workflow that the endpoint had before.

The guesses are made anew. A mark that a person changed by hand is kept at every node that is still the same.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from generation.engines.comfyui import marks as comfyui_marks
from generation.engines.comfyui import questions as comfyui_questions
from generation.engines.comfyui.graph import Graph, InvalidWorkflow, is_link, marks_of, read, saving_nodes
from generation.engines.comfyui.prompt_texts import Place
from generation.engines.comfyui.questions import CONFIRMED_SETTING, QuestionKey

Inputs = dict[str, list[Any]]


def settings_of_upload(graph: Graph, before: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings "inputs", "output_node" and "meant_as_is" of an uploaded graph. before: the present config.

    Raises InvalidWorkflow if no node saves an image.
    """
    old = _old_graph(before)
    marks = _marks(graph, old, before)
    inputs = comfyui_marks.as_config(group_places(marks))
    meant = _confirmed_inputs(graph, old, inputs, before)
    guessed = _by_place(comfyui_marks.guess_marks(graph))
    for question in comfyui_questions.questions_of_graph(graph, marks_of(graph, inputs), meant):
        if not question.is_confirmed and not question.mark and question.place in guessed:
            marks[question.place] = guessed[question.place]  # nobody has confirmed that it needs no mark
    settings: dict[str, Any] = {"inputs": comfyui_marks.as_config(group_places(marks))}
    if meant:
        settings[CONFIRMED_SETTING] = [list(key) for key in sorted(meant)]
    saving = saving_nodes(graph)
    if len(saving) > 1:
        settings["output_node"] = _output(graph, old, before, saving)
    return settings


def settle_questions(graph: Graph, inputs: Inputs, places: Collection[Place]) -> list[list[str]]:
    """Return the setting "meant_as_is" for the questions at these places; places without a question are left out."""
    questions = comfyui_questions.questions_of_graph(graph, marks_of(graph, inputs))
    return sorted(list(question.key) for question in questions if question.place in places)


def _old_graph(before: Mapping[str, Any]) -> Graph:
    try:
        return read(before["workflow"]) if before.get("workflow") else {}
    except InvalidWorkflow:
        return {}


def _marks(graph: Graph, old: Graph, before: Mapping[str, Any]) -> dict[Place, str]:
    """Return the names by place: the guesses, replaced by what a person had changed in the earlier workflow."""
    guessed = _by_place(comfyui_marks.guess_marks(graph))
    if not old:
        return guessed
    kept, guessed_then = _by_place(before.get("inputs") or {}), _by_place(comfyui_marks.guess_marks(old))
    by_hand = {
        place: kept.get(place, "")
        for place in {**guessed_then, **kept}
        if kept.get(place) != guessed_then.get(place) and _is_same(graph, old, place)
    }
    marks = {**guessed, **by_hand}
    lost = set(kept.values()) - set(marks.values())
    # A name that was used and has no place any more is put where it is guessed to belong.
    marks |= {place: name for place, name in guessed.items() if name in lost}
    return {place: name for place, name in marks.items() if name}


def _is_same(graph: Graph, old: Graph, place: Place) -> bool:
    """Return whether both graphs have this node, of the same class, and a value (or a connection) at this input."""
    node_id, name = place
    node, old_node = graph.get(node_id), old.get(node_id)
    if node is None or old_node is None or node["class_type"] != old_node["class_type"]:
        return False
    if name not in node["inputs"] or name not in old_node["inputs"]:
        return False
    return is_link(node["inputs"][name]) == is_link(old_node["inputs"][name])


def _confirmed_inputs(graph: Graph, old: Graph, inputs: Inputs, before: Mapping[str, Any]) -> set[QuestionKey]:
    """Return the inputs that were confirmed as meant, if the node, its mark and its value are the same."""
    questions = comfyui_questions.questions_of_graph(graph, marks_of(graph, inputs))
    kept = comfyui_questions.confirmed_keys(before)
    return {question.key for question in questions if question.key in kept and _is_same(graph, old, question.place)}


def _output(graph: Graph, old: Graph, before: Mapping[str, Any], saving: list[str]) -> str:
    """Return the node whose image is used: the one that a person chose if it still exists, else the last one."""
    chosen, saved_then = str(before.get("output_node") or ""), saving_nodes(old)
    is_by_hand = bool(saved_then) and chosen != saved_then[-1]
    is_there = chosen in saving and chosen in old and old[chosen]["class_type"] == graph[chosen]["class_type"]
    return chosen if is_by_hand and is_there else saving[-1]


def _by_place(inputs: Mapping[str, Any]) -> dict[Place, str]:
    """Return {"prompt": ["6", "text"]} as {("6", "text"): "prompt"}."""
    return {
        (str(place[0]), str(place[1])): str(name)
        for name, listed in inputs.items()
        for place in (listed if listed and isinstance(listed[0], list) else [listed])
        if isinstance(place, list) and len(place) == 2
    }


def group_places(marks: Mapping[Place, str]) -> dict[str, list[Place]]:
    """Return {("6", "text"): "prompt"} as {"prompt": [("6", "text")]}."""
    by_name: dict[str, list[Place]] = {}
    for place, name in marks.items():
        by_name.setdefault(name, []).append(place)
    return by_name
