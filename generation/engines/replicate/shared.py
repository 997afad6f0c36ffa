"""The common part of the Replicate and Cog clients: settings, calls, the answer to a submission, its image."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace
from functools import cached_property
from typing import Any, ClassVar

import httpx

from generation.engines import output_hosts, service
from generation.engines.base import Capabilities, Context, EngineError, ErrorKind, Health, Quote, Result, Spec
from generation.engines.replicate import inputs as replicate_inputs
from generation.engines.replicate import predictions
from generation.engines.replicate import schema as replicate_schema
from generation.engines.replicate.config import Config, credentials
from generation.engines.service import Service


class PredictionEngine:
    """The settings and the service of one model, which is asked for predictions."""

    name = "replicate"
    can_find_submissions = True
    default_url: ClassVar[str] = ""
    default_hosts: ClassVar[tuple[str, ...]] = ()
    default_settle_seconds: ClassVar[float]
    timeout_seconds = 30.0

    def __init__(self, config: Mapping[str, Any]) -> None:
        self.config = Config.read(config)
        self.inputs = replicate_inputs.read(self.config)
        self.token = credentials(self.config.secret)[0]
        settle, hosts = self.config.settle_seconds, self.config.output_hosts
        self.settle_seconds = self.default_settle_seconds if settle is None else settle
        self.output_hosts = output_hosts.read(self.default_hosts if hosts is None else hosts)

    def capabilities(self) -> Capabilities:
        return self.inputs.capabilities()

    def validate(self, spec: Spec) -> list[str]:
        return self.inputs.problems(spec)

    def quote(self, spec: Spec) -> Quote:
        return Quote.from_config(self.config, seconds=10.0)

    def fetch(self, result: Result, context: Context) -> Result:
        """Return the result with its first image, downloaded or from a data URL, and decoded."""
        if result.pixels is not None or not result.outputs:
            return result
        first = result.outputs[0]
        data = predictions.decode_data_url(first) if first.startswith("data:") else self.service.download(first)
        pixels = service.pixels_of(data)
        facts = {**result.facts, "bytes": len(data), "width": pixels.shape[1], "height": pixels.shape[0]}
        return replace(result, pixels=pixels, outputs=(), facts=facts)

    @cached_property
    def service(self) -> Service:
        return Service(
            self.config.base_url or self.default_url,
            headers={"Authorization": f"Bearer {self.token}"} if self.token else {},
            timeout_seconds=self.timeout_seconds,
            ca=self.config.ca,
            output_hosts=self.output_hosts,
        )

    def _get_json(self, path: str) -> Mapping[str, Any]:
        return service.as_mapping(service.parse_json(call(self.service, "GET", path), self.service.host))

    def _health(self, model_inputs: tuple[replicate_schema.Input, ...], words: str, facts: dict[str, Any]) -> Health:
        """Return the health of a service that answers, by whether its model has the inputs that the endpoint names."""
        problem = replicate_schema.problem(model_inputs, self.inputs.names)
        suggested = replicate_schema.suggest_settings(model_inputs, self.config.inputs, fits=not problem)
        return Health(not problem, problem or words, facts, suggested)


def call(source: Service, method: str, path: str, *, allowed: Collection[int] = (), **options: Any) -> httpx.Response:
    """Make a call that may be repeated. Raises EngineError for an answer without success, except those `allowed`."""
    response = source.request(method, path, **options)
    if not response.is_success and response.status_code not in allowed:
        raise predictions.refusal(response, source.host)
    return response


def prediction_from(response: httpx.Response, name: str, prediction_id: str = "") -> Mapping[str, Any]:
    """Return the prediction in the answer to a submission. prediction_id: ours, if the service may leave it out. Raises
    EngineError (UNCERTAIN) if it cannot be read, because the submission was taken."""
    prediction = service.json_object(response)
    if not prediction or not (prediction.get("id") or prediction_id):
        message = f"{name} took the submission, and its answer cannot be read (HTTP {response.status_code})."
        raise EngineError(ErrorKind.UNCERTAIN, message, log=response.text[:4000])
    return prediction
