"""The Cog half of the `replicate` engine: a model in a Cog container on a machine of one's own.

Product: Cog 0.17 to 0.22 (https://github.com/replicate/cog/blob/main/docs/http.md). A prediction is ordered with a PUT
under an id of ours and answered when it is done; nothing can be asked afterwards, and nothing is charged for.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from functools import cached_property
from typing import Any, Final
from uuid import UUID

import httpx

from generation.engines import replicate_inputs, replicate_schema, service
from generation.engines import replicate_predictions as predictions
from generation.engines.base import (
    Capabilities,
    Context,
    EngineError,
    ErrorKind,
    Health,
    Pending,
    Quote,
    Result,
    Spec,
    Submitted,
    Task,
)
from generation.engines.replicate_pictures import data_url
from generation.engines.replicate_shared import credentials, fetched, ordered
from generation.engines.service import Service

BUSY_SECONDS: Final = 2.0
_STATES: Final = {
    "STARTING": "it is still loading its model",
    "BUSY": "all its slots are in use",
    "SETUP_FAILED": "its setup failed",
    "DEFUNCT": "it broke down and has to be started again",
    "UNHEALTHY": "its own health check says no",
}
_WELL: Final = frozenset({"READY", "BUSY"})


class Cog:
    """One Cog server. config:

    cog: true. base_url: "http://gpu-1:5000" (required). inputs, max_side, size_multiple: as for Replicate.
    model, version: what the container holds, recorded with each picture. answer_seconds: how long one picture may
    take (600). output_hosts: where it uploads its pictures, if it was started with --upload-url. ca, settle_seconds
    (5), seconds_per_image, cost_per_image. secret: a bearer token, where a proxy before it wants one.
    """

    name = "replicate"
    looks_up = True
    poll_seconds = 5.0

    def __init__(self, config: Mapping[str, Any]) -> None:
        if not config.get("base_url"):
            raise ValueError('A Cog server needs its "base_url", such as "http://gpu-1:5000".')
        self.config = dict(config)
        self.inputs = replicate_inputs.read(config)
        self.settle_seconds = float(config.get("settle_seconds", 5.0))
        self.answer_seconds = float(config.get("answer_seconds", 600.0))
        self.token = credentials(str(config.get("secret", "")))[0]

    # -- what planning asks ----------------------------------------------------------------------------------------

    def capabilities(self) -> Capabilities:
        return self.inputs.capabilities()

    def validate(self, spec: Spec) -> list[str]:
        return self.inputs.problems(spec)

    def batch_key(self, spec: Spec) -> str:
        return hashlib.sha256(json.dumps(["cog", self.config["base_url"]]).encode()).hexdigest()[:16]

    def model_identity(self) -> tuple[str, str]:
        version = str(self.config.get("version") or "")
        return (str(self.config.get("model") or "cog"), version + self.inputs.suffix())

    def quote(self, spec: Spec) -> Quote:
        return Quote(
            cost=float(self.config.get("cost_per_image", 0.0)),
            seconds=float(self.config.get("seconds_per_image", 10.0)),
        )

    def health(self) -> Health:
        """What the server says of itself, and whether its model has the inputs that the endpoint names."""
        try:
            told = self._asked("health-check")
            schema = self._asked("openapi.json")
        except EngineError as error:
            return Health(False, error.message)
        status = str(told.get("status", "UNKNOWN"))
        facts = {"status": status, **service.mapping_of(told.get("version"))}
        if status not in _WELL:
            words = _STATES.get(status, f"it says {status}")
            why = str(told.get("user_healthcheck_error") or service.mapping_of(told.get("setup")).get("logs") or "")[
                -500:
            ]
            return Health(False, f"{self.service.host} cannot work: {words}. {why}".strip(), facts)
        known = replicate_schema.inputs(schema)
        problem = replicate_schema.problem(known, self.inputs.names)
        words = problem or f"{self.service.host} is {status.lower()}."
        return Health(not problem, words, facts, suggested=replicate_schema.offer(known, self.config, fits=not problem))

    # -- orders ----------------------------------------------------------------------------------------------------

    def submit(self, task: Task, marker: str, context: Context) -> Submitted:
        """Order the picture and wait for it. Taken slots are a RATE error: the order was not taken."""
        prediction_id = prediction_id_of(marker)
        body = {"input": {**self.inputs.plain(task.spec), **self._pictures(task.spec, context)}}
        response = self.service.order(
            "PUT", f"predictions/{prediction_id}", json=body, timeout=httpx.Timeout(self.answer_seconds, connect=10.0)
        )
        if response.status_code == 409:
            message = f"{self.service.host} has no free slot."
            raise EngineError(ErrorKind.RATE, message, retry_after_seconds=BUSY_SECONDS, log=response.text[:4000])
        if not response.is_success:
            raise predictions.refusal(response, self.service.host, is_order=True)
        prediction = ordered(response, self.service.host, prediction_id)
        standing = predictions.standing(prediction, seed_input=self.inputs.seed)
        if isinstance(standing, Pending):
            # Only a repeated PUT is answered so: another call waits for the same picture and will have it.
            raise EngineError(ErrorKind.DOUBT, f"{self.service.host} already works on {prediction_id}.")
        if standing.error is not None:
            raise standing.error
        model, revision = self.model_identity()
        revision = standing.revision or revision.partition("+")[0]  # the container's own word, where it has one
        facts = {**standing.facts, **self.inputs.asked(body["input"])}
        seed = self.inputs.seed_of(task.spec) if self.inputs.seed else 0
        named = replace(standing, task_id=task.id, model=model, revision=revision, seed=seed, facts=facts)
        return Submitted(prediction_id, fetched(named, self.service))

    def find(self, task: Task, marker: str, since: datetime, taken: Collection[str]) -> str | None:
        """None, once the server answers: it keeps no picture that it has answered with, and gives up a prediction
        whose caller is gone. Ordering again costs time on one's own machine and no money."""
        self._asked("health-check")
        return None

    def poll(self, remote_ids: Sequence[str]) -> Mapping[str, Pending | Result]:
        """Every picture comes with its order's answer; whatever is asked for later is gone."""
        return {remote_id: predictions.lost(remote_id) for remote_id in remote_ids}

    def fetch(self, result: Result, context: Context) -> Result:
        return fetched(result, self.service)

    def cancel(self, remote_id: str) -> None:
        """Only asynchronous predictions can be cancelled; the server's 404 for ours is no error."""
        response = self.service.ask("POST", f"predictions/{remote_id}/cancel")
        if not response.is_success and response.status_code != 404:
            raise predictions.refusal(response, self.service.host)

    # -- how it is asked -------------------------------------------------------------------------------------------

    @cached_property
    def service(self) -> Service:
        return Service(
            str(self.config["base_url"]),
            headers={"Authorization": f"Bearer {self.token}"} if self.token else {},
            ca=str(self.config.get("ca") or ""),
            output_hosts=tuple(self.config.get("output_hosts", ())),
        )

    def _pictures(self, spec: Spec, context: Context) -> dict[str, Any]:
        made: dict[str, Any] = {}
        for role, ref in spec.images.items():
            picture = self.inputs.pictures[role]
            address = data_url(context.load(ref))
            if picture.is_list:
                made.setdefault(picture.input, []).append(address)
            else:
                made[picture.input] = address
        return made

    def _asked(self, path: str) -> Mapping[str, Any]:
        response = self.service.ask("GET", path)
        if not response.is_success:
            raise predictions.refusal(response, self.service.host)
        return service.mapping_of(service.json_of(response, self.service.host))


def prediction_id_of(marker: str) -> str:
    """The marker's UUID as Cog advises: base32, lower case, without padding, 26 characters."""
    return base64.b32encode(UUID(marker).bytes).decode().lower().rstrip("=")
