"""The Cog half of the `replicate` engine: a model in a Cog container on a machine of one's own.

Product: Cog 0.17 to 0.23 (https://github.com/replicate/cog/blob/main/docs/http.md). A prediction is submitted
with a PUT under our id and answered when it is done. Until then it can be cancelled by that id; afterwards the server
knows nothing of it. Nothing is charged for.
"""

from __future__ import annotations

import base64
import hashlib
import json
import threading
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import datetime
from typing import Any, Final
from uuid import UUID

import httpx

from generation.engines import service
from generation.engines.base import Context, EngineError, ErrorKind, Health, Pending, Result, Spec, Submitted, Task
from generation.engines.replicate import predictions
from generation.engines.replicate import schema as replicate_schema
from generation.engines.replicate.shared import PredictionEngine, call, data_url, get_json

BUSY_SECONDS: Final = 2.0
CANCEL_POLL_SECONDS: Final = 0.5
"""Interval for checking whether a submission that the server works on was cancelled."""
MAX_REASON_LENGTH: Final = 500
_STATES: Final = {
    "STARTING": "it is still loading its model and takes submissions when that is done",
    "BUSY": "all its slots are in use",
    "SETUP_FAILED": "its setup failed; its operator has to mend it and start it again",
    "DEFUNCT": "it broke down and has to be started again",
    "UNHEALTHY": "it is not healthy; where its worker crashed, it has to be started again",
}
_HEALTHY_STATES: Final = frozenset({"READY", "BUSY"})
_NOT_ACCEPTED_STATUSES: Final = frozenset({409, 503})
"""Cog's answers to a submission that it has not taken: all slots are in use, or it cannot work."""


class Cog(PredictionEngine):
    """One Cog server. config: see config.py. model, version: what the container holds, recorded with each image."""

    poll_seconds = 5.0
    default_settle_seconds = 5.0

    def __init__(self, config: Mapping[str, Any]) -> None:
        super().__init__(config)
        if not self.config.base_url:
            raise ValueError('A Cog server needs its "base_url", such as "http://gpu-1:5000".')

    def batch_key(self, spec: Spec) -> str:
        return hashlib.sha256(json.dumps(["cog", self.config.base_url]).encode()).hexdigest()[:16]

    def model_identity(self) -> tuple[str, str]:
        return (self.config.model or "cog", self.config.version + self.inputs.revision_suffix())

    def health(self) -> Health:
        """Return the server's own health check, and whether its model has the inputs that the endpoint names."""
        try:
            health_check = get_json(self.service, "health-check")
        except EngineError as error:
            return Health(False, error.message)
        status = str(health_check.get("status", "UNKNOWN"))
        facts = {"status": status, **service.as_mapping(health_check.get("version"))}
        if status not in _HEALTHY_STATES:
            return Health(False, self._health_problem(health_check), facts)
        try:
            model_inputs = replicate_schema.inputs(get_json(self.service, "openapi.json"))
        except EngineError:
            model_inputs = ()
        if not model_inputs:
            words = (
                f"{self.service.host} is {status.lower()}. It gives no schema of its model's inputs, so the endpoint's "
                "names for them could not be compared; its first image will tell."
            )
            return Health(True, words, facts)
        return self._health(model_inputs, f"{self.service.host} is {status.lower()}.", facts)

    def submit(self, task: Task, marker: str, context: Context) -> Submitted:
        """Submit the task and wait for its image. If people cancel it meanwhile, it is cancelled at the server. If all
        slots are in use, the error is RATE: the submission was not taken."""
        prediction_id = prediction_id_of(marker)
        body = {"input": self._model_input(task.spec, lambda ref: data_url(context.load(ref)))}
        timeout = httpx.Timeout(self.config.answer_seconds, connect=10.0)
        with self._cancel_when_requested(task.id, prediction_id, context):
            response = self.service.submit("PUT", f"predictions/{prediction_id}", json=body, timeout=timeout)
        if not response.is_success:
            raise self._submission_error(response)
        prediction = predictions.prediction_from(response, self.service.host, prediction_id)
        state = predictions.state_of(prediction, seed_input=self.inputs.seed)
        if isinstance(state, Pending):
            # Only a repeated PUT gets this answer: another call waits for the same image and will get it.
            raise EngineError(ErrorKind.UNCERTAIN, f"{self.service.host} already works on {prediction_id}.")
        if state.error is not None:
            raise state.error
        model, revision = self.model_identity()
        revision = state.revision or revision.partition("+")[0]  # as the container reports it, if it does
        facts = {**state.facts, **self.inputs.requested_size(body["input"])}
        seed = self.inputs.seed_of(task.spec) if self.inputs.seed else 0
        named = replace(state, task_id=task.id, model=model, revision=revision, seed=seed, facts=facts)
        return Submitted(prediction_id, self.fetch(named, context))

    def find(self, task: Task, marker: str, since: datetime, taken: Collection[str]) -> str | None:
        """Return None if the server answers: it keeps no images after its answer, and cancels predictions whose caller
        is gone. Submitting again costs time on our own machine and no money."""
        get_json(self.service, "health-check")
        return None

    def poll(self, remote_ids: Sequence[str]) -> Mapping[str, Pending | Result]:
        """Return LOST for every id: images come with the answer to the submission and are not kept."""
        return {remote_id: predictions.lost_result(remote_id) for remote_id in remote_ids}

    def cancel(self, remote_id: str) -> None:
        self._cancel_now(remote_id)

    @contextmanager
    def _cancel_when_requested(self, task_id: int, prediction_id: str, context: Context) -> Iterator[None]:
        """While the block waits for the server's answer, cancel the prediction there once the task is cancelled."""
        is_answered = threading.Event()

        def watch() -> None:
            while not is_answered.wait(CANCEL_POLL_SECONDS):
                with suppress(EngineError):  # the next round tries again
                    if task_id in context.cancelled() and self._cancel_now(prediction_id):
                        return

        threading.Thread(target=watch, name=f"cancel {prediction_id}", daemon=True).start()
        try:
            yield
        finally:
            is_answered.set()

    def _cancel_now(self, prediction_id: str) -> bool:
        """Cancel a prediction; False if the server does not know it: it has not arrived yet, or has ended."""
        return call(self.service, "POST", f"predictions/{prediction_id}/cancel", allowed={404}).status_code != 404

    def _submission_error(self, response: httpx.Response) -> EngineError:
        """Return why the server did not take a submission. A broken server answers like a busy one; its health check
        tells them apart."""
        refusal = predictions.refusal(response, self.service.host, is_submission=True)
        if response.status_code not in _NOT_ACCEPTED_STATUSES:
            return refusal
        try:
            health_check = get_json(self.service, "health-check")
        except EngineError:
            health_check = {}
        status = str(health_check.get("status") or "")
        log = response.text[:4000]
        if status == "SETUP_FAILED":
            return EngineError(ErrorKind.ENDPOINT, self._health_problem(health_check), log=log)
        if status and status not in _HEALTHY_STATES:
            return EngineError(ErrorKind.TRANSIENT, self._health_problem(health_check), log=log, is_unsent=True)
        if response.status_code == 409:
            message = f"{self.service.host} has no free slot."
            return EngineError(ErrorKind.RATE, message, retry_after_seconds=BUSY_SECONDS, log=log)
        return refusal

    def _health_problem(self, health_check: Mapping[str, Any]) -> str:
        """Return a sentence about a server that cannot work, from its health check, with its own reason."""
        status = str(health_check.get("status", "UNKNOWN"))
        reason = str(health_check.get("user_healthcheck_error") or "")
        if status == "SETUP_FAILED" and not reason:
            lines = str(service.as_mapping(health_check.get("setup")).get("logs") or "").strip().splitlines()
            reason = lines[-1] if lines else ""
        words = _STATES.get(status, f"it says {status}")
        return f"{self.service.host} cannot work: {words}. {reason[-MAX_REASON_LENGTH:]}".strip()


def prediction_id_of(marker: str) -> str:
    """Return the marker's UUID in the form that Cog advises: base32, lower case, no padding, 26 characters."""
    return base64.b32encode(UUID(marker).bytes).decode().lower().rstrip("=")
