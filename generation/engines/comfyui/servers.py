"""One of the ComfyUI servers of an endpoint: its queue, its files, and what is known of its state.

Product: ComfyUI 0.38 (https://docs.comfy.org/development/comfyui-server/comms_routes). `/api/jobs` is asked first;
older servers do not have that address and are asked for their queue and history.
"""

from __future__ import annotations

import base64
import threading
from collections import OrderedDict
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from time import monotonic
from typing import Any, Final
from urllib.parse import quote, urlencode, urlsplit

import httpx

from generation.engines.base import EngineError, ErrorKind, ImageRef, Pending
from generation.engines.comfyui.answers import Image, job_from_history
from generation.engines.comfyui.graph import FOLDER, Graph
from generation.engines.service import Service, as_list, as_mapping, json_object, parse_json, refusal

QUEUE_CHECK_SECONDS: Final = 1.0
"""Seconds for which a server's queue depth is used before it is asked for again."""
AWAY_SECONDS: Final = 15.0  # seconds for which a server that did not answer is not asked again
LACKING_SECONDS: Final = 60.0
"""Seconds for which a server that lacks a model or a node gets no further submission."""
STATES: Final = frozenset({"pending", "in_progress", "completed", "failed", "cancelled"})
MARKER: Final = "proofline"
HISTORY_SEARCHED: Final = 200
EXTENSIONS: Final = ((b"\xff\xd8", "jpg"), (b"RIFF", "webp"), (b"II*\0", "tiff"), (b"MM\0*", "tiff"))
"""File name extensions by the first bytes of an image; any other is a PNG."""
INPUTS_KEPT: Final = 4096
MODEL_LIST_SECONDS: Final = 30.0
"""Seconds for which a server's list of its model files is used before it is asked for again."""


@dataclass(frozen=True)
class Submission:
    """A submission, parsed from its remote id "{prompt id}@{server}#{job}". Older ids do not have the job."""

    prompt_id: str
    server: str
    job: str

    @classmethod
    def parse(cls, remote_id: str) -> Submission:
        prompt_id, _, rest = remote_id.partition("@")
        server, _, job = rest.partition("#")
        return cls(prompt_id, server, job)

    def __str__(self) -> str:
        return f"{self.prompt_id}@{self.server}#{self.job}"

    @property
    def file_stem(self) -> str:
        """The beginning of its file names. It is new for every submission, because the prompt id is."""
        return f"{self.job}-{self.prompt_id[:8]}"

    @property
    def image(self) -> Image:
        """The first file that ComfyUI's Save Image node writes for it."""
        return Image(f"{self.file_stem}_00001_.png", FOLDER, "output")


class Server:
    """One ComfyUI server at a base address. Used from many threads."""

    def __init__(self, url: str, *, headers: Mapping[str, str], timeout_seconds: float, ca: str) -> None:
        self.service = Service(url, headers=headers, timeout_seconds=timeout_seconds, ca=ca)
        parts = urlsplit(self.service.base_url)
        self.name = (parts.netloc.rsplit("@", 1)[-1] + parts.path).rstrip("/")
        self.guard = threading.Lock()
        self.away_since: float | None = None
        self.away_error: EngineError | None = None
        self._queue_length = 0.0
        self._queue_checked_at = -QUEUE_CHECK_SECONDS
        self._queue_lock = threading.Lock()
        self._skip_until = 0.0
        self.lacking_reason = ""
        self._inputs: OrderedDict[str, str] = OrderedDict()
        self._listed: dict[str, str] = {}
        self._listed_at = -MODEL_LIST_SECONDS

    def queue_length(self) -> float | None:
        """Return the known length of the queue; None if the server is away or lacks something that the workflow needs.

        One thread asks at a time and the others use the last answer, so that a dead server delays one submission only.
        """
        now = monotonic()
        if now < self._skip_until:
            return None
        if now - self._queue_checked_at >= QUEUE_CHECK_SECONDS and self._queue_lock.acquire(blocking=False):
            try:
                self._update_queue_length()
            finally:
                self._queue_lock.release()
        return None if self.away_since is not None else self._queue_length

    def _update_queue_length(self) -> None:
        try:
            waiting = float(self.get_json("prompt")["exec_info"]["queue_remaining"])
        except EngineError as error:
            self.mark_away(error)
        except (KeyError, TypeError, ValueError):
            self.mark_away(EngineError(ErrorKind.TRANSIENT, f"{self.name} does not answer as a ComfyUI does."))
        else:
            with self.guard:
                self._queue_length, self._queue_checked_at, self.lacking_reason = waiting, monotonic(), ""

    def mark_away(self, error: EngineError) -> None:
        with self.guard:
            self.away_error = error
            self.away_since = self.away_since if self.away_since is not None else monotonic()
            self._skip_until = monotonic() + AWAY_SECONDS

    def mark_lacking(self, words: str) -> None:
        with self.guard:
            self.lacking_reason = words
            self._skip_until = monotonic() + LACKING_SECONDS

    def away_seconds(self) -> float:
        return 0.0 if self.away_since is None else monotonic() - self.away_since

    def request(self, method: str, path: str, **options: Any) -> httpx.Response:
        """Call Service.request and record whether the server is up. A gateway's 502, 503 or 504 is not its answer."""
        try:
            response = self.service.request(method, path, **options)
            if response.status_code in {502, 503, 504}:
                raise refusal(response, self.name)
        except EngineError as error:
            self.mark_away(error)
            raise
        self.away_since = self.away_error = None
        return response

    def input_name(self, ref: ImageRef, load: Callable[[ImageRef], bytes]) -> str:
        """Return the name by which the server loads this image. The first call uploads it."""
        with self.guard:
            existing_name = self._inputs.get(ref.sha256)
        if existing_name:
            return existing_name
        data = load(ref)
        kind = next((extension for start, extension in EXTENSIONS if data.startswith(start)), "png")
        name = self._upload(f"{ref.sha256[:32]}.{kind}", data)
        with self.guard:
            self._inputs[ref.sha256] = name
            while len(self._inputs) > INPUTS_KEPT:
                self._inputs.popitem(last=False)
        return name

    def forget_inputs(self) -> None:
        with self.guard:
            self._inputs.clear()

    def _upload(self, name: str, data: bytes) -> str:
        """Upload an input image. Return the name to load it by; the server may change it. Raises EngineError."""
        response = self.request(
            "POST",
            "upload/image",
            files={"image": (name, data, "application/octet-stream")},
            data={"type": "input", "subfolder": FOLDER, "overwrite": "false"},
        )
        if response.status_code != 200:
            raise refusal(response, self.name, words="it did not take the input image")
        stored = parse_json(response, self.name)
        if not isinstance(stored, Mapping) or not stored.get("name"):
            raise EngineError(ErrorKind.TRANSIENT, f"{self.name} did not say under which name it keeps the image.")
        folder = str(stored.get("subfolder") or "")
        return f"{folder}/{stored['name']}" if folder else str(stored["name"])

    def submit(self, graph: Graph, marker: str, client_id: str) -> httpx.Response:
        """POST the graph under our own id. Raises EngineError (UNCERTAIN) if it may have arrived without an answer."""
        body = {
            "prompt": graph,
            "prompt_id": marker,
            "client_id": client_id,
            # Servers that use ids of their own are searched for the marker. Nobody sees previews.
            "extra_data": {MARKER: marker, "preview_method": "none"},
        }
        try:
            response = self.service.submit("POST", "prompt", json=body)
        except EngineError as error:
            if error.kind != ErrorKind.RATE:  # RATE: it was held back before it was sent
                self.mark_away(error)
            raise
        if response.status_code == 200:
            with self.guard:
                self._queue_length += 1  # until the server's own number is asked for again
        return response

    def find(self, marker: str) -> str | None:
        """Return the id of the submission with this marker; None without one. Raises EngineError if it cannot ask."""
        response = self.request("GET", f"api/jobs/{quote(marker)}")
        if has_jobs_api(response):
            return marker if response.status_code == 200 else None
        running, waiting = self._queue()
        for entry in [*running, *waiting]:
            if marker in (entry[1], _marker_of(entry)):
                return str(entry[1])
        for prompt_id, entry in self.get_json("history", params={"max_items": HISTORY_SEARCHED}).items():
            if marker in (prompt_id, _marker_of(entry.get("prompt"))):
                return str(prompt_id)
        return marker if marker in self.get_json(f"history/{quote(marker)}") else None

    def job_states(self, prompt_ids: Collection[str]) -> dict[str, Pending | Mapping[str, Any] | None]:
        """Return for each id: Pending, the ended job in the form of /api/jobs, or None if it is unknown there."""
        response = self.request("GET", "api/jobs", params={"status": "pending,in_progress", "sort_order": "asc"})
        if has_jobs_api(response) and response.status_code == 200:
            at_work = _pending_by_id(_jobs(parse_json(response, self.name)))
            return {prompt_id: at_work.get(prompt_id) or self._job(prompt_id) for prompt_id in prompt_ids}
        running, waiting = self._queue()
        ids = [(str(entry[1]), "in_progress") for entry in running]
        ids += [(str(entry[1]), "pending") for entry in sorted(waiting, key=lambda entry: entry[0])]
        at_work = _pending_by_id(ids)
        return {prompt_id: at_work.get(prompt_id) or self._job_from_history(prompt_id) for prompt_id in prompt_ids}

    def _job(self, prompt_id: str) -> Pending | Mapping[str, Any] | None:
        response = self.request("GET", f"api/jobs/{quote(prompt_id)}")
        if response.status_code == 404 and has_jobs_api(response):
            return None
        if response.status_code != 200:
            raise refusal(response, self.name)
        job = parse_json(response, self.name)
        if not isinstance(job, Mapping) or job.get("status") not in STATES:
            raise EngineError(ErrorKind.TRANSIENT, f"{self.name} answered something else than a job.")
        return Pending() if job.get("status") in {"pending", "in_progress"} else job

    def _job_from_history(self, prompt_id: str) -> Mapping[str, Any] | None:
        entry = self.get_json(f"history/{quote(prompt_id)}").get(prompt_id)
        return job_from_history(prompt_id, entry) if isinstance(entry, Mapping) else None

    def _queue(self) -> tuple[list[Any], list[Any]]:
        """Return (running, waiting), each a list of [number, id, graph, extra data, outputs]."""
        queue = self.get_json("queue")
        return list(queue.get("queue_running") or ()), list(queue.get("queue_pending") or ())

    def get_json(self, path: str, **options: Any) -> Mapping[str, Any]:
        response = self.request("GET", path, **options)
        if response.status_code != 200:
            raise refusal(response, self.name)
        answer = parse_json(response, self.name)
        if not isinstance(answer, Mapping):
            raise EngineError(ErrorKind.TRANSIENT, f"{self.name} answered {path} with something else than an object.")
        return answer

    def cancel(self, prompt_id: str) -> None:
        """Cancel this submission. A bare /interrupt, which stops any running job, is never sent."""
        if self.request("POST", f"api/jobs/{quote(prompt_id)}/cancel").status_code == 200:
            return
        self.request("POST", "queue", json={"delete": [prompt_id]})
        running, _ = self._queue()
        if any(str(entry[1]) == prompt_id for entry in running):
            self.request("POST", "interrupt", json={"prompt_id": prompt_id})

    def image_url(self, image: Image) -> str:
        query = {"filename": image.filename, "subfolder": image.subfolder, "type": image.folder}
        return self.service.address(f"view?{urlencode(query)}")

    def has_file(self, image: Image) -> bool:
        """Return whether this file is on the server's disk; files outlast its history."""
        return self.request("HEAD", self.image_url(image)).status_code == 200

    def model_states(self, names: Collection[str]) -> dict[str, str]:
        """Return the size and time of change of these model files by name; {} if the server does not say. ComfyUI lists
        its model folders below /experiment/models since 0.3.40. It is asked once per MODEL_LIST_SECONDS."""
        now = monotonic()
        if now - self._listed_at >= MODEL_LIST_SECONDS:
            listed = self._list_models(set(names))
            with self.guard:
                self._listed, self._listed_at = listed, now
        return {name: state for name, state in self._listed.items() if name in names}

    def _list_models(self, names: set[str]) -> dict[str, str]:
        states: dict[str, str] = {}
        for folder in self._entries_at("experiment/models"):
            if names <= states.keys():
                break
            for model_file in self._entries_at(f"experiment/models/{quote(str(folder.get('name')), safe='')}"):
                if model_file.get("name") in names:
                    states[str(model_file["name"])] = f"{model_file.get('size')} bytes, {model_file.get('modified')}"
        return states

    def _entries_at(self, path: str) -> list[Mapping[str, Any]]:
        response = self.request("GET", path)
        answer = parse_json(response, self.name) if response.status_code == 200 else None
        return [entry for entry in as_list(answer) if isinstance(entry, Mapping)]

    def schema(self, classes: Sequence[str]) -> dict[str, Mapping[str, Any]]:
        """Return the server's schema of these node classes; those that it does not have are absent."""
        schemas = {name: self.get_json(f"object_info/{quote(name, safe='')}").get(name) for name in classes}
        return {name: schema for name, schema in schemas.items() if isinstance(schema, Mapping)}


def credentials(secret: str) -> dict[str, str]:
    """Return the header for a secret: "user:password" is basic authentication, anything else a bearer token."""
    if not secret:
        return {}
    if ":" in secret:
        return {"Authorization": f"Basic {base64.b64encode(secret.encode()).decode()}"}
    return {"Authorization": f"Bearer {secret}"}


def has_jobs_api(response: httpx.Response) -> bool:
    """Return whether /api/jobs exists on the server: an older one answers 404 or 405 too, but not in JSON."""
    if response.status_code == 200:
        return "json" in response.headers.get("content-type", "")
    return response.status_code == 404 and "error" in json_object(response)


def _jobs(answer: Any) -> list[tuple[str, str]]:
    """Return (id, status) of running and waiting jobs: the running first, then in the order in which they will run."""
    jobs = [job for job in as_list(as_mapping(answer).get("jobs")) if isinstance(job, Mapping)]
    jobs.sort(key=lambda job: (job.get("status") != "in_progress", job.get("priority") or 0))
    return [(str(job.get("id")), str(job.get("status"))) for job in jobs]


def _pending_by_id(listed: Sequence[tuple[str, str]]) -> dict[str, Pending]:
    return {
        prompt_id: Pending(ahead=0 if status == "in_progress" else place)
        for place, (prompt_id, status) in enumerate(listed)
    }


def _marker_of(submission: Any) -> Any:
    return as_mapping(next(iter(as_list(submission)[3:]), None)).get(MARKER)
