"""Questions about a ComfyUI workflow that a person settles before it is used: images and prompts that no job fills in.

An image or a prompt that is not marked stays as its author left it, so every product would get the same one. Only a
person can tell whether that is intended: they mark the input, or say that it is meant as it is.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from generation.engines.comfyui.graph import Graph, Mark, Workflow, image_inputs, is_link, plain_class, title
from generation.engines.comfyui.marks import ALPHA_ROLES, takes_alpha
from generation.engines.comfyui.prompt_texts import Place, list_text_inputs
from generation.engines.service import as_list

CONFIRMED_SETTING: Final = "meant_as_is"
"""The setting with the inputs that people confirmed as they are: [[node, input, mark, digest of the value], …]."""
SHOWN_CHARACTERS: Final = 60

QuestionKey = tuple[str, str, str, str]


@dataclass(frozen=True)
class InputQuestion:
    """One input that would not do what people expect. is_confirmed: a person confirmed it as it is. mark: the name
    of its mark, "" if it has none. A different mark or value makes a different question."""

    place: Place
    mark: str
    value: Any
    sentence: str
    is_confirmed: bool = False

    @property
    def key(self) -> QuestionKey:
        """The form in which the endpoint's settings store the question."""
        text = json.dumps(self.value, sort_keys=True, ensure_ascii=False)
        return (*self.place, self.mark, hashlib.sha256(text.encode()).hexdigest()[:16])


def questions(workflow: Workflow, config: Mapping[str, Any]) -> list[InputQuestion]:
    """Return all questions about a workflow with its marks, including those that its endpoint's config settles."""
    confirmed = confirmed_keys(config)
    all_questions = questions_of_graph(workflow.graph, workflow.marks)
    return [replace(question, is_confirmed=question.key in confirmed) for question in all_questions]


def confirmed_keys(config: Mapping[str, Any]) -> set[QuestionKey]:
    """Return the inputs that an endpoint's settings confirm as they are; entries of another shape are ignored."""
    entries = as_list(config.get(CONFIRMED_SETTING))
    whole = (entry for entry in entries if isinstance(entry, list | tuple) and len(entry) == 4)
    return {(str(entry[0]), str(entry[1]), str(entry[2]), str(entry[3])) for entry in whole}


def questions_of_graph(graph: Graph, marks: Mapping[str, Mark]) -> list[InputQuestion]:
    """Return the questions about a graph, in the order of its nodes, as if none was settled."""
    named = {place: mark.name for mark in marks.values() for place in mark.places}
    order = {node_id: number for number, node_id in enumerate(graph)}
    all_questions = [*_image_questions(graph, named), *_prompt_questions(graph, named)]
    return sorted(all_questions, key=lambda question: order[question.place[0]])


def _image_questions(graph: Graph, named: Mapping[Place, str]) -> list[InputQuestion]:
    image_questions = []
    for node_id, name in ((node_id, name) for node_id, node in graph.items() for name in image_inputs(node)):
        mark, value = named.get((node_id, name), ""), graph[node_id]["inputs"][name]
        if sentence := _image_sentence(graph, node_id, mark, value):
            image_questions.append(InputQuestion((node_id, name), mark, value, sentence))
    return image_questions


def _image_sentence(graph: Graph, node_id: str, mark: str, value: str) -> str:
    where = title(graph, node_id)
    if not mark:
        return (
            f"{where} loads {_short(value) or 'an image'} from the server, the same for every product. Mark it as an "
            "image, such as photo or cutout, or say that it is meant as it is."
        )
    if mark not in ALPHA_ROLES and takes_alpha(graph, node_id):
        return (
            f"{where} makes its mask from transparency, and the image “{mark}” has none, so nothing would be "
            "repainted. Mark it as cutout, or say that it is meant as it is."
        )
    channel = str(graph[node_id]["inputs"].get("channel") or "alpha")
    if mark in ALPHA_ROLES and "mask" in plain_class(graph[node_id]) and channel != "alpha":
        return (
            f"{where} reads its mask from the channel {channel}, and the mask of a cut-out is its alpha channel. "
            "Choose alpha in ComfyUI and upload the workflow again, or say that it is meant as it is."
        )
    return ""


def _prompt_questions(graph: Graph, named: Mapping[Place, str]) -> list[InputQuestion]:
    has_prompt = "prompt" in named.values()
    questions_by_place: dict[Place, InputQuestion] = {}
    for place, held in list_text_inputs(graph).items():
        if place in named or any(source in named for source in held):
            continue
        at = held[0]
        value = graph[at[0]]["inputs"][at[1]]
        words = "" if is_link(value) else str(value).strip()
        if words:
            problem = f"keeps its own words, “{_short(words)}”, whatever a prompt says."
        elif not has_prompt:
            problem = "is not marked, so no words reach the image there."
        else:
            continue
        where, settle = title(graph, at[0]), "Mark it as prompt or negative, or say that it is meant as it is."
        sentence = f"The input {at[1]} of {where} {problem} {settle}"
        questions_by_place.setdefault(at, InputQuestion(at, "", value, sentence))
    return list(questions_by_place.values())


def _short(text: str) -> str:
    plain = " ".join(text.split())
    return plain if len(plain) <= SHOWN_CHARACTERS else f"{plain[: SHOWN_CHARACTERS - 1]}…"
