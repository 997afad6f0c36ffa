"""The marks of a ComfyUI workflow: its nodes with the inputs that a person can mark, and guesses of the marks.

Guesses follow the connections, not the titles: the text that reaches a sampler's `positive` is the prompt, whatever its
author called it. Class names are those of ComfyUI 0.38 and its usual custom nodes.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from generation.engines.comfyui import graph as comfyui_graph
from generation.engines.comfyui.graph import SIZE_MARKS, Graph, Mark, image_inputs, is_link, links, plain_class, title
from generation.engines.comfyui.prompt_texts import Place, find_prompts
from generation.engines.service import as_number

VALUES: Final = ("value", "string", "text", "int", "float", "number")
SEEDS: Final = ("seed", "noise_seed")
LORA_STRENGTHS: Final = ("strength_model", "strength_clip")
SAMPLER_INPUTS: Final = (("steps", "steps"), ("cfg", "guidance"), ("guidance", "guidance"), ("denoise", "strength"))
ALPHA_ROLES: Final = ("cutout", "mask")  # roles whose image is the accepted cut-out, which has transparency
OTHER_SOURCES: Final = ("base64", "url", "path", "folder", "directory", "batch")
"""Parts of the class names of nodes that load images from other places than the server's input folder."""
REFERENCES: Final = ("ipadapter", "stylemodel", "clipvision", "reference", "redux")
NAMES: Final = (
    "prompt", "negative", "seed", "width", "height", "photo", "cutout", "init", "mask", "reference", "scene", "steps",
    "guidance", "strength", "lora", "lora_strength",
)  # fmt: skip
"""The names that are offered for a mark; any other name becomes a parameter too."""
NAME: Final = re.compile(r"[a-z][a-z0-9_]{0,39}")


@dataclass(frozen=True)
class Input:
    """One input of a node that holds a value, with the name of its mark, or "". question: the question that a person
    has to answer, "" for none; is_confirmed: a person confirmed it as it is."""

    node_id: str
    name: str
    value: Any
    mark: str
    question: str = ""
    is_confirmed: bool = False

    @property
    def key(self) -> str:
        """The name of its form field."""
        return f"mark|{self.node_id}|{self.name}"

    @property
    def confirmation_key(self) -> str:
        """The name of the form field by which a person confirms the input as it is."""
        return f"meant|{self.node_id}|{self.name}"


@dataclass(frozen=True)
class Node:
    """One node. connections: its connections in words, ("model", "“Load Checkpoint” (node 4)")."""

    node_id: str
    title: str
    class_type: str
    inputs: tuple[Input, ...]
    connections: tuple[tuple[str, str], ...]

    @property
    def is_marked(self) -> bool:
        return any(node_input.mark for node_input in self.inputs)

    @property
    def has_question(self) -> bool:
        return any(node_input.question for node_input in self.inputs)


def nodes_of(graph: Graph, marks: Mapping[str, Mark]) -> list[Node]:
    """Return all nodes, those with marks first, otherwise in the order of the file."""
    named = {place: mark.name for mark in marks.values() for place in mark.places}
    nodes = []
    for node_id, node in graph.items():
        values = {name: value for name, value in node["inputs"].items() if not is_link(value)}
        values.pop(comfyui_graph.PREFIX_INPUT, None)
        inputs = [Input(node_id, name, value, named.get((node_id, name), "")) for name, value in values.items()]
        # The value of a mark replaces a connection, so a marked connection is shown as an input.
        over = [(name, value) for name, value in node["inputs"].items() if is_link(value)]
        inputs += [Input(node_id, name, "", named[node_id, name]) for name, _ in over if (node_id, name) in named]
        connections = tuple((name, title(graph, value[0])) for name, value in over if (node_id, name) not in named)
        shown = str((node.get("_meta") or {}).get("title") or node["class_type"])
        nodes.append(Node(node_id, shown, node["class_type"], tuple(inputs), connections))
    return sorted(nodes, key=lambda node: not node.is_marked)


def guess_marks(graph: Graph) -> dict[str, list[Any]]:
    """Guess the marks, in the form of an endpoint's config: {"prompt": ["6", "text"], …}."""
    positive, negative = find_prompts(graph)
    images, size_nodes = _images(graph), _size_nodes(graph)
    seeds = [(node_id, name) for node_id, node in graph.items() for name in SEEDS if name in node["inputs"]]
    places_by_mark: dict[str, list[Place]] = {
        "prompt": positive,
        "negative": [place for place in negative if place not in positive],
        "seed": _value_places(graph, seeds),
        **{side: _value_places(graph, ((node_id, side) for node_id in size_nodes)) for side in SIZE_MARKS},
        **images,
        **_loras(graph),
    }
    starts = [node_id for role in ("init", "cutout") for node_id, _ in images.get(role, ())]
    start_followers = [plain_class(graph[node_id]) for start in starts for node_id in _downstream(graph, start)]
    for name, mark in SAMPLER_INPUTS:
        places = _value_places(graph, [(node_id, name) for node_id, node in graph.items() if name in node["inputs"]])
        # Without a loaded image that a sampler starts from, the denoising strength does not matter.
        is_wanted = name != "denoise" or any("vaeencode" in kind for kind in start_followers)
        if len(places) == 1 and mark not in places_by_mark and is_wanted:
            places_by_mark[mark] = places
    return as_config(places_by_mark)


def as_config(places: Mapping[str, Sequence[Place]]) -> dict[str, list[Any]]:
    """Return marks in the form of an endpoint's config; if two marks claim a place, the first gets it."""
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
    if name in comfyui_graph.JOB_MARKS and loads:
        return f"“{name}” cannot be an image: {where} loads one. Call it photo, init, mask or reference."
    if name in comfyui_graph.IMAGE_ROLES and not loads:
        return f"“{name}” is an image, but {field} of {where} takes none; mark a Load Image node."
    if name in comfyui_graph.PROMPT_MARKS and not isinstance(value, str | list):
        return f"“{name}” is text, but {field} of {where} is {value!r}."
    if name in ("seed", *SIZE_MARKS) and as_number(value) is None and not is_link(value):
        return f"“{name}” is a number, but {field} of {where} is {value!r}."
    return ""


def missing_mark_notes(marks: Mapping[str, Mark]) -> list[str]:
    notes = {
        "prompt": "No input is marked as prompt: what a prompt says does not reach the image.",
        "seed": "No input is marked as seed: equal words give the same image, and one candidate is all there is.",
    }
    missing = [note for name, note in notes.items() if name not in marks]
    if not set(SIZE_MARKS) <= marks.keys():
        missing.append(
            "Width and height are not both marked: the workflow decides the size, and images are cropped and scaled."
        )
    return missing


def _value_places(graph: Graph, inputs: Iterable[Place]) -> list[Place]:
    places = (_value_place(graph, node_id, name) for node_id, name in inputs)
    return list(dict.fromkeys(place for place in places if place is not None))


def _value_place(graph: Graph, node_id: str, name: str) -> Place | None:
    """Return the place that holds the value of an input: itself, or the single-value node that it is connected to."""
    for _ in range(4):
        value = graph[node_id]["inputs"].get(name)
        if not is_link(value):
            return (node_id, name) if value is not None else None
        node_id = value[0]
        held = [input_name for input_name in (name, *VALUES) if input_name in graph.get(node_id, {}).get("inputs", {})]
        if not held:
            return None
        name = held[0]
    return None


def _size_nodes(graph: Graph) -> list[str]:
    """Return the nodes that decide the size of the image: the empty latent and the nodes that must agree with it, else
    the node that scales the input image."""
    sized = {
        node_id: str(node["class_type"]).lower()
        for node_id, node in graph.items()
        if {"width", "height"} <= node["inputs"].keys()
    }
    others = ("upscale", "encode")
    drawn = [
        node_id for node_id, kind in sized.items() if "latent" in kind and not any(part in kind for part in others)
    ]
    if drawn:
        return drawn + [node_id for node_id, kind in sized.items() if kind.startswith("modelsampling")]
    return [node_id for node_id, kind in sized.items() if "scale" in kind or "resize" in kind][:1]


def _images(graph: Graph) -> dict[str, list[Place]]:
    """Return the loaded images by role, which is guessed from the nodes that they reach. Two images of one role get
    different names (photo, photo_2), except for a cut-out and a mask: a second one of these is the same file."""
    images: dict[str, list[Place]] = {}
    for node_id, node in graph.items():
        kind = plain_class(node)
        loads_image = "image" in image_inputs(node) and ("loadimage" in kind or "imageload" in kind)
        if not loads_image or any(source in kind for source in OTHER_SOURCES):
            continue
        role = _role(graph, node_id)
        name, number = role, 2
        while name in images and role not in ALPHA_ROLES:
            name, number = f"{role}_{number}", number + 1
        images.setdefault(name, []).append((node_id, "image"))
    return images


def _role(graph: Graph, node_id: str) -> str:
    if "mask" in plain_class(graph[node_id]):
        return "mask"
    if takes_alpha(graph, node_id):
        return "cutout" if _connected_inputs(graph, node_id, 0) else "mask"
    for kind in (plain_class(graph[follower]) for follower in _downstream(graph, node_id)):
        if any(word in kind for word in REFERENCES):
            return "reference"
        if "vaeencode" in kind:
            return "init"
    return "photo"


def takes_alpha(graph: Graph, node_id: str) -> bool:
    """Return whether the graph uses the mask that a Load Image node makes from transparency (1 - alpha)."""
    if "mask" in plain_class(graph[node_id]):
        return False
    is_load_image = plain_class(graph[node_id]).startswith("loadimage")
    return any(is_load_image or "mask" in input_name for input_name in _connected_inputs(graph, node_id, 1))


def _connected_inputs(graph: Graph, node_id: str, slot: int) -> list[str]:
    return [
        name
        for node in graph.values()
        for name, value in node["inputs"].items()
        if is_link(value) and value[0] == node_id and value[1] == slot
    ]


def _downstream(graph: Graph, node_id: str) -> list[str]:
    """Return the nodes that a node's outputs reach, the nearest first."""
    reached, waiting = [node_id], [node_id]
    while waiting:
        at = waiting.pop(0)
        for follower, _, source in links(graph):
            if source == at and follower not in reached:
                reached.append(follower)
                waiting.append(follower)
    return reached[1:]


def _loras(graph: Graph) -> dict[str, list[Place]]:
    places_by_mark: dict[str, list[Place]] = {}
    loaders = [loader for loader, node in graph.items() if isinstance(node["inputs"].get("lora_name"), str)]
    for number, node_id in enumerate(loaders, start=1):
        suffix = f"_{number}" if number > 1 else ""
        inputs = graph[node_id]["inputs"]
        strengths = [name for name in LORA_STRENGTHS if name in inputs and not is_link(inputs[name])]
        places_by_mark[f"lora{suffix}"] = [(node_id, "lora_name")]
        places_by_mark[f"lora_strength{suffix}"] = [(node_id, name) for name in strengths]
    return places_by_mark
