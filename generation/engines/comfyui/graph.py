"""Read a ComfyUI workflow in API format, explain what is wrong with other files, and fill it in for one image.

Product: ComfyUI 0.38 (https://docs.comfy.org/development/comfyui-server/comms_routes). In API format a workflow is
{node id: {"class_type", "inputs": {name: value or [node id, slot]}, "_meta": {"title"}}}.
"""

from __future__ import annotations

import copy
import hashlib
import io
import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from math import inf, isfinite
from typing import Any, Final

from PIL import Image

from generation.engines.comfyui import wrappers as comfyui_wrappers
from generation.engines.service import as_mapping, as_number

Graph = dict[str, dict[str, Any]]

PREFIX_INPUT: Final = "filename_prefix"
FOLDER: Final = "proofline"  # the folder below the server's output and input folders in which our files lie
IMAGE_ROLES: Final = ("photo", "cutout", "init", "mask", "reference", "scene")
PROMPT_MARKS: Final = ("prompt", "negative")
SIZE_MARKS: Final = ("width", "height")
JOB_MARKS: Final = (*PROMPT_MARKS, "seed", *SIZE_MARKS)
IMAGE_FILES: Final = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".avif")
IMAGE_INPUT_NAMES: Final = (
    "image", "image_path", "image_file", "image_name", "image_url", "images", "url", "path", "file", "filename",
    "file_name", "file_path", "directory", "folder", "base64", "image_base64", "data",
)  # fmt: skip
"""Inputs that name the image in nodes that load images, the most usual first."""
FOLDER_SUFFIXES: Final = (" [input]", " [output]", " [temp]")
MAX_SEED: Final = 2**63 - 1
MODEL_FILES: Final = (".safetensors", ".ckpt", ".pt", ".pth", ".bin", ".gguf", ".sft", ".onnx")

EXPORT_ADVICE: Final = (
    "In ComfyUI choose Workflow → Export (API); in older versions switch on the dev mode in the settings, then "
    "Save (API Format)."
)


class InvalidWorkflow(ValueError):
    """The given text is no workflow that can run; the message says what it is and what to do."""


@dataclass(frozen=True)
class Mark:
    """One thing that a job fills in. places: (node id, input) pairs that all get the same value."""

    name: str
    places: tuple[tuple[str, str], ...]
    is_image: bool


@dataclass(frozen=True)
class Range:
    """The values that a server's schema allows for a marked input; all None if it was not asked yet."""

    type: str = ""
    minimum: float | None = None
    maximum: float | None = None
    step: float | None = None
    choices: tuple[str, ...] = ()

    @classmethod
    def from_json(cls, plain: Mapping[str, Any]) -> Range:
        limits = {name: plain[name] for name in ("type", "minimum", "maximum", "step") if plain.get(name) is not None}
        return cls(**limits, choices=tuple(str(choice) for choice in plain.get("choices", ())))

    def to_json(self) -> dict[str, Any]:
        plain = {**asdict(self), "choices": list(self.choices)}
        return {name: value for name, value in plain.items() if value not in (None, "", [])}


def parse(data: bytes) -> Graph:
    """Read a file as a graph: JSON, or a PNG that ComfyUI saved with its workflow inside. Raises InvalidWorkflow."""
    if data.startswith(b"\x89PNG"):
        data = _embedded_workflow(data)
    elif data.startswith((b"\xff\xd8\xff", b"RIFF", b"GIF8")):
        raise _not_exported("This image is no PNG; only a PNG that ComfyUI saved carries its workflow.")
    try:
        plain = json.loads(data.decode("utf-8-sig"))
    except ValueError as error:
        raise _not_exported(f"The file is no JSON ({error}).") from None
    except RecursionError:
        raise _not_exported("The file is nested too deeply for a workflow.") from None
    return read(plain)


def _not_exported(problem: str) -> InvalidWorkflow:
    """Return the error of a file that is no export in API format, with advice on how to export one."""
    return InvalidWorkflow(f"{problem} {EXPORT_ADVICE}")


def _embedded_workflow(data: bytes) -> bytes:
    try:
        with Image.open(io.BytesIO(data), formats=("PNG",)) as image:
            carried = dict(image.info)
    except (OSError, ValueError, SyntaxError):
        raise InvalidWorkflow("The image is broken, so its workflow cannot be read.") from None
    if not isinstance(carried.get("prompt"), str):
        if isinstance(carried.get("workflow"), str):
            raise _not_exported("This image carries its workflow only as ComfyUI's editor keeps it.")
        raise _not_exported("This image carries no workflow: it was saved by something else, or stripped.")
    return str(carried["prompt"]).encode(errors="replace")


def read(plain: Any) -> Graph:
    """Return parsed JSON as a graph, also if it is wrapped in other objects (wrappers.py). What ComfyUI adds to nodes
    while it runs them, such as `is_changed`, is left out. Raises InvalidWorkflow, which says how to get the right file
    if that is known."""
    graph: Graph = {}
    for node_id, node in _nodes(plain).items():
        if not isinstance(node, Mapping) or not isinstance(node.get("inputs"), Mapping):
            raise _not_exported(f"Node {node_id!r} of this file has no inputs, so it is no API-format workflow.")
        if not isinstance(node.get("class_type"), str) or not node["class_type"]:
            raise InvalidWorkflow(
                f"Node {node_id!r} has no type: the editor that saved this workflow lacked a custom node. Install it "
                "there and export again."
            )
        graph[str(node_id)] = _node(str(node_id), node)
    for node_id, name, link in links(graph):
        if link not in graph:
            raise InvalidWorkflow(f"{title(graph, node_id)} takes its {name} from node {link}, which the file lacks.")
    return graph


def _nodes(plain: Any) -> Mapping[str, Any]:
    """Return the object of nodes in a file. Raises InvalidWorkflow if there is none, or more than one."""
    graphs = comfyui_wrappers.graphs_in(plain)
    if len(graphs) > 1:
        raise InvalidWorkflow(f"This file holds {len(graphs)} workflows. Upload one of them in a file of its own.")
    if graphs:
        return graphs[0]
    if comfyui_wrappers.is_editor_workflow(plain):
        raise _not_exported(
            "This is the workflow as ComfyUI's editor keeps it, with places and colours; a server cannot run it."
        )
    if not isinstance(plain, Mapping) or not plain:
        raise _not_exported("This is no ComfyUI workflow: an object of nodes was expected.")
    if any(isinstance(node, Mapping) and "inputs" in node for node in plain.values()):
        return plain
    listed = ", ".join(str(name)[:40] for name in list(plain)[:8])
    raise _not_exported(
        f"This is no API-format workflow: the file has {listed}, and none of them is a node with its inputs."
    )


def _node(node_id: str, node: Mapping[str, Any]) -> dict[str, Any]:
    """Return a copy of a node, reduced to its title and the parts that a server needs."""
    named = as_mapping(node.get("_meta")).get("title")
    kept: dict[str, Any] = {"class_type": node["class_type"], "inputs": node["inputs"]}
    kept |= {"_meta": {"title": named}} if isinstance(named, str) else {}
    where = title({node_id: kept}, node_id)
    if problem := comfyui_wrappers.storage_problem([node_id, node["class_type"], named]):
        raise InvalidWorkflow(f"The title or type of a node {problem}. Correct it in ComfyUI and export again.")
    for name, value in node["inputs"].items():
        if problem := comfyui_wrappers.storage_problem([name, value]):
            raise InvalidWorkflow(f"{where}: its {name!r} {problem}. Correct it in ComfyUI and export again.")
    return copy.deepcopy(kept)


def is_link(value: Any) -> bool:
    return isinstance(value, list) and len(value) == 2 and isinstance(value[0], str) and isinstance(value[1], int)


def links(graph: Graph) -> Iterator[tuple[str, str, str]]:
    """Yield (node id, input name, id of the source node) for every connection."""
    for node_id, node in graph.items():
        for name, value in node["inputs"].items():
            if is_link(value):
                yield node_id, name, value[0]


def title(graph: Mapping[str, Any], node_id: str) -> str:
    """Return "“Load Checkpoint” (node 4)", with the title that the author sees, else the node's class."""
    node = graph.get(node_id) or {}
    named = as_mapping(node.get("_meta")).get("title") or node.get("class_type") or "node"
    return f"“{named}” (node {node_id})"


def plain_class(node: Mapping[str, Any]) -> str:
    """Return a node's class in lower-case letters and digits: "easy loadImage" and "LoadImage" contain "loadimage"."""
    return "".join(letter for letter in str(node.get("class_type")).lower() if letter.isalnum())


def image_inputs(node: Mapping[str, Any]) -> list[str]:
    """Return the inputs by which a node loads images from the server. The node is recognised by its class (LoadImage,
    LoadImageMask, "Image Load" …), or by a value that is an image's file name."""
    texts = {name: value for name, value in node["inputs"].items() if isinstance(value, str) and name != PREFIX_INPUT}
    kind = plain_class(node)
    usual = [name for name in IMAGE_INPUT_NAMES if name in texts]
    if usual and ("loadimage" in kind or "imageload" in kind):
        return usual[:1]
    return [name for name, value in texts.items() if _is_image_file(value)]


def _is_image_file(value: str) -> bool:
    text = value.strip()
    for folder in FOLDER_SUFFIXES:
        text = text.removesuffix(folder)
    return "\n" not in text and text.partition("?")[0].lower().endswith(IMAGE_FILES)


def models_of(graph: Mapping[str, Any]) -> dict[str, str]:
    """Return the model files that a graph names: {"4 ckpt_name": "sd_xl_base_1.0.safetensors"}."""
    return {
        f"{node_id} {name}": value
        for node_id, node in graph.items()
        for name, value in node["inputs"].items()
        if isinstance(value, str) and value.lower().endswith(MODEL_FILES)
    }


def saving_nodes(graph: Graph) -> list[str]:
    """Return nodes that write files under a prefix; only their files can be told from those of earlier equal jobs."""
    return [node_id for node_id, node in graph.items() if PREFIX_INPUT in node["inputs"]]


def marks_of(graph: Graph, inputs: Mapping[str, Any]) -> dict[str, Mark]:
    """Return the marked inputs by name. inputs: {"prompt": ["6", "text"], "seed": [["3", "seed"], ["11", "seed"]]}.
    Raises InvalidWorkflow for a place that the graph does not have."""
    marks = {}
    for name, given in inputs.items():
        places = []
        for pair in given if given and isinstance(given[0], list | tuple) else [given]:
            if not isinstance(pair, list | tuple) or len(pair) != 2:
                problem = f'The mark {name!r} is {pair!r}; it is a node and an input, such as ["6", "text"].'
                raise InvalidWorkflow(problem)
            node_id, field_name = str(pair[0]), str(pair[1])
            if field_name not in graph.get(node_id, {}).get("inputs", {}):
                problem = f"{name!r} is marked at input {field_name!r} of node {node_id}, which is not there."
                raise InvalidWorkflow(problem)
            places.append((node_id, field_name))
        loads = all(field_name in image_inputs(graph[node_id]) for node_id, field_name in places)
        marks[str(name)] = Mark(str(name), tuple(places), is_image=name in IMAGE_ROLES or loads)
    return marks


@dataclass(frozen=True)
class Workflow:
    """A graph with its marks. output_node: the node whose images are the result. ranges: by mark, as far as known."""

    graph: Graph
    marks: Mapping[str, Mark]
    output_node: str
    name: str = ""
    ranges: Mapping[str, Range] = field(default_factory=dict)

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Workflow:
        """Read the workflow in an endpoint's config; empty if there is none yet. Raises InvalidWorkflow."""
        if config.get("workflow") is None:
            return cls({}, {}, "")
        graph = read(config["workflow"])
        ranges = {str(name): Range.from_json(plain) for name, plain in dict(config.get("ranges") or {}).items()}
        marks = marks_of(graph, config.get("inputs") or {})
        output_node = _choose_output_node(graph, str(config.get("output_node") or ""))
        return cls(graph, marks, output_node, str(config.get("workflow_name") or ""), ranges)

    @property
    def images(self) -> list[Mark]:
        return [mark for mark in self.marks.values() if mark.is_image]

    @property
    def parameters(self) -> list[Mark]:
        """The marks that are parameters: everything but images and the job's own values."""
        return [mark for mark in self.marks.values() if not mark.is_image and mark.name not in JOB_MARKS]

    @property
    def models(self) -> dict[str, str]:
        return models_of(self.graph)

    def title(self, node_id: str) -> str:
        return title(self.graph, node_id)

    def digest(self) -> str:
        """Return the sha256 in hex of what decides the pixels: nodes, values and marks, without titles; then "+" and
        the greatest seed, if the seeds of jobs have to be folded into its range."""
        nodes = {
            node_id: {name: node[name] for name in ("class_type", "inputs")} for node_id, node in self.graph.items()
        }
        marks = {mark.name: [list(place) for place in mark.places] for mark in self.marks.values()}
        plain = json.dumps([nodes, marks, self.output_node], sort_keys=True, separators=(",", ":"), ensure_ascii=False)
        most = self.ranges.get("seed", Range()).maximum
        folded = f"+{int(most)}" if most is not None and most < MAX_SEED else ""
        return hashlib.sha256(plain.encode()).hexdigest() + folded

    def own_value(self, name: str) -> Any:
        """Return the workflow's own value at a mark; None if it is connected to another node."""
        node_id, field_name = self.marks[name].places[0]
        value = self.graph[node_id]["inputs"][field_name]
        return None if is_link(value) else value

    def cast(self, name: str, given: Any) -> Any:
        """Convert a parameter to the type of its input; placeholders give numbers and booleans as text. Raises
        ValueError with a sentence."""
        limits = self.ranges.get(name, Range())
        value = _cast(name, given, self.own_value(name), limits)
        if limits.choices and str(value) not in limits.choices:
            raise ValueError(f"{name} is {given!r}; it is one of {', '.join(limits.choices[:12])}.")
        if as_number(value) is not None:
            low = -inf if limits.minimum is None else limits.minimum
            high = inf if limits.maximum is None else limits.maximum
            if not low <= value <= high:
                where = self.title(self.marks[name].places[0][0])
                raise ValueError(f"{name} is {value:g}; {where} takes {low:g} to {high:g}.")
        return value

    def fold_seed(self, seed: int) -> int:
        """Return a seed that the marked node takes: folded into its range if that is known to be smaller."""
        most = self.ranges.get("seed", Range()).maximum
        return seed if most is None or seed <= most else seed % (int(most) + 1)

    def fill(self, values: Mapping[str, Any], prefix: str) -> Graph:
        """Return the graph of one image. values: by mark; absent ones stay as in the workflow. prefix: of its files,
        new for every submission, since ComfyUI does not run an equal graph again."""
        graph = copy.deepcopy(self.graph)
        for name, value in values.items():
            for node_id, field_name in self.marks[name].places:
                graph[node_id]["inputs"][field_name] = value
        for node_id in saving_nodes(graph):
            graph[node_id]["inputs"][PREFIX_INPUT] = prefix if node_id == self.output_node else f"{prefix}-{node_id}"
        return graph


def _choose_output_node(graph: Graph, chosen: str) -> str:
    saving = saving_nodes(graph)
    titles = ", ".join(title(graph, node_id) for node_id in saving)
    if chosen and chosen not in saving:
        raise InvalidWorkflow(f"Node {chosen} saves no image under a file prefix; those that do: {titles or 'none'}.")
    if not saving:
        raise InvalidWorkflow("No node of this workflow saves an image: add a Save Image node at its end.")
    if len(saving) > 1 and not chosen:
        raise InvalidWorkflow(f"Several nodes save images, {titles}: say which one's is the result.")
    return chosen or saving[0]


def _cast(name: str, given: Any, standard: Any, limits: Range) -> Any:
    input_type = limits.type or {bool: "BOOLEAN", int: "NUMBER", float: "NUMBER"}.get(type(standard), "STRING")
    text = str(given).strip()
    if input_type == "BOOLEAN":
        if text.lower() in {"true", "yes", "on", "1"}:
            return True
        if text.lower() in {"false", "no", "off", "0"}:
            return False
        raise ValueError(f"{name} is {given!r}; it is true or false.")
    if input_type in {"INT", "FLOAT", "NUMBER"}:
        try:
            number = float(text)
        except ValueError:
            number = inf
        if not isfinite(number):
            raise ValueError(f"{name} is {given!r}; it is a number.")
        if input_type == "INT" and number != int(number):
            raise ValueError(f"{name} is {given!r}; it is a whole number.")
        return int(number) if number == int(number) and input_type != "FLOAT" else number
    return given if isinstance(given, str) else text
