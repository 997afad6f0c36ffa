"""A ComfyUI server for tests on a real socket: queue, one worker that draws, history, jobs, uploads, websocket.

It behaves like ComfyUI 0.38, including errors; `has_jobs=False` and `keeps_ids=False` make it an older version. Its
disk (input, output) survives `restart()`; its memory (queue, history, cache) does not.
"""

from __future__ import annotations

import hashlib
import json
import re
import threading
import time
import uuid
from collections import OrderedDict
from typing import Any, ClassVar

from tests.support import comfy_nodes, comfy_validation
from tests.support.comfy_nodes import Interrupted
from tests.support.comfy_sockets import Sockets
from tests.support.comfy_validation import reached, refusal
from tests.support.form_data import read_form
from tests.support.remote_server import Remote, Request, Response, plain

NOT_FOUND = Response(404, b"404: Not Found", {"Content-Type": "text/plain; charset=utf-8"})
NAMES = (
    (re.compile(r"^(?:/api)?/jobs/[0-9a-f-]{36}/cancel$"), "/api/jobs/{id}/cancel"),
    (re.compile(r"^(?:/api)?/jobs/[0-9a-f-]{36}$"), "/api/jobs/{id}"),
    (re.compile(r"^/history/[0-9a-f-]{36}$"), "/history/{id}"),
    (re.compile(r"^/object_info/.+$"), "/object_info/{class}"),
)


class ComfyServer(Remote):
    """One server.

    step_seconds: the time of a sampler step. vram_pixels: how many pixels fit on the card. token: the required
    `Authorization`. renames: an upload gets another name although its name is free. is_paused: the worker starts
    nothing.
    """

    limited: ClassVar[frozenset[str]] = frozenset({"POST /prompt"})

    def __init__(
        self,
        *,
        step_seconds: float = 0.0,
        checkpoints: tuple[str, ...] = ("sd15.safetensors",),
        loras: tuple[str, ...] = ("glaze.safetensors",),
        has_jobs: bool = True,
        keeps_ids: bool = True,
        without: frozenset[str] = frozenset(),
        vram_pixels: int = 4096 * 4096,
        token: str = "",
        base: str = "",
        renames: bool = False,
        lists_models: bool = False,
        **limits: Any,
    ) -> None:
        super().__init__(**limits)
        self.step_seconds = step_seconds
        self.has_jobs, self.keeps_ids = has_jobs, keeps_ids
        self.checkpoints, self.loras, self.without = list(checkpoints), list(loras), without
        self.vram_pixels, self.token, self.base, self.renames = vram_pixels, token, base, renames
        self.lists_models = lists_models
        self.sizes: dict[str, int] = {}
        self.files: dict[str, bytes] = {}
        self.submissions: list[dict[str, Any]] = []
        self.made: list[str] = []
        self.runs_of_nodes: list[str] = []
        self.is_paused = False
        self.uploads = 0
        self.sockets = Sockets()
        self._life = 0
        self._worker: threading.Thread | None = None
        self._forget()

    def _forget(self) -> None:
        self.waiting: list[list[Any]] = []
        self.running: list[Any] | None = None
        self.history: OrderedDict[str, dict[str, Any]] = OrderedDict()
        self._cache: dict[str, Any] = {}
        self._interrupted: set[str] = set()
        self._number = 0
        self._at: tuple[str, str] = ("", "")

    def restart(self) -> None:
        """Restart the process at once; everything that is not on disk is lost."""
        with self.guard:
            self._life += 1
            self._forget()
        self.sockets.close()

    def resume(self) -> None:
        """Let the worker start what is waiting."""
        with self.guard:
            self.is_paused = False
            self._start()

    def _start(self) -> None:
        if self._worker is None and self.waiting and not self.is_paused:
            self._worker = threading.Thread(target=self._work, daemon=True)
            self._worker.start()

    def upgrade(self, request: Request, connection: Any) -> bool:
        """Take over the connection for the events of one client."""
        if request.path != f"{self.base}/ws" or "upgrade" not in request.headers.get("connection", "").lower():
            return False
        self.counts["GET /ws"] += 1
        if self.token and request.headers.get("authorization") != self.token:
            return False
        self.sockets.take(request, connection)
        return True

    # -- what arrives ----------------------------------------------------------------------------------------------

    def route(self, request: Request) -> str:
        path = request.path.removeprefix(self.base)
        name = next((name for pattern, name in NAMES if pattern.match(path)), path)
        return f"{request.method} {name}"

    def respond(self, request: Request) -> Response:
        if self.token and request.headers.get("authorization") != self.token:
            return Response(401, b"Unauthorized", {"WWW-Authenticate": "Bearer"})
        if not request.path.startswith(self.base):
            return NOT_FOUND
        parts = request.path.removeprefix(self.base).strip("/").split("/")
        if parts[0] == "api":
            parts = parts[1:]
            if parts[0] == "jobs" and not self.has_jobs:
                return NOT_FOUND if request.method == "GET" else Response(405, b"405: Method Not Allowed")
        elif parts[0] == "jobs":
            return NOT_FOUND
        method = "get" if request.method == "HEAD" else request.method.lower()
        answer = getattr(self, f"_{method}_{parts[0]}", None)
        return answer(request, parts[1:]) if answer else NOT_FOUND

    def _get_prompt(self, request: Request, rest: list[str]) -> Response:
        with self.guard:
            remaining = len(self.waiting) + (self.running is not None)
        return plain({"exec_info": {"queue_remaining": remaining}})

    def _post_prompt(self, request: Request, rest: list[str]) -> Response:
        try:
            body = request.json
        except ValueError:
            return Response(500, b"<html>500 Internal Server Error</html>", {"Content-Type": "text/html"})
        prompt_id = body.get("prompt_id", str(uuid.uuid4())) if self.keeps_ids else str(uuid.uuid4())
        if not _is_canonical(prompt_id):
            return plain(refusal("invalid_prompt_id", "prompt_id must be a canonical UUID"), 400)
        if "prompt" not in body:
            return plain(refusal("no_prompt", "No prompt provided"), 400)
        refused, node_errors = comfy_validation.validate(body["prompt"], self._classes(), self.files)
        if refused is not None:
            return plain(refused, 400)
        extra = {**body.get("extra_data", {}), "create_time": int(time.time() * 1000)}
        extra["client_id"] = body.get("client_id")
        with self.guard:
            self._number += 1
            outputs = [
                node_id
                for node_id, node in body["prompt"].items()
                if self._classes()[node["class_type"]].is_output and not reached(node_errors, node_id)
            ]
            number = body.get("number", self._number)
            self.waiting.append([number, prompt_id, body["prompt"], extra, outputs])
            self.waiting.sort(key=lambda entry: entry[0])
            self.submissions.append({"prompt_id": prompt_id, **body})
            self._start()
        return plain({"prompt_id": prompt_id, "number": number, "node_errors": node_errors})

    def _get_queue(self, request: Request, rest: list[str]) -> Response:
        with self.guard:
            running = [self.running] if self.running else []
            return plain({"queue_running": running, "queue_pending": list(self.waiting)})

    def _post_queue(self, request: Request, rest: list[str]) -> Response:
        body = request.json
        with self.guard:
            if body.get("clear"):
                self.waiting.clear()
            self.waiting = [entry for entry in self.waiting if entry[1] not in body.get("delete", ())]
        return Response()

    def _post_interrupt(self, request: Request, rest: list[str]) -> Response:
        prompt_id = json.loads(request.body or b"{}").get("prompt_id")
        with self.guard:
            if self.running and prompt_id in (None, self.running[1]):
                self._interrupted.add(self.running[1])
        return Response()

    def _get_history(self, request: Request, rest: list[str]) -> Response:
        with self.guard:
            if rest:
                return plain({rest[0]: self.history[rest[0]]} if rest[0] in self.history else {})
            most = int(request.query.get("max_items", 10_000))
            return plain(dict(list(self.history.items())[-most:]))

    def _get_jobs(self, request: Request, rest: list[str]) -> Response:
        with self.guard:
            at_work = [(self.running, "in_progress")] if self.running else []
            at_work += [(entry, "pending") for entry in self.waiting]
            jobs = [_queued(entry, status) for entry, status in at_work]
            if rest:
                if rest[0] in self.history:
                    return plain(_history_entry(rest[0], self.history[rest[0]], is_whole=True))
                matching = [job for job in jobs if job["id"] == rest[0]]
                return plain(matching[0]) if matching else plain({"error": "Job not found"}, 404)
            jobs += [_history_entry(prompt_id, entry) for prompt_id, entry in self.history.items()]
        statuses = request.query.get("status", "")
        jobs = [job for job in jobs if not statuses or job["status"] in statuses.split(",")]
        pages = {"offset": 0, "limit": None, "total": len(jobs), "has_more": False}
        return plain({"jobs": jobs, "pagination": pages})

    def _post_jobs(self, request: Request, rest: list[str]) -> Response:
        if len(rest) != 2 or rest[1] != "cancel":
            return NOT_FOUND
        with self.guard:
            before = len(self.waiting)
            self.waiting = [entry for entry in self.waiting if entry[1] != rest[0]]
            runs = bool(self.running and self.running[1] == rest[0])
            if runs:
                self._interrupted.add(rest[0])
            return plain({"cancelled": runs or len(self.waiting) < before})

    def _get_view(self, request: Request, rest: list[str]) -> Response:
        query = request.query
        name = "/".join(part for part in (query.get("subfolder", ""), query.get("filename", "")) if part)
        if ".." in name:
            return Response(403)
        data = self.files.get(f"{query.get('type', 'output')}/{name}")
        return Response(404) if data is None else Response(200, data, {"Content-Type": "image/png"})

    def _post_upload(self, request: Request, rest: list[str]) -> Response:
        fields = read_form(request.headers["content-type"], request.body)
        name, data = fields["image"]
        folder = fields["subfolder"][1].decode()
        stem, _, extension = name.rpartition(".")
        number = int(self.renames)
        with self.guard:
            self.uploads += 1
            while True:
                stored = f"{stem} ({number}).{extension}" if number else name
                key = f"input/{folder}/{stored}" if folder else f"input/{stored}"
                if self.files.get(key, data) == data or fields.get("overwrite", ("", b""))[1] in (b"true", b"1"):
                    break
                number += 1
            self.files[key] = data
        return plain({"name": stored, "subfolder": folder, "type": "input"})

    def _get_system_stats(self, request: Request, rest: list[str]) -> Response:
        device = {"name": "cuda:0 H100", "type": "cuda", "index": 0, "vram_total": 85 * 10**9, "vram_free": 80 * 10**9}
        return plain({"system": {"os": "linux", "comfyui_version": "0.38.1"}, "devices": [device]})

    def _get_experiment(self, request: Request, rest: list[str]) -> Response:
        """Return the lists of model files, as newer servers do."""
        folders = {"checkpoints": self.checkpoints, "loras": self.loras}
        if not self.lists_models or rest[0] != "models":
            return NOT_FOUND
        if len(rest) == 1:
            return plain([{"name": name, "folders": [f"/models/{name}"]} for name in folders])
        files = folders.get(rest[1], [])
        return plain(
            [{"name": file, "pathIndex": 0, "modified": 1.5, "size": self.sizes.get(file, 9)} for file in files]
        )

    def _get_object_info(self, request: Request, rest: list[str]) -> Response:
        described = {name: node.info(name) for name, node in self._classes().items() if not rest or name == rest[0]}
        return plain(described)

    def _classes(self) -> dict[str, comfy_nodes.Node]:
        inputs = [key.removeprefix("input/") for key in self.files if key.startswith("input/") and key.count("/") == 1]
        classes = comfy_nodes.classes(self.checkpoints, self.loras, inputs)
        return {name: node for name, node in classes.items() if name not in self.without}

    # -- the worker ------------------------------------------------------------------------------------------------

    def _work(self) -> None:
        while True:
            with self.guard:
                if self.is_paused or not self.waiting:
                    self._worker = None
                    return
                entry = self.running = self.waiting.pop(0)
                life = self._life
            status, outputs = self._execute(entry, life)
            with self.guard:
                if life != self._life:
                    continue  # the process of this prompt was restarted
                self.running = None
                _, prompt_id, graph, extra, targets = entry
                kept = {name: value for name, value in extra.items() if name != "client_id"}
                self.history[prompt_id] = {
                    "prompt": [entry[0], prompt_id, graph, kept, targets],
                    "outputs": outputs,
                    "meta": {},
                    "status": status,
                }
            self.sockets.send_event(extra.get("client_id"), "executing", {"node": None, "prompt_id": prompt_id})

    def _execute(self, entry: list[Any], life: int) -> tuple[dict[str, Any], dict[str, Any]]:
        _, prompt_id, graph, extra, targets = entry
        messages: list[list[Any]] = []

        def record_event(event: str, **data: Any) -> None:
            message = {"prompt_id": prompt_id, **data, "timestamp": int(time.time() * 1000)}
            messages.append([event, message])
            self.sockets.send_event(extra.get("client_id"), event, message)

        record_event("execution_start")
        self._at = (prompt_id, str(extra.get("client_id")))
        outputs: dict[str, Any] = {}
        used: dict[str, Any] = {}
        node_id = ""
        try:
            for node_id in targets:
                shown = self._run(node_id, graph, used)[1]
                outputs |= {node_id: shown} if shown else {}
        except Interrupted:
            record_event("execution_interrupted", node_id=node_id, node_type=graph[node_id]["class_type"], executed=[])
            return {"status_str": "error", "completed": False, "messages": messages}, outputs
        except _Failed as failed:
            record_event("execution_error", **failed.details)
            return {"status_str": "error", "completed": False, "messages": messages}, outputs
        finally:
            with self.guard:
                if life == self._life:
                    self._cache = used
        self.made.append(prompt_id)
        record_event("execution_success")
        return {"status_str": "success", "completed": True, "messages": messages}, outputs

    def _run(self, node_id: str, graph: dict[str, Any], used: dict[str, Any]) -> tuple[tuple[Any, ...], Any]:
        """Return (outputs, what it shows) of a node; nothing runs again that ran equally in the previous prompt."""
        key = _signature(node_id, graph)
        if key in used:
            return used[key]
        if key in self._cache:
            used[key] = self._cache[key]
            return used[key]
        node = graph[node_id]
        inputs = {
            name: self._run(value[0], graph, used)[0][value[1]] if isinstance(value, list) else value
            for name, value in node["inputs"].items()
        }
        try:
            result = self._classes()[node["class_type"]].run(self, node_id, inputs)
        except Interrupted:
            raise
        except Exception as error:
            raise _Failed(node_id, node["class_type"], error) from error
        self.runs_of_nodes.append(node["class_type"])
        used[key] = result
        return result

    def step(self, node_id: str, value: int, most: int) -> None:
        prompt_id, client = self._at
        self.sockets.send_event(
            client, "progress", {"value": value, "max": most, "prompt_id": prompt_id, "node": node_id}
        )
        time.sleep(self.step_seconds)
        with self.guard:
            if prompt_id in self._interrupted or self.running is None or self.running[1] != prompt_id:
                raise Interrupted

    def graph(self) -> dict[str, Any]:
        with self.guard:
            return self.running[2] if self.running else {}

    def save(self, folder: str, prefix: str, images: list[bytes]) -> list[dict[str, str]]:
        subfolder, _, stem = prefix.rpartition("/")
        saved = []
        for data in images:
            number = 1
            while (key := "/".join([folder, *filter(None, [subfolder]), f"{stem}_{number:05}_.png"])) in self.files:
                number += 1
            self.files[key] = data
            saved.append({"filename": f"{stem}_{number:05}_.png", "subfolder": subfolder, "type": folder})
        return saved


class _Failed(Exception):
    def __init__(self, node_id: str, node_type: str, error: Exception) -> None:
        super().__init__(str(error))
        self.details = {
            "node_id": node_id,
            "node_type": node_type,
            "executed": [],
            "exception_message": f"{error}\n",
            "exception_type": type(error).__name__,
            "traceback": ["  File nodes.py\n", f"{type(error).__name__}: {error}\n"],
            "current_inputs": {},
            "current_outputs": [],
        }


def _is_canonical(value: Any) -> bool:
    try:
        return isinstance(value, str) and str(uuid.UUID(value)) == value
    except ValueError:
        return False


def _signature(node_id: str, graph: dict[str, Any]) -> str:
    """Return the signature of a node's class and inputs and of all nodes before it; titles do not count."""
    node = graph[node_id]
    inputs = {
        name: [_signature(value[0], graph), value[1]] if isinstance(value, list) else value
        for name, value in node["inputs"].items()
    }
    plain_text = json.dumps([node["class_type"], inputs], sort_keys=True)
    return hashlib.sha256(plain_text.encode()).hexdigest()


def _queued(entry: list[Any], status: str) -> dict[str, Any]:
    created = entry[3].get("create_time")
    return {"id": entry[1], "status": status, "priority": entry[0], "create_time": created, "outputs_count": 0}


def _history_entry(prompt_id: str, entry: dict[str, Any], *, is_whole: bool = False) -> dict[str, Any]:
    events = dict(entry["status"]["messages"])
    status = "completed" if entry["status"]["completed"] else "failed"
    job: dict[str, Any] = {
        "id": prompt_id,
        "status": "cancelled" if "execution_interrupted" in events else status,
        "priority": entry["prompt"][0],
        "execution_start_time": events["execution_start"]["timestamp"],
        "outputs_count": len(entry["outputs"]),
    }
    for event in ("execution_success", "execution_error", "execution_interrupted"):
        if event in events:
            job["execution_end_time"] = events[event]["timestamp"]
    if "execution_error" in events:
        job["execution_error"] = events["execution_error"]
    if is_whole:
        job["outputs"] = entry["outputs"]
        job["execution_status"] = entry["status"]
        job["workflow"] = {"prompt": entry["prompt"][2], "extra_data": entry["prompt"][3]}
    return job
