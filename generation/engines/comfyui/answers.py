"""Reading the answers of a ComfyUI server: refusals and failures in words, finished jobs as results.

Formats as of ComfyUI 0.38 (https://docs.comfy.org/development/comfyui-server/comms_routes); older servers' history
entries are brought into the form of /api/jobs first.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

import httpx

from generation.engines.base import EngineError, ErrorKind
from generation.engines.comfyui.graph import FOLDER, Graph, NotAWorkflow, Workflow, is_link, models_of, parse, title
from generation.engines.service import refusal

#: Refusals that say what this one server lacks; another server of the endpoint may have it.
LACKING: Final = frozenset({"missing_node_type", "value_not_in_list"})
PICTURE_LOST: Final = frozenset({"custom_validation_failed"})
#: Exceptions of nodes that another try may not meet: the network of an API node, the driver, the disk.
PASSING: Final = (
    "connect", "timeout", "timedout", "httperror", "oserror", "ioerror", "brokenpipe", "acceleratorerror",
    "cudaerror", "deferredcudacallerror", "clientoserror", "serverdisconnected", "temporarily",
)  # fmt: skip
_RESULT: Final = re.compile(r"\d+-[0-9a-f]{8}_\d")
"""Beginning of the file names of the node whose image counts: the order's stem, then a number. Files of other nodes
have the node's id behind the stem (comfyui_graph.Workflow.filled)."""
PASSING_WORDS: Final = ("cuda error", "cudnn error", "cublas", "device-side assert", "hip error", "no space left")
#: Messages of nodes about a model file that is damaged, of another family, or incomplete.
MODEL_WORDS: Final = (
    "checkpoint", "safetensors", "state_dict", "could not detect model type", "clip input is invalid",
    "vae is invalid", "invalid vae", "model file",
)  # fmt: skip
FINAL_WORDS: Final = ("filenotfounderror", "isadirectoryerror", "permissionerror")


class Refused(EngineError):
    """The server did not take the order as it stands. types: what ComfyUI calls the reasons; node_ids: of which
    nodes."""

    def __init__(self, kind: ErrorKind, message: str, *, types: frozenset[str], node_ids: frozenset[str], log: str):
        super().__init__(kind, message, log=log)
        self.types = types
        self.node_ids = node_ids

    @property
    def is_the_servers(self) -> bool:
        """True if all that is wrong is something that this server does not have."""
        return bool(self.types) and self.types <= LACKING


@dataclass(frozen=True)
class Picture:
    """One image file of a finished job, as /view names it."""

    filename: str
    subfolder: str
    folder: str

    @property
    def query(self) -> dict[str, str]:
        return {"filename": self.filename, "subfolder": self.subfolder, "type": self.folder}


def refused(response: httpx.Response, workflow: Workflow, host: str) -> EngineError:
    """Return why POST /prompt was not answered with 200, in words with the titles of nodes."""
    if response.status_code == 413:
        message = f"{host} takes no order of this size (HTTP 413); raise its --max-upload-size."
        return EngineError(ErrorKind.INPUT, message, log=response.text[:4000])
    try:
        answer = response.json()
    except ValueError:
        answer = None
    if response.status_code != 400 or not isinstance(answer, Mapping) or "error" not in answer:
        return refusal(response, host, is_order=True)
    return _refused(answer, workflow, host, response.text[:4000])


def dropped(node_errors: Mapping[str, Any], workflow: Workflow, host: str) -> Refused:
    """Return why a 200 with node errors is a failure: the server would run only a part of the workflow."""
    sentences = list(_node_sentences(node_errors, workflow.graph, host))
    message = f"{host} would run only a part of the workflow. {' '.join(sentences)}"
    return Refused(
        _kind(node_errors, workflow),
        message,
        types=_types(node_errors),
        node_ids=frozenset(node_errors),
        log=str(dict(node_errors))[:4000],
    )


def reaches(node_errors: Mapping[str, Any], node_id: str) -> bool:
    """True if one of the errors takes this output node with it."""
    return node_id in node_errors or any(
        node_id in (one.get("dependent_outputs") or ()) for one in node_errors.values() if isinstance(one, Mapping)
    )


def _refused(answer: Mapping[str, Any], workflow: Workflow, host: str, log: str) -> Refused:
    graph = workflow.graph
    error, found = answer["error"], answer.get("node_errors")
    node_errors: Mapping[str, Any] = found if isinstance(found, Mapping) else {}
    kind = str(error.get("type", "")) if isinstance(error, Mapping) else ""
    types, node_ids, fault = _types(node_errors), frozenset(node_errors), _kind(node_errors, workflow)
    if kind == "missing_node_type":
        extra = error.get("extra_info") or {}
        node_id = str(extra.get("node_id", ""))
        named = extra.get("class_type") or graph.get(node_id, {}).get("class_type") or "?"
        message = (
            f"{host} has no node of the type {named}, which {title(graph, node_id)} is: install its custom node there."
        )
        types, node_ids, fault = frozenset({kind}), frozenset({node_id}), ErrorKind.ENDPOINT
    elif node_errors:
        message = " ".join(_node_sentences(node_errors, graph, host))
    else:
        said = error.get("message") or kind if isinstance(error, Mapping) else str(error)
        details = str(error.get("details") or "") if isinstance(error, Mapping) else ""
        message = f"{host} refused the workflow: {said}{f' ({details})' if details else ''}."
        types = frozenset({kind})
    return Refused(fault, message, types=types, node_ids=node_ids, log=log)


def _kind(node_errors: Mapping[str, Any], workflow: Workflow) -> ErrorKind:
    """Return INPUT for a refusal of a value that the job fills in, ENDPOINT for any other."""
    filled_in = {tuple(place) for mark in workflow.marks.values() for place in mark.places}
    for node_id, error in _errors(node_errors):
        extra = error.get("extra_info")
        name = extra.get("input_name") if isinstance(extra, Mapping) else None
        if (node_id, name) in filled_in:
            return ErrorKind.INPUT
    return ErrorKind.ENDPOINT if any(_errors(node_errors)) else ErrorKind.INPUT


def _types(node_errors: Mapping[str, Any]) -> frozenset[str]:
    return frozenset(str(error.get("type", "")) for _, error in _errors(node_errors))


def _errors(node_errors: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    for node_id, one in node_errors.items():
        for error in (one.get("errors") or ()) if isinstance(one, Mapping) else ():
            if isinstance(error, Mapping):
                yield str(node_id), error


def _node_sentences(node_errors: Mapping[str, Any], graph: Graph, host: str) -> Iterator[str]:
    for node_id, error in _errors(node_errors):
        yield _sentence(title(graph, node_id), error, graph, host)


def _sentence(where: str, error: Mapping[str, Any], graph: Graph, host: str) -> str:
    kind = str(error.get("type", ""))
    extra = error.get("extra_info") if isinstance(error.get("extra_info"), Mapping) else {}
    assert isinstance(extra, Mapping)
    name, given = extra.get("input_name", "an input"), extra.get("received_value")
    limits = _limits(extra.get("input_config"))
    if kind == "required_input_missing":
        return f"{where} lacks its {name}."
    if kind == "value_not_in_list":
        return f"{where}: {host} has no {name} called {given!r}."
    if kind == "value_smaller_than_min":
        return f"{where}: {name} is {given}; at least {limits.get('min', 'more')} is needed."
    if kind == "value_bigger_than_max":
        return f"{where}: {name} is {given}; at most {limits.get('max', 'less')} is possible."
    if kind == "invalid_input_type":
        return f"{where}: {name} is {given!r}, which is of the wrong kind."
    if kind == "return_type_mismatch":
        received = extra.get("received_type")
        return f"{where}: {name} is connected to an output of another kind{f' ({received})' if received else ''}."
    if kind == "bad_linked_input":
        return f"{where}: the connection of {name} is broken."
    if kind == "dependency_cycle":
        return f"{where} depends on itself in a circle."
    said = ": ".join(str(error[part]) for part in ("message", "details") if error.get(part)) or kind or "refused"
    return f"{where}: {said.rstrip('.')}."


def _limits(config: Any) -> Mapping[str, Any]:
    """The options of an input's schema, which ComfyUI gives as [type, options]."""
    if isinstance(config, list) and len(config) > 1 and isinstance(config[1], Mapping):
        return config[1]
    return {}


def failure(error: Any, graph: Graph, host: str) -> EngineError:
    """Return what a node that raised means. error: the data of an `execution_error` message."""
    if not isinstance(error, Mapping):
        return EngineError(ErrorKind.TRANSIENT, f"{host} failed without saying why.", log=str(error)[:4000])
    raised = str(error.get("exception_type") or "")
    said = str(error.get("exception_message") or "").strip()
    node_id = str(error.get("node_id") or "")
    where = title(graph, node_id) if node_id in graph else f"“{error.get('node_type') or 'node'}” (node {node_id})"
    trace = error.get("traceback")
    log = "".join(str(line) for line in trace)[-4000:] if isinstance(trace, list) else ""
    first = said.splitlines()[0][:300] if said else raised or "no reason given"
    if "outofmemory" in raised.lower() or "out of memory" in said.lower():
        return EngineError(ErrorKind.MEMORY, f"{host} ran out of memory at {where}.", log=log or said[:4000])
    plain, words = raised.lower(), said.lower()
    passes = any(one in plain for one in PASSING) or any(one in words for one in PASSING_WORDS)
    passes = passes and not any(one in plain for one in FINAL_WORDS)
    kind = ErrorKind.TRANSIENT if passes else ErrorKind.INPUT
    node_type = str(graph.get(node_id, {}).get("class_type") or error.get("node_type") or "")
    if kind == ErrorKind.INPUT and ("Loader" in node_type or any(one in words for one in MODEL_WORDS)):
        kind = ErrorKind.ENDPOINT
    return EngineError(kind, f"{where} failed on {host}: {first}", log=log or said[:4000])


def as_job(prompt_id: str, entry: Mapping[str, Any]) -> dict[str, Any]:
    """An entry of /history in the form of /api/jobs/{id}, for servers that have no such address."""
    found = entry.get("status")
    status: Mapping[str, Any] = found if isinstance(found, Mapping) else {}
    said: dict[str, Any] = {}
    for message in status.get("messages") or ():
        if isinstance(message, list | tuple) and len(message) == 2:
            said[str(message[0])] = message[1] if isinstance(message[1], Mapping) else {}
    state = "completed"
    if status.get("status_str") == "error":
        state = "cancelled" if "execution_interrupted" in said else "failed"
    ended: Mapping[str, Any] = said.get("execution_success") or said.get("execution_error") or {}
    order = entry.get("prompt")
    return {
        "id": prompt_id,
        "status": state,
        "execution_start_time": said.get("execution_start", {}).get("timestamp"),
        "execution_end_time": ended.get("timestamp"),
        "execution_error": said.get("execution_error"),
        "outputs": entry.get("outputs") or {},
        "execution_status": status,
        "workflow": {"prompt": order[2] if isinstance(order, list) and len(order) > 2 else {}},
    }


def picture(job: Mapping[str, Any], workflow: Workflow) -> tuple[Picture, int] | None:
    """(the picture that was asked for, how many the job made); None if there is none.

    Of several the first one of the marked node: a batch in the workflow makes more than was ordered. Its files bear the
    order's name; the node's id counts only where they do not, because the workflow may be another one by now.
    """
    found = job.get("outputs")
    outputs: Mapping[str, Any] = found if isinstance(found, Mapping) else {}
    there = [(str(node_id), one) for node_id, node in outputs.items() for one in _images(node)]
    ours = [one for _, one in there if one.subfolder.split("/")[0] == FOLDER and _RESULT.match(one.filename)]
    ours = ours or [one for node_id, one in there if node_id == workflow.saves_at]
    # Nodes inside of subgraphs save under ids of their own, but below our folder.
    ours = ours or [one for _, one in there if one.folder == "output" and one.subfolder.split("/")[0] == FOLDER]
    return (ours[0], len(ours)) if ours else None


def _images(outputs: Any) -> Iterator[Picture]:
    listed = outputs.get("images") if isinstance(outputs, Mapping) else None
    for one in listed if isinstance(listed, list) else ():
        if isinstance(one, Mapping) and one.get("filename"):
            yield Picture(str(one["filename"]), str(one.get("subfolder") or ""), str(one.get("type") or "output"))


def seconds(job: Mapping[str, Any]) -> float:
    """Return how long the server worked on it; 0.0 where it does not say."""
    start, end = job.get("execution_start_time"), job.get("execution_end_time")
    if isinstance(start, int | float) and isinstance(end, int | float) and end >= start:
        return round((end - start) / 1000, 3)
    return 0.0


def graph_of(job: Mapping[str, Any]) -> Graph:
    """The graph that was run, as the server kept it; empty where it does not tell."""
    kept = job.get("workflow")
    found = kept.get("prompt") if isinstance(kept, Mapping) else None
    return dict(found) if isinstance(found, Mapping) else {}


def models_in(job: Mapping[str, Any], workflow: Workflow) -> dict[str, str]:
    """The model files of the graph that was run; the workflow's where the server does not tell."""
    try:
        return models_of(graph_of(job)) or workflow.models
    except (AttributeError, KeyError, TypeError):  # a server of another make keeps it in another form
        return workflow.models


def seed_of(job: Mapping[str, Any], workflow: Workflow) -> int | None:
    """The seed that was run, read from the order as the server kept it."""
    return _seed(graph_of(job), workflow)


def seed_in(data: bytes, workflow: Workflow) -> int | None:
    """The same, read from the picture's file, which carries its graph unless the server was told to leave it out."""
    try:
        return _seed(parse(data), workflow)
    except (NotAWorkflow, RecursionError):
        return None


def _seed(graph: Graph, workflow: Workflow) -> int | None:
    if "seed" not in workflow.marks:
        return None
    node_id, name = workflow.marks["seed"].places[0]
    value = graph.get(node_id, {}).get("inputs", {}).get(name)
    return value if isinstance(value, int) and not is_link(value) else None
