"""Read the answers of a ComfyUI server: refusals and failures as sentences, finished jobs as results, and the schema of
its nodes (/object_info), which says what it lacks for a workflow.

Formats as of ComfyUI 0.38 (https://docs.comfy.org/development/comfyui-server/comms_routes); history entries of older
servers are converted to the form of /api/jobs first. In a schema, an input is [type, options]; a list of values is the
type itself ([["a", "b"], {}]) or, of newer nodes, ["COMBO", {"options": ["a", "b"]}].
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

import httpx

from generation.engines.base import EngineError, ErrorKind
from generation.engines.comfyui import graph as comfyui_graph
from generation.engines.comfyui.graph import FOLDER, Graph, InvalidWorkflow, Range, Workflow, is_link, title
from generation.engines.service import as_list, as_mapping, as_number, json_object, refusal

#: Refusals because this server lacks something; another server of the endpoint may have it.
MISSING_ON_SERVER: Final = frozenset({"missing_node_type", "value_not_in_list"})
INPUT_IMAGE_MISSING: Final = frozenset({"custom_validation_failed"})
#: Exceptions of nodes that may not happen again: the network of an API node, the driver, the disk.
TRANSIENT_EXCEPTIONS: Final = (
    "connect", "timeout", "timedout", "httperror", "oserror", "ioerror", "brokenpipe", "acceleratorerror",
    "cudaerror", "deferredcudacallerror", "clientoserror", "serverdisconnected", "temporarily",
)  # fmt: skip
_RESULT: Final = re.compile(r"\d+-[0-9a-f]{8}_\d")
"""The beginning of the file names of the output node: the submission's stem, then a number. In the names of other
nodes' files, the node's id follows the stem (graph.Workflow.filled)."""
TRANSIENT_MESSAGES: Final = ("cuda error", "cudnn error", "cublas", "device-side assert", "hip error", "no space left")
#: Messages of nodes about a model file that is damaged, of another family, or incomplete.
MODEL_FILE_MESSAGES: Final = (
    "checkpoint", "safetensors", "state_dict", "could not detect model type", "clip input is invalid",
    "vae is invalid", "invalid vae", "model file",
)  # fmt: skip
PERMANENT_EXCEPTIONS: Final = ("filenotfounderror", "isadirectoryerror", "permissionerror")
_SENTENCES: Final = {
    "required_input_missing": "{where} lacks its {name}.",
    "value_not_in_list": "{where}: {host} has no {name} called {given!r}.",
    "value_smaller_than_min": "{where}: {name} is {given}; at least {least} is needed.",
    "value_bigger_than_max": "{where}: {name} is {given}; at most {most} is possible.",
    "invalid_input_type": "{where}: {name} is {given!r}, which is of the wrong kind.",
    "return_type_mismatch": "{where}: {name} is connected to an output of another kind{received}.",
    "bad_linked_input": "{where}: the connection of {name} is broken.",
    "dependency_cycle": "{where} depends on itself in a circle.",
}
"""Sentences about a node's input, by ComfyUI's name of the reason."""
MAX_CHOICES: Final = 60
"""A list with more values than this is a list of files on one server, not a choice for people."""
NUMBERS: Final = frozenset({"INT", "FLOAT"})


class WorkflowRefused(EngineError):
    """The server refused the submission. types: ComfyUI's names of the reasons; node_ids: the nodes they are about."""

    def __init__(self, kind: ErrorKind, message: str, *, types: frozenset[str], node_ids: frozenset[str], log: str):
        super().__init__(kind, message, log=log)
        self.types = types
        self.node_ids = node_ids


@dataclass(frozen=True)
class Image:
    """One image file of a finished job, with the names that /view uses."""

    filename: str
    subfolder: str
    folder: str


def refusal_error(response: httpx.Response, workflow: Workflow, host: str) -> EngineError:
    """Return the error for an answer to POST /prompt other than 200, in a sentence with the titles of nodes."""
    log = response.text[:4000]
    if response.status_code == 413:
        message = f"{host} refused the submission as too large (HTTP 413); raise its --max-upload-size."
        return EngineError(ErrorKind.INPUT, message, log=log)
    answer = json_object(response)
    if response.status_code != 400 or "error" not in answer:
        return refusal(response, host, is_submission=True)
    error, node_errors = as_mapping(answer["error"]), as_mapping(answer.get("node_errors"))
    types = frozenset({str(error.get("type", ""))})
    if "missing_node_type" in types:
        extra = error.get("extra_info") or {}
        node_id = str(extra.get("node_id", ""))
        named = extra.get("class_type") or workflow.graph.get(node_id, {}).get("class_type") or "?"
        where = workflow.title(node_id)
        message = f"{host} has no node of the type {named}, which {where} is: install its custom node there."
        return WorkflowRefused(ErrorKind.ENDPOINT, message, types=types, node_ids=frozenset({node_id}), log=log)
    if node_errors:
        return node_errors_refusal(node_errors, workflow, host, log)
    reason = (error.get("message") or error.get("type", "")) if error else str(answer["error"])
    details = str(error.get("details") or "")
    message = f"{host} refused the workflow: {reason}{f' ({details})' if details else ''}."
    return WorkflowRefused(ErrorKind.INPUT, message, types=types, node_ids=frozenset(), log=log)


def node_errors_refusal(
    node_errors: Mapping[str, Any], workflow: Workflow, host: str, log: str, *, opening: str = ""
) -> WorkflowRefused:
    """Return the refusal for these errors: INPUT if a value that the job fills in was refused, else ENDPOINT."""
    errors = [
        (str(node_id), error)
        for node_id, node_error in node_errors.items()
        for error in as_mapping(node_error).get("errors") or ()
        if isinstance(error, Mapping)
    ]
    filled_in = {place for mark in workflow.marks.values() for place in mark.places}
    refused = {(node_id, as_mapping(error.get("extra_info")).get("input_name")) for node_id, error in errors}
    kind = ErrorKind.ENDPOINT if errors and not refused & filled_in else ErrorKind.INPUT
    message = opening + " ".join(_sentence(workflow.title(node_id), error, host) for node_id, error in errors)
    types = frozenset(str(error.get("type", "")) for _, error in errors)
    return WorkflowRefused(kind, message, types=types, node_ids=frozenset(node_errors), log=log)


def _sentence(where: str, error: Mapping[str, Any], host: str) -> str:
    kind, extra = str(error.get("type", "")), as_mapping(error.get("extra_info"))
    if kind in _SENTENCES:
        config, received = as_list(extra.get("input_config")), extra.get("received_type")
        limits = as_mapping(config[1] if len(config) > 1 else None)  # ComfyUI gives [type, options]
        return _SENTENCES[kind].format(
            where=where,
            host=host,
            name=extra.get("input_name", "an input"),
            given=extra.get("received_value"),
            least=limits.get("min", "more"),
            most=limits.get("max", "less"),
            received=f" ({received})" if received else "",
        )
    reason = ": ".join(str(error[part]) for part in ("message", "details") if error.get(part)) or kind or "refused"
    return f"{where}: {reason.rstrip('.')}."


def execution_failure(error: Any, graph: Graph, host: str) -> EngineError:
    """Return the error for a node that raised. error: the data of an `execution_error` message."""
    if not isinstance(error, Mapping):
        return EngineError(ErrorKind.TRANSIENT, f"{host} failed without saying why.", log=str(error)[:4000])
    raised = str(error.get("exception_type") or "")
    exception_message = str(error.get("exception_message") or "").strip()
    node_id = str(error.get("node_id") or "")
    where = title(graph, node_id) if node_id in graph else f"“{error.get('node_type') or 'node'}” (node {node_id})"
    trace = error.get("traceback")
    log = "".join(str(line) for line in trace)[-4000:] if isinstance(trace, list) else ""
    log = log or exception_message[:4000]
    first = exception_message.splitlines()[0][:300] if exception_message else raised or "no reason given"
    plain, words = raised.lower(), exception_message.lower()
    if "outofmemory" in plain or "out of memory" in words:
        return EngineError(ErrorKind.MEMORY, f"{host} ran out of memory at {where}.", log=log)
    passes = _has_any(plain, TRANSIENT_EXCEPTIONS) or _has_any(words, TRANSIENT_MESSAGES)
    node_type = str(graph.get(node_id, {}).get("class_type") or error.get("node_type") or "")
    if passes and not _has_any(plain, PERMANENT_EXCEPTIONS):
        kind = ErrorKind.TRANSIENT
    else:
        is_of_model = "Loader" in node_type or _has_any(words, MODEL_FILE_MESSAGES)
        kind = ErrorKind.ENDPOINT if is_of_model else ErrorKind.INPUT
    return EngineError(kind, f"{where} failed on {host}: {first}", log=log)


def _has_any(text: str, fragments: Iterable[str]) -> bool:
    return any(fragment in text for fragment in fragments)


def job_from_history(prompt_id: str, entry: Mapping[str, Any]) -> dict[str, Any]:
    """Convert an entry of /history to the form of /api/jobs/{id}, for servers without that address."""
    status = as_mapping(entry.get("status"))
    messages = [message for message in status.get("messages") or () if isinstance(message, list | tuple)]
    events = {str(message[0]): as_mapping(message[1]) for message in messages if len(message) == 2}
    state = "completed"
    if status.get("status_str") == "error":
        state = "cancelled" if "execution_interrupted" in events else "failed"
    ended = events.get("execution_success") or events.get("execution_error") or {}
    submission = entry.get("prompt")
    return {
        "id": prompt_id,
        "status": state,
        "execution_start_time": events.get("execution_start", {}).get("timestamp"),
        "execution_end_time": ended.get("timestamp"),
        "execution_error": events.get("execution_error"),
        "outputs": entry.get("outputs") or {},
        "execution_status": status,
        "workflow": {"prompt": submission[2] if isinstance(submission, list) and len(submission) > 2 else {}},
    }


def find_image(job: Mapping[str, Any], workflow: Workflow) -> tuple[Image, int] | None:
    """Return (the requested image, the number of images that the job made); None if there is none. If there are
    several, it is the first of the output node: a batch in the workflow makes more than one. The files are found by the
    submission's stem. The node's id only counts if no file has it, as the workflow may have changed."""
    outputs = as_mapping(job.get("outputs"))
    there = [(str(node_id), image) for node_id, node in outputs.items() for image in _images(node)]
    ours = [image for _, image in there if image.subfolder.split("/")[0] == FOLDER and _RESULT.match(image.filename)]
    ours = ours or [image for node_id, image in there if node_id == workflow.output_node]
    # Nodes inside subgraphs save under other ids, but below our folder.
    ours = ours or [image for _, image in there if image.folder == "output" and image.subfolder.split("/")[0] == FOLDER]
    return (ours[0], len(ours)) if ours else None


def _images(outputs: Any) -> Iterator[Image]:
    for image in as_list(as_mapping(outputs).get("images")):
        if isinstance(image, Mapping) and image.get("filename"):
            yield Image(str(image["filename"]), str(image.get("subfolder") or ""), str(image.get("type") or "output"))


def work_seconds(job: Mapping[str, Any]) -> float:
    start, end = job.get("execution_start_time"), job.get("execution_end_time")
    if isinstance(start, int | float) and isinstance(end, int | float) and end >= start:
        return round((end - start) / 1000, 3)
    return 0.0


def graph_of(job: Mapping[str, Any]) -> Graph:
    """Return the graph that was run, as the server kept it; empty if it does not say."""
    return dict(as_mapping(as_mapping(job.get("workflow")).get("prompt")))


def graph_in_file(data: bytes) -> Graph:
    """Return the graph in an image file; empty if the server was told to leave it out."""
    try:
        return comfyui_graph.parse(data)
    except (InvalidWorkflow, RecursionError):
        return {}


def models_of_job(job: Mapping[str, Any], workflow: Workflow) -> dict[str, str]:
    """Return the model files of the graph that was run; those of the workflow if the server does not say."""
    try:
        return comfyui_graph.models_of(graph_of(job)) or workflow.models
    except (AttributeError, KeyError, TypeError):  # another server software keeps it in another form
        return workflow.models


def seed_of(graph: Graph, workflow: Workflow) -> int:
    """Return the seed in a graph that was run; 0 without one."""
    if "seed" not in workflow.marks:
        return 0
    node_id, name = workflow.marks["seed"].places[0]
    value = graph.get(node_id, {}).get("inputs", {}).get(name)
    return value if isinstance(value, int) else 0


def schema_problems(workflow: Workflow, schema: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Return sentences on why a server cannot run this workflow. schema: of /object_info, by class."""
    problems = []
    images = {place for mark in workflow.images for place in mark.places}
    for node_id, node in workflow.graph.items():
        class_schema = schema.get(node["class_type"])
        where = workflow.title(node_id)
        if class_schema is None:
            problems.append(f"{where} is of the type {node['class_type']}, which is not installed.")
            continue
        required = as_mapping(as_mapping(class_schema.get("input")).get("required"))
        problems += [f"{where} lacks its {name}." for name in required if name not in node["inputs"]]
        for name, value in node["inputs"].items():
            if not is_link(value) and (node_id, name) not in images:
                problems += _value_problems(where, name, value, *_input(class_schema, name))
    return problems


def ranges_of(workflow: Workflow, schema: Mapping[str, Mapping[str, Any]]) -> dict[str, Range]:
    """Return the ranges of the marked inputs, by mark; only those that the schema limits."""
    ranges = {}
    for mark in workflow.marks.values():
        if mark.is_image:
            continue
        node_id, name = mark.places[0]
        kind, options = _input(schema.get(workflow.graph[node_id]["class_type"], {}), name)
        choices = _choices(kind, options)
        if kind in NUMBERS:
            low, high, step = (as_number(options.get(bound)) for bound in ("min", "max", "step"))
            ranges[mark.name] = Range(kind, low, high, step)
        elif kind == "BOOLEAN":
            ranges[mark.name] = Range(kind)
        elif choices is not None and len(choices) <= MAX_CHOICES:
            ranges[mark.name] = Range(choices=tuple(str(choice) for choice in choices))
    return ranges


def _value_problems(where: str, name: str, value: Any, kind: str, options: Mapping[str, Any]) -> Iterator[str]:
    choices = _choices(kind, options)
    if choices is not None and not options.get("image_upload") and value not in choices:
        there = ", ".join(str(choice) for choice in choices[:5]) or "none at all"
        more = f" and {len(choices) - 5} more" if len(choices) > 5 else ""
        yield f"{where}: there is no {name} called {value!r}; there: {there}{more}."
    if kind in NUMBERS and isinstance(value, int | float):
        low, high = as_number(options.get("min")), as_number(options.get("max"))
        if low is not None and value < low:
            yield f"{where}: {name} is {value:g}; at least {low:g} is needed."
        if high is not None and value > high:
            yield f"{where}: {name} is {value:g}; at most {high:g} is possible."


def _input(class_schema: Mapping[str, Any], name: str) -> tuple[str, Mapping[str, Any]]:
    """Return (type, options) of one input; ("", {}) if the schema does not name it. A list of values is converted to
    the newer form, "COMBO" with options."""
    groups = as_mapping(class_schema.get("input"))
    given = {**as_mapping(groups.get("optional")), **as_mapping(groups.get("required"))}.get(name)
    if not isinstance(given, list | tuple) or not given:
        return "", {}
    options = as_mapping(given[1] if len(given) > 1 else None)
    if isinstance(given[0], list | tuple):
        return "COMBO", {**options, "options": given[0]}
    return str(given[0]), options


def _choices(kind: str, options: Mapping[str, Any]) -> list[Any] | None:
    listed = options.get("options") if kind == "COMBO" else None
    return list(listed) if isinstance(listed, list | tuple) else None
