"""A minimal remote engine for tests of the lane: a real client and a real server.

`ImageService` is the service: it accepts submissions by marker, works for a while, and counts what it was paid for.
`WireEngine` is the engine "wire", its client; with "looks_up": false it cannot look up a submission afterwards.
"""

from __future__ import annotations

import io
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, ClassVar

import numpy as np
from PIL import Image

from generation.engines.base import (
    ENGINES,
    Capabilities,
    Context,
    EngineError,
    EnginePlugin,
    ErrorKind,
    Health,
    Pending,
    Quote,
    Result,
    Spec,
    Submitted,
    Task,
)
from generation.engines.service import Service, parse_json, pixels_of, refusal
from tests.support.remote_server import Remote, Request, Response, plain


@dataclass
class ServiceSubmission:
    """A submission in the service."""

    marker: str
    job: int
    prompt: str
    seed: int
    ready_at: float
    is_cancelled: bool = False


class ImageService(Remote):
    """POST /submissions {"marker", "job", "prompt", "seed"}; GET /submissions?ids=a,b or ?marker=; GET /images/<id>;
    POST /cancel {"id"}; POST /develop answers with the image itself."""

    limited = frozenset({"POST /submissions", "POST /develop"})

    def __init__(self, *, seconds: float = 0.05, **limits: Any) -> None:
        super().__init__(**limits)
        self.seconds = seconds
        self.submissions: dict[str, ServiceSubmission] = {}
        self.paid: list[int] = []

    def route(self, request: Request) -> str:
        return f"{request.method} /{request.path.split('/')[1]}"

    def respond(self, request: Request) -> Response:
        route = self.route(request)
        if route in self.limited:
            return self._take(request, at_once=route == "POST /develop")
        if route == "GET /health":
            return plain({})
        if route == "POST /cancel":
            self.submissions[request.json["id"]].is_cancelled = True
            return plain({})
        if route == "GET /images":
            return Response(200, _png(self.submissions[request.path.split("/")[2]].seed), {"Content-Type": "image/png"})
        if "marker" in request.query:
            return plain(
                {
                    "ids": [
                        key
                        for key, submission in self.submissions.items()
                        if submission.marker == request.query["marker"]
                    ]
                }
            )
        return plain({key: self._state(key) for key in request.query["ids"].split(",")})

    def _take(self, request: Request, *, at_once: bool) -> Response:
        submission = request.json
        with self.guard:
            self.paid.append(submission["job"])
            key = f"submission-{len(self.paid)}"
            ready = time.monotonic() + self.seconds
            self.submissions[key] = ServiceSubmission(
                submission["marker"], submission["job"], submission["prompt"], submission["seed"], ready
            )
        if at_once:
            time.sleep(self.seconds)
            return Response(200, _png(submission["seed"]), {"Content-Type": "image/png"})
        return plain({"id": key}, 201)

    def _state(self, key: str) -> dict[str, Any]:
        submission = self.submissions.get(key)
        if submission is None:
            return {"state": "unknown"}
        if submission.is_cancelled:
            return {"state": "cancelled"}
        if time.monotonic() < submission.ready_at:
            return {"state": "working", "step": 1, "steps": 2}
        if submission.prompt.startswith("fail:"):
            return {"state": "failed", "kind": submission.prompt.partition(":")[2]}
        return {"state": "done"}


def _png(seed: int) -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 255, (8, 8, 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).resize((64, 64)).save(file, "PNG")
    return file.getvalue()


class WireEngine:
    """config: "url", "looks_up" (true), "poll_seconds" (0.05), "settle_seconds" (0.2), "at_once" (false)."""

    name = "wire"
    kinds: ClassVar[dict[str, ErrorKind]] = {kind.value: kind for kind in ErrorKind}

    def __init__(self, config: Mapping[str, Any]) -> None:
        self.can_find_submissions = bool(config.get("looks_up", True))
        self.settle_seconds = float(config.get("settle_seconds", 0.2))
        self.poll_seconds = float(config.get("poll_seconds", 0.05))
        self.at_once = bool(config.get("at_once", False))
        self.cost = float(config.get("cost", 0))
        self._service = Service(str(config["url"]), timeout_seconds=float(config.get("timeout_seconds", 5)))

    def capabilities(self) -> Capabilities:
        return Capabilities(is_remote=True, obeys=frozenset({"prompt", "seed"}), controls=())

    def validate(self, spec: Spec) -> list[str]:
        return []

    def batch_key(self, spec: Spec) -> str:
        return "wire"

    def model_identity(self) -> tuple[str, str]:
        return ("wire", "1")

    def quote(self, spec: Spec) -> Quote:
        return Quote(cost=self.cost, seconds=0.1)

    def health(self) -> Health:
        try:
            return Health(self._service.request("GET", "health").status_code == 200, "wire")
        except EngineError as error:
            return Health(False, error.message)

    def submit(self, task: Task, marker: str, context: Context) -> Submitted:
        submission = {"marker": marker, "job": task.id, "prompt": task.spec.prompt, "seed": task.spec.seed}
        response = self._service.submit("POST", "develop" if self.at_once else "submissions", json=submission)
        if response.status_code >= 300:
            raise refusal(response, "The image service", is_submission=True)
        if self.at_once:
            return Submitted("", self._result(pixels=pixels_of(response.content)))
        return Submitted(parse_json(response, "The image service")["id"])

    def find(self, task: Task, marker: str, since: datetime, taken: Collection[str]) -> str | None:
        response = self._service.request("GET", "submissions", params={"marker": marker})
        if response.status_code != 200:
            raise refusal(response, "The image service")
        ids: list[str] = parse_json(response, "The image service")["ids"]
        return ids[0] if ids else None

    def poll(self, remote_ids: Sequence[str]) -> Mapping[str, Pending | Result]:
        response = self._service.request("GET", "submissions", params={"ids": ",".join(remote_ids)})
        if response.status_code != 200:
            raise refusal(response, "The image service")
        return {
            key: self._read_state(key, submission)
            for key, submission in parse_json(response, "The image service").items()
        }

    def _read_state(self, key: str, submission: dict[str, Any]) -> Pending | Result:
        if submission["state"] == "working":
            return Pending(submission["step"], submission["steps"])
        if submission["state"] == "done":
            return self._result(outputs=(f"images/{key}",))
        kind = {"unknown": ErrorKind.LOST, "cancelled": ErrorKind.CANCELLED}.get(submission["state"])
        kind = kind or self.kinds[submission["kind"]]
        return Result(0, None, error=EngineError(kind, f"The image service said {submission['state']}."))

    def _result(self, **fields: Any) -> Result:
        return Result(0, fields.pop("pixels", None), "wire", "1", cost=self.cost, **fields)

    def fetch(self, result: Result, context: Context) -> Result:
        return self._result(pixels=pixels_of(self._service.download(result.outputs[0])))

    def cancel(self, remote_id: str) -> None:
        self._service.request("POST", "cancel", json={"id": remote_id})


ENGINES.register("wire", EnginePlugin("wire", WireEngine))
