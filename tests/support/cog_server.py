"""A Cog container for tests on a real socket, as its documentation describes it.

It runs one prediction at a time under the caller's id and answers when it is done, with the image as a data URL.

https://github.com/replicate/cog/blob/main/docs/http.md, Cog 0.17 to 0.23. Its answers during the
start, after a failed setup and after a crash are copied from Cog 0.23.1.
"""

from __future__ import annotations

import base64
import re
import threading
import time
from typing import Any

from tests.support.remote_server import Remote, Request, Response, plain
from tests.support.replicate_server import OPENAPI, PredictionOutcome, image, schema_faults

NOT_SET_UP = "Setup has not finished yet. Wait until it has finished, or GET /health-check for status."
AT_CAPACITY = "At capacity - all prediction slots busy"
NO_SCHEMA = "OpenAPI schema not available"


class Cog(Remote):
    """A Cog server.

    seconds: how long a prediction takes. slots: how many run at once. status: the answer of the health check instead
    of READY or BUSY. schema: of the model's inputs, None for a server without one. crashes_at: a word in a prompt that
    crashes the worker. `runs`: (prediction id, input) of each prediction; `cancelled`: ids that were cancelled.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.seconds = 0.0
        self.slots = 1
        self.status = ""
        self.healthcheck_error = ""
        self.fates: dict[str, PredictionOutcome] = {}
        self.runs: list[tuple[str, dict[str, Any]]] = []
        self.running: dict[str, threading.Event] = {}
        self.cancelled: list[str] = []
        self.schema: dict[str, Any] | None = OPENAPI
        self.setup_logs = ""
        self.crashes_at = "DIE"

    def route(self, request: Request) -> str:
        return f"{request.method} {re.sub(r'^/predictions/[^/]+', '/predictions/{id}', request.path)}"

    def respond(self, request: Request) -> Response:
        parts = request.path.strip("/").split("/")
        match request.method, parts:
            case "GET", ["health-check"]:
                return plain(self._health())
            case "GET", ["openapi.json"]:
                return plain(self.schema) if self.schema is not None else plain({"error": NO_SCHEMA}, 503)
            case "PUT", ["predictions", found]:
                return self._predict(found, request)
            case "POST", ["predictions", found, "cancel"]:
                return self._cancel(found)
        return plain({"detail": "Not Found"}, 404)

    def _health(self) -> dict[str, Any]:
        status = self.status or ("BUSY" if len(self.running) >= self.slots else "READY")
        health: dict[str, Any] = {"status": status, "version": {"coglet": "0.22.0", "python": "3.12.4"}}
        if self.healthcheck_error:
            health["user_healthcheck_error"] = self.healthcheck_error
        if self.setup_logs:
            health["setup"] = {"status": "failed", "logs": self.setup_logs}
        return health

    def _cancel(self, prediction_id: str) -> Response:
        with self.guard:
            if prediction_id not in self.running:
                return plain({}, 404)
            self.cancelled.append(prediction_id)
            self.running[prediction_id].set()
        return plain({})

    def _predict(self, prediction_id: str, request: Request) -> Response:
        inputs = request.json.get("input", {})
        if self.status in ("STARTING", "SETUP_FAILED"):
            return plain({"error": NOT_SET_UP, "status": "failed"}, 503)
        if self.status in ("UNHEALTHY", "DEFUNCT"):
            return plain({"error": AT_CAPACITY, "status": "failed"}, 409)
        faults = schema_faults(inputs)
        if faults:
            detail = [{"loc": ["body", "input", name], "msg": words, "type": "value_error"} for name, words in faults]
            return plain({"detail": detail}, 422)
        with self.guard:
            if prediction_id in self.running:
                return plain({"id": prediction_id, "status": "processing", "input": inputs}, 202)
            if len(self.running) >= self.slots:
                return plain({"error": AT_CAPACITY, "status": "failed"}, 409)
            is_cancelled = self.running[prediction_id] = threading.Event()
            self.runs.append((prediction_id, inputs))
        began = time.monotonic()
        try:
            if is_cancelled.wait(self.seconds):
                seconds = time.monotonic() - began
                return plain(
                    {"id": prediction_id, "logs": "", "status": "canceled", "metrics": {"predict_time": seconds}}
                )
            if self.crashes_at in str(inputs.get("prompt")):
                self.status, self.healthcheck_error = "UNHEALTHY", "Healthcheck error: healthcheck channel closed"
                return plain({"id": prediction_id, "logs": "", "status": "failed", "error": "Worker crashed"})
            return plain(self._answer(prediction_id, inputs, began))
        finally:
            with self.guard:
                self.running.pop(prediction_id, None)

    def _answer(self, prediction_id: str, inputs: dict[str, Any], began: float) -> dict[str, Any]:
        fate = self.fates.get(str(inputs.get("prompt")), PredictionOutcome())
        output = fate.output or f"data:image/png;base64,{base64.b64encode(image(inputs)).decode()}"
        return {
            "id": prediction_id,
            "status": "failed" if fate.error else "succeeded",
            "input": inputs,
            "output": None if fate.error else output,
            "error": fate.error or None,
            "logs": fate.logs,
            "metrics": {"predict_time": time.monotonic() - began},
        }
