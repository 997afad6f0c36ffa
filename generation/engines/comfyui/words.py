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
ASIDE: Final = frozenset({"clip", "model", "vae", "image", "images", "pixels", "mask", "control_net", "style_model"})
"""Connections on which no words come."""
ENCODERS: Final = ("textencode", "wildcardencode", "promptencode", "powerprompt", "promptschedule")
"""Parts of the class names of nodes that turn words into conditioning."""
MOST_HOPS: Final = 40


def prompts(graph: Graph) -> tuple[list[Place], list[Place]]:
    """The inputs that hold the prompt, and those that hold the negative prompt.

    These are the texts before the first sampler, and those of further samplers that hold the same words or belong to a
    refiner. In a workflow without samplers they are before its guider, or in the only node that takes words.
    """
    heads = [node_id for node_id, node in graph.items() if is_link(node["inputs"].get("positive"))]
    heads.sort(key=lambda node_id: "sampler" not in plain_class(graph[node_id]))
    pairs = [(texts(graph, head, "positive"), texts(graph, head, "negative")) for head in heads]
    first = max(pairs, key=lambda pair: (bool(pair[0]), bool(pair[1])), default=([], []))
    if any(first):
        samplers = [pair for pair, head in zip(pairs, heads, strict=True) if "sampler" in plain_class(graph[head])]
        return _with_equal(graph, first, samplers)
    guiders = [
        one for one, node in graph.items() if is_link(node["inputs"].get("conditioning")) and not _sets_to_zero(node)
    ]
    guiders.sort(key=lambda node_id: "guider" not in plain_class(graph[node_id]))
    found = texts(graph, guiders[0], "conditioning") if guiders else []
    return (found, []) if found else _only(graph)


def texts(graph: Graph, node_id: str, name: str) -> list[Place]:
    """The nearest texts upstream of one connection."""
    found: list[Place] = []
    seen: set[str] = set()
    link = graph[node_id]["inputs"].get(name)
    waiting = [link[0]] if is_link(link) else []
    while waiting and len(seen) < MOST_HOPS:
        at = waiting.pop(0)
        node = graph.get(at)
        if at in seen or node is None or _sets_to_zero(node):
            continue
        seen.add(at)
        inputs = node["inputs"]
        here = [one for one in _names_of_side(name) if isinstance(inputs.get(one), str)]
        here = here or [one for one in TEXTS if isinstance(inputs.get(one), str)]
        joined = [one for one in TEXTS if is_link(inputs.get(one))]
        if here and not joined:
            found += [(at, one) for one in here]
            continue
        sides = [one for one in (name,) if name != "conditioning" and is_link(inputs.get(one))]
        followed = joined or sides or [one for one, value in inputs.items() if is_link(value) and one not in ASIDE]
        waiting += [inputs[one][0] for one in followed]
    return list(dict.fromkeys(found))


def word_inputs(graph: Graph) -> dict[Place, tuple[Place, ...]]:
    """Each input by which words reach the image, with the places that hold them: itself, or texts upstream of it.

    Nodes whose conditioning is only set to zero are left out, since their words have no effect.
    """
    found: dict[Place, tuple[Place, ...]] = {}
    for node_id, node in graph.items():
        names = _word_names(node)
        for name in [] if names and _is_zeroed(graph, node_id) else names:
            value = node["inputs"][name]
            held = texts(graph, node_id, name) if is_link(value) else [(node_id, name)]
            found[node_id, name] = tuple(held) or ((node_id, name),)
    covered = {place for places in found.values() for place in places}
    for node_id, node in graph.items():
        for name in (*SIDES, "conditioning"):
            if is_link(node["inputs"].get(name)) and not _sets_to_zero(node):
                fresh = [place for place in texts(graph, node_id, name) if place not in covered]
                found |= {place: (place,) for place in fresh}
    return found


def _names_of_side(side: str) -> tuple[str, ...]:
    """Return what loaders that hold both prompts call the one of this side."""
    return (side, f"{side}_prompt", f"text_{side}", f"prompt_{side}") if side in SIDES else ()


def _word_names(node: dict[str, Any]) -> list[str]:
    """The inputs of a node that take words: all texts of an encoder or a subgraph, else what is called a prompt."""
    inputs, kind = node["inputs"], plain_class(node)
    named = [name for side in SIDES for name in _names_of_side(side)]
    if any(part in kind for part in ENCODERS) or _is_subgraph(kind):
        names = [*TEXTS, *named, "wildcard_text"]
        return [name for name in names if isinstance(inputs.get(name), str) or is_link(inputs.get(name))]
    return [name for name in ("prompt", *named) if isinstance(inputs.get(name), str)]


def _is_subgraph(kind: str) -> bool:
    """Return whether a class name is the id of a subgraph, whose inputs its author chose."""
    return len(kind) == 32 and all(letter in "0123456789abcdef" for letter in kind)


def _is_zeroed(graph: Graph, node_id: str) -> bool:
    followers = [graph[follower] for follower, _, source in links(graph) if source == node_id]
    return bool(followers) and all(_sets_to_zero(node) for node in followers)


def _sets_to_zero(node: dict[str, Any]) -> bool:
    return "zeroout" in plain_class(node)


def _with_equal(
    graph: Graph, first: tuple[list[Place], list[Place]], others: Iterable[tuple[list[Place], list[Place]]]
) -> tuple[list[Place], list[Place]]:
    """`first` with the texts of further samplers that hold the same words, or belong to a refiner."""
    found: tuple[list[Place], list[Place]] = (list(first[0]), list(first[1]))
    for side in (0, 1):
        words = {_words_at(graph, place) for place in first[side]}
        for pair in others:
            for place in pair[side]:
                is_refiner = "refiner" in plain_class(graph[place[0]])
                if place not in [*found[0], *found[1]] and (_words_at(graph, place) in words or is_refiner):
                    found[side].append(place)
    return found


def _only(graph: Graph) -> tuple[list[Place], list[Place]]:
    """The words of a workflow in which one node takes them: an image service's node, or a sampler of its own kind."""
    negative_names = _names_of_side("negative")
    held = list(dict.fromkeys(place for places in word_inputs(graph).values() for place in places))
    negative = [place for place in held if place[1] in negative_names]
    positive = [place for place in held if place not in negative]
    is_text = all(isinstance(graph[node_id]["inputs"][name], str) for node_id, name in held)
    if not is_text or len({node_id for node_id, _ in positive}) != 1:
        return [], []
    return positive, negative


def _words_at(graph: Graph, place: Place) -> str:
    return str(graph[place[0]]["inputs"][place[1]]).strip()
