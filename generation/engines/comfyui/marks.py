"""A ComfyUI workflow as a person marks it: its nodes with the inputs that can be filled, and what each probably is.

Guesses follow the connections, not the titles: what reaches a sampler's `positive` is the prompt, whatever its author
called it. Class names are those of ComfyUI 0.38 and its usual custom nodes.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from generation.engines.comfyui.graph import (
    IMAGE_ROLES,
    OWN,
    PREFIX,
    SIZES,
    WORDS,
    Graph,
    Mark,
    image_inputs,
    is_link,
    links,
    plain_class,
    title,
)
from generation.engines.comfyui.words import Place, prompts

VALUES: Final = ("value", "string", "text", "int", "float", "number")
SEEDS: Final = ("seed", "noise_seed")
SAMPLER_INPUTS: Final = (("steps", "steps"), ("cfg", "guidance"), ("guidance", "guidance"), ("denoise", "strength"))
WITH_ALPHA: Final = ("cutout", "mask")
"""Roles whose image is the accepted cut-out, which has transparency."""
OTHER_SOURCES: Final = ("base64", "url", "path", "folder", "directory", "batch")
"""Parts of the class names of nodes that load images from elsewhere than the server's input folder."""
REFERENCES: Final = ("ipadapter", "stylemodel", "clipvision", "reference", "redux")
NAMES: Final = (
    "prompt", "negative", "seed", "width", "height", "photo", "cutout", "init", "mask", "reference", "scene", "steps",
    "guidance", "strength", "lora", "lora_strength",
)  # fmt: skip
"""What is offered as the name of a mark; any other name becomes a parameter too."""
NAME: Final = re.compile(r"[a-z][a-z0-9_]{0,39}")


@dataclass(frozen=True)
class Input:
    """One input of a node that holds a value, with the name of its mark, or "".

    question: what a person has to settle about it, "" for nothing; is_meant: somebody said that it is meant as it is.
    """

    node_id: str
    name: str
    value: Any
    mark: str
    question: str = ""
    is_meant: bool = False

    @property
    def key(self) -> str:
        """The name of its field in a form."""
        return f"mark|{self.node_id}|{self.name}"

    @property
    def meant_key(self) -> str:
        """The name of the field by which a person says that it is meant as it is."""
        return f"meant|{self.node_id}|{self.name}"


@dataclass(frozen=True)
class Node:
    """One node. joined: its connections in words, ("model", "“Load Checkpoint” (node 4)")."""

    node_id: str
    title: str
    class_type: str
    inputs: tuple[Input, ...]
    joined: tuple[tuple[str, str], ...]

    @property
    def is_marked(self) -> bool:
        return any(one.mark for one in self.inputs)

    @property
    def is_asked_about(self) -> bool:
        return any(one.question for one in self.inputs)


def nodes_of(graph: Graph, marks: Mapping[str, Mark]) -> list[Node]:
    """All nodes, those with marks first; within that as in the file."""
    named = {place: mark.name for mark in marks.values() for place in mark.places}
    found = []
    for node_id, node in graph.items():
        values = {name: value for name, value in node["inputs"].items() if not is_link(value) and name != PREFIX}
        inputs = [Input(node_id, name, value, named.get((node_id, name), "")) for name, value in values.items()]
        # A connection that is marked gives way to the marked value, and is shown as an input.
        over = [(name, value) for name, value in node["inputs"].items() if is_link(value)]
        inputs += [Input(node_id, name, "", named[node_id, name]) for name, _ in over if (node_id, name) in named]
        joined = tuple((name, title(graph, value[0])) for name, value in over if (node_id, name) not in named)
        meta = node.get("_meta") or {}
        found.append(
            Node(node_id, str(meta.get("title") or node["class_type"]), node["class_type"], tuple(inputs), joined)
        )
    return sorted(found, key=lambda node: not node.is_marked)


def guess(graph: Graph) -> dict[str, list[Any]]:
    """Return what the marks probably are, as an endpoint's config has them: {"prompt": ["6", "text"], …}."""
    found: dict[str, list[Place]] = {}
    positive, negative = prompts(graph)
    found["prompt"], found["negative"] = positive, [place for place in negative if place not in positive]
    found["seed"] = _unique(_literal(graph, node_id, name) for node_id, name in _having(graph, SEEDS))
    for side in ("width", "height"):
        found[side] = _unique(_literal(graph, node_id, side) for node_id in _sizes(graph))
    images = _images(graph)
    found |= images
    found |= _loras(graph)
    for name, mark in SAMPLER_INPUTS:
        places = _unique(_literal(graph, node_id, field) for node_id, field in _having(graph, (name,)))
        is_wanted = name != "denoise" or _is_encoded(graph, images)
        if len(places) == 1 and mark not in found and is_wanted:
            found[mark] = places
    return as_config(found)


def as_config(places: Mapping[str, Sequence[Place]]) -> dict[str, list[Any]]:
    """Marks as an endpoint's config has them; a place that two of them claim is the first one's."""
    taken: set[Place] = set()
    inputs: dict[str, list[Any]] = {}
    for name, claimed in places.items():
        free = [list(place) for place in claimed if place not in taken]
        taken.update(claimed)
        if free:
            inputs[name] = free[0] if len(free) == 1 else free
    return inputs


def problem_of(graph: Graph, name: str, place: Place) -> str:
    """Return why this input cannot carry this mark; "" if it can."""
    node_id, field = place
    value = graph[node_id]["inputs"].get(field)
    where = title(graph, node_id)
    loads = field in image_inputs(graph[node_id])
    if not NAME.fullmatch(name):
        return f"“{name}” at {where}: a name is of small letters, digits and _, and begins with a letter."
    if name in OWN and loads:
        return f"“{name}” cannot be an image: {where} loads one. Call it photo, init, mask or reference."
    if name in IMAGE_ROLES and not loads:
        return f"“{name}” is an image, but {field} of {where} takes none; mark a Load Image node."
    if name in WORDS and not isinstance(value, str | list):
        return f"“{name}” is text, but {field} of {where} is {value!r}."
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if name in ("seed", *SIZES) and not is_number and not is_link(value):
        return f"“{name}” is a number, but {field} of {where} is {value!r}."
    return ""


def remarks_on(marks: Mapping[str, Mark]) -> list[str]:
    """Return what follows from marks that are not there."""
    found = []
    if "prompt" not in marks:
        found.append("No input is marked as prompt: what a prompt says does not reach the picture.")
    if "seed" not in marks:
        found.append(
            "No input is marked as seed: equal words give the same picture, and one candidate is all there is."
        )
    if not {"width", "height"} <= marks.keys():
        found.append(
            "Width and height are not both marked: the workflow decides the size, and pictures are cropped and scaled."
        )
    return found


def _literal(graph: Graph, node_id: str, name: str) -> Place | None:
    """The place that holds the value of an input: itself, or what it is connected to through nodes of one value."""
    for _ in range(4):
        value = graph[node_id]["inputs"].get(name)
        if not is_link(value):
            return (node_id, name) if value is not None else None
        node_id = value[0]
        held = [one for one in (name, *VALUES) if one in graph.get(node_id, {}).get("inputs", {})]
        if not held:
            return None
        name = held[0]
    return None


def _having(graph: Graph, names: Sequence[str]) -> Iterator[Place]:
    for node_id, node in graph.items():
        for name in names:
            if name in node["inputs"]:
                yield node_id, name


def _sizes(graph: Graph) -> list[str]:
    """Nodes that decide how large the picture becomes: the empty latent and what must agree with it; else what scales
    the input image."""
    sized = {
        node_id: str(node["class_type"]).lower()
        for node_id, node in graph.items()
        if {"width", "height"} <= node["inputs"].keys()
    }
    drawn = [one for one, kind in sized.items() if "latent" in kind and "upscale" not in kind and "encode" not in kind]
    if drawn:
        return drawn + [one for one, kind in sized.items() if kind.startswith("modelsampling")]
    return [one for one, kind in sized.items() if "scale" in kind or "resize" in kind][:1]


def _images(graph: Graph) -> dict[str, list[Place]]:
    """Each loaded image by the role that its way through the graph suggests.

    Two images of one role get names of their own (photo, photo_2), except for a cut-out and a mask: a second one of
    these is the same file.
    """
    found: dict[str, list[Place]] = {}
    for node_id, node in graph.items():
        if not _is_load_image(node):
            continue
        role = _role(graph, node_id)
        name, number = role, 2
        while name in found and role not in WITH_ALPHA:
            name, number = f"{role}_{number}", number + 1
        found.setdefault(name, []).append((node_id, "image"))
    return found


def _is_load_image(node: Mapping[str, Any]) -> bool:
    """Return whether this node takes the name of an uploaded image, as ComfyUI's own nodes do."""
    kind = plain_class(node)
    is_other = any(part in kind for part in OTHER_SOURCES)
    return ("loadimage" in kind or "imageload" in kind) and not is_other and "image" in image_inputs(node)


def _role(graph: Graph, node_id: str) -> str:
    if "mask" in plain_class(graph[node_id]):
        return "mask"
    if takes_alpha(graph, node_id):
        return "cutout" if _slots(graph, node_id, 0) else "mask"
    kinds = [plain_class(graph[one]) for one in _downstream(graph, node_id)]
    for kind in kinds:
        if any(word in kind for word in REFERENCES):
            return "reference"
        if "vaeencode" in kind:
            return "init"
    return "photo"


def takes_alpha(graph: Graph, node_id: str) -> bool:
    """Return whether the mask that a Load Image node makes of its image's transparency (1 - alpha) is used."""
    if "mask" in plain_class(graph[node_id]):
        return False
    used = _slots(graph, node_id, 1)
    return bool(used) if plain_class(graph[node_id]).startswith("loadimage") else any("mask" in one for one in used)


def _slots(graph: Graph, node_id: str, slot: int) -> list[str]:
    """The names of the inputs that one output of a node goes to."""
    return [
        name
        for node in graph.values()
        for name, value in node["inputs"].items()
        if is_link(value) and value[0] == node_id and value[1] == slot
    ]


def _is_encoded(graph: Graph, images: Mapping[str, Sequence[Place]]) -> bool:
    """Return whether a sampler starts from a loaded image, so that it matters how much it changes."""
    starts = [node_id for role in ("init", "cutout") for node_id, _ in images.get(role, ())]
    return any("vaeencode" in plain_class(graph[one]) for start in starts for one in _downstream(graph, start))


def _downstream(graph: Graph, node_id: str) -> list[str]:
    """Return what a node's outputs reach, the nearest first."""
    reached, waiting = [node_id], [node_id]
    while waiting:
        at = waiting.pop(0)
        for follower, _, source in links(graph):
            if source == at and follower not in reached:
                reached.append(follower)
                waiting.append(follower)
    return reached[1:]


def _loras(graph: Graph) -> dict[str, list[Place]]:
    found: dict[str, list[Place]] = {}
    loaders = [one for one, node in graph.items() if isinstance(node["inputs"].get("lora_name"), str)]
    for number, node_id in enumerate(loaders, start=1):
        suffix = f"_{number}" if number > 1 else ""
        inputs = graph[node_id]["inputs"]
        strengths = [one for one in ("strength_model", "strength_clip") if one in inputs and not is_link(inputs[one])]
        found[f"lora{suffix}"] = [(node_id, "lora_name")]
        if strengths:
            found[f"lora_strength{suffix}"] = [(node_id, one) for one in strengths]
    return found


def _unique(places: Any) -> list[Place]:
    return list(dict.fromkeys(place for place in places if place is not None))
