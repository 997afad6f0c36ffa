"""A Cog container of our own on a real socket, as its documentation describes it: one prediction at a time under the
caller's id, answered when it is done, with the picture as a data URL.

https://github.com/replicate/cog/blob/main/docs/http.md, Cog 0.17 to 0.22.
"""

from __future__ import annotations

import base64
import re
import time
from typing import Any

from tests.remote_server import Remote, Request, Response, plain
from tests.replicate_server import OPENAPI, Fate, picture, schema_faults


class Cog(Remote):
    """seconds: how long a prediction takes. slots: how many at once. status: what the health check says instead of
    READY or BUSY. `runs`: the inputs that were worked, by prediction id."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.seconds = 0.0
        self.slots = 1
        self.status = ""
        self.healthcheck_error = ""
        self.fates: dict[str, Fate] = {}
        self.runs: list[tuple[str, dict[str, Any]]] = []
        self.running: set[str] = set()

    def route(self, request: Request) -> str:
        return f"{request.method} {re.sub(r'^/predictions/[^/]+', '/predictions/{id}', request.path)}"

    def respond(self, request: Request) -> Response:
        parts = request.path.strip("/").split("/")
        match request.method, parts:
            case "GET", ["health-check"]:
                return plain(self._health())
            case "GET", ["openapi.json"]:
                return plain(OPENAPI)
            case "PUT", ["predictions", found]:
                return self._predict(found, request)
            case "POST", ["predictions", _, "cancel"]:
                return Response(404, b"{}", {"Content-Type": "application/json"})
        return plain({"detail": "Not Found"}, 404)

    def _health(self) -> dict[str, Any]:
        status = self.status or ("BUSY" if len(self.running) >= self.slots else "READY")
        told: dict[str, Any] = {"status": status, "version": {"coglet": "0.22.0", "python": "3.12.4"}}
        if self.healthcheck_error:
            told["user_healthcheck_error"] = self.healthcheck_error
        return told

    def _predict(self, found: str, request: Request) -> Response:
        given = request.json.get("input", {})
        if self.status not in ("", "READY", "BUSY"):
            return plain({"error": "the model is not ready"}, 503)
        faults = schema_faults(given)
        if faults:
            detail = [{"loc": ["body", "input", name], "msg": words, "type": "value_error"} for name, words in faults]
            return plain({"detail": detail}, 422)
        with self.guard:
            if found in self.running:
                return plain({"id": found, "status": "processing", "input": given}, 202)
            if len(self.running) >= self.slots:
                return plain({"detail": "Already running a prediction"}, 409)
            self.running.add(found)
            self.runs.append((found, given))
        began = time.monotonic()
        try:
            time.sleep(self.seconds)
            return plain(self._answer(found, given, began))
        finally:
            with self.guard:
                self.running.discard(found)

    def _answer(self, found: str, given: dict[str, Any], began: float) -> dict[str, Any]:
        fate = self.fates.get(str(given.get("prompt")), Fate())
        output = fate.output or f"data:image/png;base64,{base64.b64encode(picture(given)).decode()}"
        return {
            "id": found,
            "status": "failed" if fate.error else "succeeded",
            "input": given,
            "output": None if fate.error else output,
            "error": fate.error or None,
            "logs": fate.logs,
            "metrics": {"predict_time": time.monotonic() - began},
        }
