"""One ComfyUI server, and the several of one endpoint: what each has to do, which one gets the next picture.

Product: ComfyUI 0.38 (https://docs.comfy.org/development/comfyui-server/comms_routes). `/api/jobs` is asked first;
a server that has no such address is older and is asked by queue and history.
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
from generation.engines.comfyui.answers import Picture, as_job
from generation.engines.comfyui.graph import FOLDER, Graph
from generation.engines.service import Service, json_of, refusal

DEPTH_SECONDS: Final = 1.0
"""How long a server's queue depth counts as known."""
AWAY_SECONDS: Final = 15.0
"""How long a server that did not answer is left alone."""
LACKING_SECONDS: Final = 60.0
"""How long a server that lacks a model or a node gets no further order."""
STATES: Final = frozenset({"pending", "in_progress", "completed", "failed", "cancelled"})
MARKER: Final = "proofline"
HISTORY_LOOKED_AT: Final = 200
EXTENSIONS: Final = (
    (b"\x89PNG", "png"),
    (b"\xff\xd8", "jpg"),
    (b"RIFF", "webp"),
    (b"II*\0", "tiff"),
    (b"MM\0*", "tiff"),
)
INPUTS_KEPT: Final = 4096

LISTED_SECONDS: Final = 30.0
"""Seconds for which a server's list of its model files is used before it is asked for again."""


@dataclass(frozen=True)
class Order:
    """An order as its remote id tells it: "{prompt id}@{server}#{job}". Older ones say nothing of the job."""

    prompt_id: str
    server: str
    job: str

    @classmethod
    def of(cls, remote_id: str) -> Order:
        prompt_id, _, rest = remote_id.partition("@")
        server, _, job = rest.partition("#")
        return cls(prompt_id, server, job)

    def __str__(self) -> str:
        return f"{self.prompt_id}@{self.server}#{self.job}"

    @property
    def stem(self) -> str:
        """The beginning of its files' names, new for every order: the id is new too, and the marker where the server
        keeps ours."""
        return f"{self.job}-{self.prompt_id[:8]}"

    @property
    def picture(self) -> Picture:
        """The first file that ComfyUI's Save Image writes for it."""
        return Picture(f"{self.stem}_00001_.png", FOLDER, "output")


class Server:
    """One ComfyUI at a base address. Called from many threads."""

    def __init__(self, url: str, *, headers: Mapping[str, str], timeout_seconds: float, ca: str) -> None:
        self.service = Service(url, headers=headers, timeout_seconds=timeout_seconds, ca=ca)
        parts = urlsplit(self.service.base_url)
        self.name = (parts.netloc.rsplit("@", 1)[-1] + parts.path).rstrip("/")
        self.guard = threading.Lock()
        self.away_since: float | None = None
        self.why_away: EngineError | None = None
        self._depth = 0.0
        self._looked_at = -DEPTH_SECONDS
        self._looking = threading.Lock()
        self._leave_until = 0.0
        self.lacks = ""
        self._inputs: OrderedDict[str, str] = OrderedDict()
        self._listed: dict[str, str] = {}
        self._listed_at = -LISTED_SECONDS

    # -- how it is -------------------------------------------------------------------------------------------------

    def depth(self) -> float | None:
        """Orders before a new one, as far as known; None if it is away, or lacks what the workflow needs.

        One thread looks at a time and the others take what is known, so that a dead server delays one order only.
        """
        now = monotonic()
        if now < self._leave_until:
            return None
        if now - self._looked_at >= DEPTH_SECONDS and self._looking.acquire(blocking=False):
            try:
                self._look()
            finally:
                self._looking.release()
        return None if self.away_since is not None else self._depth

    def _look(self) -> None:
        try:
            response = self.ask("GET", "prompt")
            if response.status_code != 200:
                raise refusal(response, self.name)
            waiting = float(json_of(response, self.name)["exec_info"]["queue_remaining"])
        except EngineError as error:
            self.is_away(error)
        except (KeyError, TypeError, ValueError):
            self.is_away(EngineError(ErrorKind.TRANSIENT, f"{self.name} does not answer as a ComfyUI does."))
        else:
            with self.guard:
                self._depth, self._looked_at, self.lacks = waiting, monotonic(), ""

    def counts(self, orders: int) -> None:
        """Count an order that was just sent, until the server's own number is known again."""
        with self.guard:
            self._depth += orders

    def is_away(self, error: EngineError) -> None:
        with self.guard:
            self.why_away = error
            self.away_since = self.away_since if self.away_since is not None else monotonic()
            self._leave_until = monotonic() + AWAY_SECONDS

    def is_back(self) -> None:
        self.away_since = self.why_away = None

    def is_lacking(self, words: str) -> None:
        with self.guard:
            self.lacks = words
            self._leave_until = monotonic() + LACKING_SECONDS

    def away_seconds(self) -> float:
        return 0.0 if self.away_since is None else monotonic() - self.away_since

    def ask(self, method: str, path: str, **options: Any) -> httpx.Response:
        """Service.ask that notes whether the server is there. A gateway's 502, 503 or 504 is no answer of it."""
        try:
            response = self.service.ask(method, path, **options)
            if response.status_code in {502, 503, 504}:
                raise refusal(response, self.name)
        except EngineError as error:
            self.is_away(error)
            raise
        self.is_back()
        return response

    # -- orders ----------------------------------------------------------------------------------------------------

    def input_name(self, ref: ImageRef, load: Callable[[ImageRef], bytes]) -> str:
        """The name by which it loads this picture, which is put there when it is first asked for."""
        with self.guard:
            known = self._inputs.get(ref.sha256)
        if known:
            return known
        data = load(ref)
        kind = next((extension for start, extension in EXTENSIONS if data.startswith(start)), "png")
        name = self.upload(f"{ref.sha256[:32]}.{kind}", data)
        with self.guard:
            self._inputs[ref.sha256] = name
            while len(self._inputs) > INPUTS_KEPT:
                self._inputs.popitem(last=False)
        return name

    def forget_inputs(self) -> None:
        """Take none of the pictures that were put there for granted any more."""
        with self.guard:
            self._inputs.clear()

    def upload(self, name: str, data: bytes) -> str:
        """Put an input image there; the name to load it by, which the server may have changed. Raises EngineError."""
        response = self.ask(
            "POST",
            "upload/image",
            files={"image": (name, data, "application/octet-stream")},
            data={"type": "input", "subfolder": FOLDER, "overwrite": "false"},
        )
        if response.status_code != 200:
            raise refusal(response, self.name, words="it did not take the input image")
        stored = json_of(response, self.name)
        if not isinstance(stored, Mapping) or not stored.get("name"):
            raise EngineError(ErrorKind.TRANSIENT, f"{self.name} did not say under which name it keeps the image.")
        folder = str(stored.get("subfolder") or "")
        return f"{folder}/{stored['name']}" if folder else str(stored["name"])

    def order(self, graph: Graph, marker: str, client_id: str) -> httpx.Response:
        """POST the graph under our own id. EngineError DOUBT if the order may have arrived without an answer."""
        body = {
            "prompt": graph,
            "prompt_id": marker,
            "client_id": client_id,
            # Servers that give ids of their own are searched for the marker; nobody would see the previews.
            "extra_data": {MARKER: marker, "preview_method": "none"},
        }
        try:
            response = self.service.order("POST", "prompt", json=body)
        except EngineError as error:
            if error.kind != ErrorKind.RATE:  # called back before it left
                self.is_away(error)
            raise
        if response.status_code == 200:
            self.counts(1)
        return response

    def find(self, marker: str) -> str | None:
        """The id under which it has the order marked so, None if it does not. EngineError if it cannot be asked."""
        response = self.ask("GET", f"api/jobs/{quote(marker)}")
        if is_answer(response):
            return marker if response.status_code == 200 else None
        running, waiting = self._queue()
        for entry in [*running, *waiting]:
            if marker in (entry[1], _marker_of(entry)):
                return str(entry[1])
        kept = self._json("history", params={"max_items": HISTORY_LOOKED_AT})
        for prompt_id, entry in kept.items():
            if marker in (prompt_id, _marker_of(entry.get("prompt"))):
                return str(prompt_id)
        one = self._json(f"history/{quote(marker)}")
        return marker if marker in one else None

    def standing(self, prompt_ids: Collection[str]) -> dict[str, Pending | Mapping[str, Any] | None]:
        """Of each id: Pending, the ended job as /api/jobs tells it, or None if the server does not know it."""
        response = self.ask("GET", "api/jobs", params={"status": "pending,in_progress", "sort_order": "asc"})
        if is_answer(response) and response.status_code == 200:
            at_work = _positions(_jobs(json_of(response, self.name)))
            return {one: at_work.get(one) or self._job(one) for one in prompt_ids}
        running, waiting = self._queue()
        ids = [(str(entry[1]), "in_progress") for entry in running]
        ids += [(str(entry[1]), "pending") for entry in sorted(waiting, key=lambda entry: entry[0])]
        at_work = _positions(ids)
        return {one: at_work.get(one) or self._remembered(one) for one in prompt_ids}

    def _job(self, prompt_id: str) -> Pending | Mapping[str, Any] | None:
        response = self.ask("GET", f"api/jobs/{quote(prompt_id)}")
        if response.status_code == 404 and is_answer(response):
            return None
        if response.status_code != 200:
            raise refusal(response, self.name)
        job = json_of(response, self.name)
        if not isinstance(job, Mapping) or job.get("status") not in STATES:
            raise EngineError(ErrorKind.TRANSIENT, f"{self.name} answered something else than a job.")
        return Pending() if job.get("status") in {"pending", "in_progress"} else job

    def _remembered(self, prompt_id: str) -> Mapping[str, Any] | None:
        kept = self._json(f"history/{quote(prompt_id)}")
        entry = kept.get(prompt_id)
        return as_job(prompt_id, entry) if isinstance(entry, Mapping) else None

    def _queue(self) -> tuple[list[Any], list[Any]]:
        """(running, waiting) as [number, id, graph, extra data, outputs]."""
        queue = self._json("queue")
        return list(queue.get("queue_running") or ()), list(queue.get("queue_pending") or ())

    def _json(self, path: str, **options: Any) -> Mapping[str, Any]:
        response = self.ask("GET", path, **options)
        if response.status_code != 200:
            raise refusal(response, self.name)
        answer = json_of(response, self.name)
        if not isinstance(answer, Mapping):
            raise EngineError(ErrorKind.TRANSIENT, f"{self.name} answered {path} with something else than an object.")
        return answer

    def cancel(self, prompt_id: str) -> None:
        """Give up on this one order. Never a bare /interrupt, which would stop whoever's picture is being made."""
        response = self.ask("POST", f"api/jobs/{quote(prompt_id)}/cancel")
        if response.status_code == 200:
            return
        self.ask("POST", "queue", json={"delete": [prompt_id]})
        running, _ = self._queue()
        if any(str(entry[1]) == prompt_id for entry in running):
            self.ask("POST", "interrupt", json={"prompt_id": prompt_id})

    # -- pictures and facts ----------------------------------------------------------------------------------------

    def address(self, picture: Picture) -> str:
        return self.service.address(f"view?{urlencode(picture.query)}")

    def has(self, picture: Picture) -> bool:
        """True if this file is on its disk, which outlives its memory of what it has made."""
        return self.ask("HEAD", self.address(picture)).status_code == 200

    def facts(self) -> Mapping[str, Any]:
        return self._json("system_stats")

    def model_states(self, names: Collection[str]) -> dict[str, str]:
        """File name -> size and time of change of these model files; {} where the server does not tell.

        ComfyUI lists its model folders below /experiment/models since 0.3.40. Asked at most every LISTED_SECONDS.
        """
        now = monotonic()
        if now - self._listed_at >= LISTED_SECONDS:
            listed = self._list_models(set(names))
            with self.guard:
                self._listed, self._listed_at = listed, now
        return {name: state for name, state in self._listed.items() if name in names}

    def _list_models(self, names: set[str]) -> dict[str, str]:
        found: dict[str, str] = {}
        for folder in self._entries_at("experiment/models"):
            if names <= found.keys():
                break
            for one in self._entries_at(f"experiment/models/{quote(str(folder.get('name')), safe='')}"):
                if one.get("name") in names:
                    found[str(one["name"])] = f"{one.get('size')} bytes, {one.get('modified')}"
        return found

    def _entries_at(self, path: str) -> list[Mapping[str, Any]]:
        response = self.ask("GET", path)
        told = json_of(response, self.name) if response.status_code == 200 else None
        return [one for one in told if isinstance(one, Mapping)] if isinstance(told, list) else []

    def schema(self, classes: Sequence[str]) -> dict[str, Mapping[str, Any]]:
        """Return what the server says of these node classes; those that it does not have are absent."""
        found = {}
        for name in classes:
            told = self._json(f"object_info/{quote(name, safe='')}").get(name)
            if isinstance(told, Mapping):
                found[name] = told
        return found


class Fleet:
    """The servers of one endpoint."""

    def __init__(self, servers: Sequence[Server]) -> None:
        self.servers = list(servers)
        self._turn = 0

    def named(self, name: str) -> Server | None:
        return next((server for server in self.servers if server.name == name), None)

    def in_order(self) -> list[Server]:
        """Those that can take an order, the least busy first; equals in turn."""
        self._turn += 1
        count = len(self.servers)
        turned = [self.servers[(self._turn + place) % count] for place in range(count)]
        depths = [(depth, server) for server in turned if (depth := server.depth()) is not None]
        return [server for _, server in sorted(depths, key=lambda pair: pair[0])]


def credentials(secret: str) -> dict[str, str]:
    """The header that a secret becomes: "user:password" is basic, anything else a bearer token."""
    if not secret:
        return {}
    if ":" in secret:
        return {"Authorization": f"Basic {base64.b64encode(secret.encode()).decode()}"}
    return {"Authorization": f"Bearer {secret}"}


def is_answer(response: httpx.Response) -> bool:
    """True if /api/jobs exists there: an older server answers 404 or 405 too, but not in JSON."""
    if response.status_code == 200:
        return "json" in response.headers.get("content-type", "")
    try:
        return response.status_code == 404 and "error" in response.json()
    except (ValueError, TypeError):
        return False


def _jobs(answer: Any) -> list[tuple[str, str]]:
    """(id, status) of what is waiting or running, the running first, then in the order in which they will run."""
    listed = answer.get("jobs") if isinstance(answer, Mapping) else None
    jobs = [one for one in listed if isinstance(one, Mapping)] if isinstance(listed, list) else []
    jobs.sort(key=lambda job: (job.get("status") != "in_progress", job.get("priority") or 0))
    return [(str(job.get("id")), str(job.get("status"))) for job in jobs]


def _positions(listed: Sequence[tuple[str, str]]) -> dict[str, Pending]:
    return {
        prompt_id: Pending(ahead=0 if status == "in_progress" else place)
        for place, (prompt_id, status) in enumerate(listed)
    }


def _marker_of(order: Any) -> str | None:
    """Our marker in an order's extra data."""
    extra = order[3] if isinstance(order, list) and len(order) > 3 else None
    found = extra.get(MARKER) if isinstance(extra, Mapping) else None
    return str(found) if found else None
