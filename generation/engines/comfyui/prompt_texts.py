"""Find the words of a ComfyUI workflow: the inputs that hold its prompt, and the nodes that turn words into an image.

Connections decide, not titles. Class names are those of ComfyUI 0.38 and of node packs that many people use.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from generation.engines.comfyui.graph import Graph, is_link, links, plain_class

Place = tuple[str, str]

TEXTS: Final = (
    "text", "text_g", "text_l", "clip_l", "clip_g", "t5xxl", "llama", "bert", "mt5xl", "user_prompt", "prompt",
    "string", "value",
)  # fmt: skip
SIDES: Final = ("positive", "negative")
NON_TEXT_INPUTS: Final = frozenset(
    {"clip", "model", "vae", "image", "images", "pixels", "mask", "control_net", "style_model"}
)
"""Connections that carry no text."""
ENCODERS: Final = ("textencode", "wildcardencode", "promptencode", "powerprompt", "promptschedule")
"""Parts of the class names of nodes that turn words into conditioning."""
MAX_HOPS: Final = 40


def find_prompts(graph: Graph) -> tuple[list[Place], list[Place]]:
    """Return the inputs that hold the prompt, and those that hold the negative prompt. These are the texts before the
    first sampler, and those of further samplers that hold the same words or belong to a refiner. A workflow without
    samplers has them before its guider, or in the only node that takes text."""
    heads = [node_id for node_id, node in graph.items() if is_link(node["inputs"].get("positive"))]
    heads.sort(key=lambda node_id: "sampler" not in plain_class(graph[node_id]))
    pairs = [(find_texts(graph, head, "positive"), find_texts(graph, head, "negative")) for head in heads]
    first = max(pairs, key=lambda pair: (bool(pair[0]), bool(pair[1])), default=([], []))
    if any(first):
        samplers = [pair for pair, head in zip(pairs, heads, strict=True) if "sampler" in plain_class(graph[head])]
        return _add_equal_texts(graph, first, samplers)
    conditioned = [node_id for node_id, node in graph.items() if is_link(node["inputs"].get("conditioning"))]
    guiders = [node_id for node_id in conditioned if not _sets_to_zero(graph[node_id])]
    guiders.sort(key=lambda node_id: "guider" not in plain_class(graph[node_id]))
    places = find_texts(graph, guiders[0], "conditioning") if guiders else []
    return (places, []) if places else _texts_of_single_node(graph)


def find_texts(graph: Graph, node_id: str, name: str) -> list[Place]:
    """Return the nearest texts upstream of one connection."""
    places: list[Place] = []
    seen: set[str] = set()
    link = graph[node_id]["inputs"].get(name)
    waiting = [link[0]] if is_link(link) else []
    while waiting and len(seen) < MAX_HOPS:
        source_id = waiting.pop(0)
        node = graph.get(source_id)
        if source_id in seen or node is None or _sets_to_zero(node):
            continue
        seen.add(source_id)
        inputs = node["inputs"]
        texts = [key for key, value in inputs.items() if isinstance(value, str)]
        linked = [key for key, value in inputs.items() if is_link(value)]
        here = [key for key in _names_of_side(name) if key in texts] or [key for key in TEXTS if key in texts]
        joined = [key for key in TEXTS if key in linked]
        if here and not joined:
            places += [(source_id, key) for key in here]
            continue
        side = [name] if name in linked and name != "conditioning" else []
        followed = joined or side or [key for key in linked if key not in NON_TEXT_INPUTS]
        waiting += [inputs[key][0] for key in followed]
    return list(dict.fromkeys(places))


def list_text_inputs(graph: Graph) -> dict[Place, tuple[Place, ...]]:
    """Return each input whose text affects the image, with the places that hold it: itself, or texts upstream of it.
    Nodes whose conditioning is set to zero are left out, since their text has no effect."""
    places_by_input: dict[Place, tuple[Place, ...]] = {}
    for node_id, node in graph.items():
        names = _text_input_names(node)
        followers = [graph[follower] for follower, _, source in links(graph) if source == node_id] if names else []
        if followers and all(_sets_to_zero(follower) for follower in followers):
            continue
        for name in names:
            held = find_texts(graph, node_id, name) if is_link(node["inputs"][name]) else [(node_id, name)]
            places_by_input[node_id, name] = tuple(held) or ((node_id, name),)
    covered = {place for places in places_by_input.values() for place in places}
    for node_id, node in graph.items():
        for name in (*SIDES, "conditioning"):
            if is_link(node["inputs"].get(name)) and not _sets_to_zero(node):
                fresh = [place for place in find_texts(graph, node_id, name) if place not in covered]
                places_by_input |= {place: (place,) for place in fresh}
    return places_by_input


def _names_of_side(side: str) -> tuple[str, ...]:
    """Return the input names for this side's prompt in loaders that hold both prompts."""
    return (side, f"{side}_prompt", f"text_{side}", f"prompt_{side}") if side in SIDES else ()


def _text_input_names(node: dict[str, Any]) -> list[str]:
    """Return a node's inputs that take text: all texts of an encoder or a subgraph, else those called a prompt."""
    inputs, kind = node["inputs"], plain_class(node)
    named = [name for side in SIDES for name in _names_of_side(side)]
    is_subgraph = len(kind) == 32 and all(letter in "0123456789abcdef" for letter in kind)  # the class is its id
    if is_subgraph or any(part in kind for part in ENCODERS):
        names = [*TEXTS, *named, "wildcard_text"]
        return [name for name in names if isinstance(inputs.get(name), str) or is_link(inputs.get(name))]
    return [name for name in ("prompt", *named) if isinstance(inputs.get(name), str)]


def _sets_to_zero(node: dict[str, Any]) -> bool:
    return "zeroout" in plain_class(node)


def _add_equal_texts(
    graph: Graph, first: tuple[list[Place], list[Place]], others: Iterable[tuple[list[Place], list[Place]]]
) -> tuple[list[Place], list[Place]]:
    """Return `first` and the texts of further samplers that hold the same words or belong to a refiner."""
    merged: tuple[list[Place], list[Place]] = (list(first[0]), list(first[1]))
    for side in (0, 1):
        words = {_text_at(graph, place) for place in first[side]}
        for pair in others:
            for place in pair[side]:
                is_refiner = "refiner" in plain_class(graph[place[0]])
                if place not in [*merged[0], *merged[1]] and (_text_at(graph, place) in words or is_refiner):
                    merged[side].append(place)
    return merged


def _texts_of_single_node(graph: Graph) -> tuple[list[Place], list[Place]]:
    """Return the texts of a workflow in which one node takes text: an image service's node or a special sampler."""
    held = list(dict.fromkeys(place for places in list_text_inputs(graph).values() for place in places))
    negative = [place for place in held if place[1] in _names_of_side("negative")]
    positive = [place for place in held if place not in negative]
    is_text = all(isinstance(graph[node_id]["inputs"][name], str) for node_id, name in held)
    if not is_text or len({node_id for node_id, _ in positive}) != 1:
        return [], []
    return positive, negative


def _text_at(graph: Graph, place: Place) -> str:
    return str(graph[place[0]]["inputs"][place[1]]).strip()
