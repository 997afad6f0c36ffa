"""The `replicate` engine: models on Replicate, and our own Cog servers (cog.py).

Product: Replicate's HTTP API v1 (https://replicate.com/docs/reference/http), as of autumn 2026. Predictions are
submitted to a version, an official model or a deployment. Polling returns their state; a webhook only says that it is
time to poll. After a lost answer a prediction is looked up in the account's list.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from functools import cached_property
from math import inf
from time import monotonic
from typing import Any, Final
from urllib.parse import urlsplit

import httpx

from generation.engines import service
from generation.engines.base import Context, EngineError, ErrorKind, Health, Pending, Result, Spec, Submitted, Task
from generation.engines.replicate import predictions
from generation.engines.replicate import schema as replicate_schema
from generation.engines.replicate.config import Config
from generation.engines.replicate.shared import ImageUploads, PredictionEngine, call, get_json

TARGETS: Final = ("version", "model", "deployment")
POLL_CALL_SECONDS = 40.0
POLL_SECONDS, POLL_SECONDS_WITH_WEBHOOK = 2.0, 10.0
"""Seconds between two polls; with a webhook, fewer polls are needed."""
HIDDEN_VERSION: Final = "hidden"  # the version that the service reports for an official model
MIN_IDS_FOR_LIST = 6  # from this number on, predictions are read from the list instead of one by one
MAX_PAGES: Final = 200
MAX_CLOCK_DIFFERENCE: Final = timedelta(seconds=60)  # the most that the service's clock may be behind ours
_OWNER_NAME = re.compile(r"[\w.-]+/[\w.-]+")
_VERSION = re.compile(r"(?:[\w.-]+/[\w.-]+:)?[0-9a-f]{16,64}")
_DURATION = re.compile(r"(?:(\d+)h)?(?:(\d+)m)?(?:(\d+)s?)?")


class Replicate(PredictionEngine):
    """One model of one account. config: see config.py."""

    default_url = "https://api.replicate.com/v1"
    default_hosts = ("replicate.delivery",)
    default_settle_seconds = 15.0

    def __init__(self, config: Mapping[str, Any]) -> None:
        super().__init__(config)
        self.path, self.target = _target(self.config)
        self.timeout_seconds = self.config.timeout_seconds
        self.deadline_seconds = _seconds(self.config.cancel_after) if self.config.cancel_after else inf
        usual_poll_seconds = POLL_SECONDS_WITH_WEBHOOK if self.config.webhook_url else POLL_SECONDS
        self.poll_seconds = self.config.poll_seconds or usual_poll_seconds

    def batch_key(self, spec: Spec) -> str:
        """Return a key of the target; every prediction is a submission of its own."""
        return hashlib.sha256(json.dumps([self.path, self.target], sort_keys=True).encode()).hexdigest()[:16]

    def model_identity(self) -> tuple[str, str]:
        """Return (model or deployment, version and settings). The version of an official model or a deployment is
        unknown until the service reports it with an image."""
        if version := self.config.version:
            model, _, revision = version.rpartition(":")
            return (model or "replicate", revision + self.inputs.revision_suffix())
        return (self.config.model or self.config.deployment, self.inputs.revision_suffix())

    def health(self) -> Health:
        """Return whether the account answers, and whether the model has the inputs that the endpoint names."""
        try:
            account = get_json(self.service, "account")
            model_inputs = replicate_schema.inputs(self._model())
        except EngineError as error:
            return Health(False, error.message)
        facts = {"account": account.get("username", ""), "kind": account.get("type", "")}
        return self._health(model_inputs, f"The account {facts['account']} can be used here.", facts)

    def submit(self, task: Task, marker: str, context: Context) -> Submitted:
        """Submit the prediction. The result is its id, and the image if the service waited for it and it came."""
        if not self.token:
            raise EngineError(ErrorKind.QUOTA, "The endpoint has no API token; enter it as its secret.")
        model_input = self._model_input(task.spec, lambda ref: self.images.address(ref.sha256, context.load(ref)))
        body = {**self.target, "input": model_input}
        if webhook := self._webhook(marker):
            body |= {"webhook": webhook, "webhook_events_filter": ["completed"]}
        wait_seconds, cancel_after = self.config.wait_seconds, self.config.cancel_after
        headers = {"Prefer": f"wait={wait_seconds}"} if wait_seconds else {}
        headers |= {"Cancel-After": cancel_after} if cancel_after else {}
        timeout = httpx.Timeout(wait_seconds + self.timeout_seconds, connect=10.0)
        response = self.service.submit("POST", self.path, json=body, headers=headers, timeout=timeout)
        if not response.is_success:
            raise self._submission_error(response)
        prediction = predictions.prediction_from(response, self.service.host)
        return Submitted(str(prediction["id"]), self._early_result(prediction, task, context), is_kept=True)

    def find(self, task: Task, marker: str, since: datetime, taken: Collection[str]) -> str | None:
        """Return the id of the prediction with `marker`, from the account's list from the newest back to `since`.

        Replicate stores no key of ours and does not show the webhook in every answer. If a prediction shows a webhook,
        it is ours only if the marker is in it. If not, it is ours if it is of our model, belongs to no other task and
        has our input: every value including the seed, and images with the same sha256. That is enough, because any paid
        prediction for the same image will do, and `taken` assigns each to one task. An hour after its start, a
        prediction loses its input and output and cannot be found any more.

        The best candidate has an input equal to ours, not one that the service completed with defaults. Then a start at
        or after `since` is better than a clock difference, and then the nearest: the next may be another task's.
        """
        webhook, expected = self._webhook(marker), self.inputs.model_input(task.spec)
        image_inputs = {image.input for image in self.inputs.images.values()}
        candidates: list[tuple[bool, bool, timedelta, str]] = []
        for prediction in self._predictions_since(since - MAX_CLOCK_DIFFERENCE):
            if webhook and prediction.get("webhook") == webhook:
                return str(prediction["id"])
            if prediction.get("id") in taken or not self._may_be_ours(prediction, webhook):
                continue
            theirs = prediction["input"]
            images = {name: value for name, value in theirs.items() if name in image_inputs}
            if expected.items() <= theirs.items() and self._has_images(images, task.spec):
                began = predictions.parse_time(prediction.get("created_at")) or since
                is_completed = len(theirs) > len(expected) + len(images)
                candidates.append((is_completed, began < since, abs(began - since), str(prediction["id"])))
        return min(candidates)[-1] if candidates else None

    def _predictions_since(self, oldest: datetime) -> Iterator[Mapping[str, Any]]:
        for page in self._list_pages():
            for prediction in page:
                began = predictions.parse_time(prediction.get("created_at"))
                if began is not None and began < oldest:
                    return
                yield prediction

    def _may_be_ours(self, prediction: Mapping[str, Any], webhook: str) -> bool:
        if webhook and prediction.get("webhook"):
            return False
        named = {"version": self.config.version.rpartition(":")[2], "model": self.config.model}
        if any(value and prediction.get(name) != value for name, value in named.items()):
            return False
        return isinstance(prediction.get("input"), Mapping) and bool(prediction["input"])

    def _has_images(self, images: Mapping[str, Any], spec: Spec) -> bool:
        """Return whether the inputs hold every image of the spec in its place, and no other."""
        left = {name: list(value) if isinstance(value, list) else [value] for name, value in images.items()}
        for role, ref in spec.images.items():
            values = left.get(self.inputs.images[role].input, [])
            if not values or not self.images.is_same_image(values.pop(0), ref.sha256):
                return False
        return not any(left.values())

    def _list_pages(self) -> Iterator[list[Mapping[str, Any]]]:
        """Yield the list page by page, newest first. Raises EngineError if it cannot be read to the end."""
        path = "predictions"
        for _ in range(MAX_PAGES):
            page = get_json(self.service, path)
            yield [entry for entry in page.get("results") or () if isinstance(entry, Mapping)]
            following = urlsplit(str(page.get("next") or ""))
            if not following.query:
                return
            # Only the cursor is used: the address may be anything, and our token goes with the call.
            path = f"predictions?{following.query}"
        raise EngineError(ErrorKind.TRANSIENT, f"{self.service.host} lists more predictions than were looked through.")

    def poll(self, remote_ids: Sequence[str]) -> Mapping[str, Pending | Result]:
        """Return the states: many from the pages of the list, the rest one by one while there is time."""
        until = monotonic() + POLL_CALL_SECONDS
        states: dict[str, Pending | Result] = {}
        try:
            if len(remote_ids) >= MIN_IDS_FOR_LIST:
                for prediction in self._list_predictions(set(remote_ids), until):
                    states[str(prediction["id"])] = self._state_of(prediction)
            for remote_id in remote_ids:
                if remote_id not in states and (not states or monotonic() < until):
                    states[remote_id] = self._poll_one(remote_id)
        except EngineError:
            if not states:
                raise
        return states

    def cancel(self, remote_id: str) -> None:
        call(self.service, "POST", f"predictions/{remote_id}/cancel", allowed={404, 409, 422})

    @cached_property
    def images(self) -> ImageUploads:
        return ImageUploads(self.service)

    def _webhook(self, marker: str) -> str:
        """Return the webhook of a submission; "" if the endpoint uses none."""
        return f"{self.config.webhook_url.rstrip('/')}/{marker}" if self.config.webhook_url else ""

    def _model(self) -> Mapping[str, Any]:
        """Return the object that contains the model's schema, if the service gives it."""
        if self.config.deployment:
            return get_json(self.service, f"deployments/{self.config.deployment}")
        model, _, version = self.config.version.rpartition(":")
        if model:
            return get_json(self.service, f"models/{model}/versions/{version}")
        return get_json(self.service, f"models/{self.config.model}") if self.config.model else {}

    def _submission_error(self, response: httpx.Response) -> EngineError:
        """Return the error of a refused submission. If the target does not exist, every submission would fail, so the
        error holds the endpoint."""
        error = predictions.refusal(response, self.service.host, is_submission=True)
        is_unknown = response.status_code == 404 or predictions.is_version_refused(response)
        if error.kind == ErrorKind.INPUT and is_unknown:
            target = next(filter(None, (getattr(self.config, name) for name in TARGETS)))
            return EngineError(ErrorKind.QUOTA, f"{target} cannot be used. {error.message}", log=error.log)
        return error

    def _state_of(self, prediction: Mapping[str, Any], *, takes_early: bool = False) -> Pending | Result:
        state = predictions.state_of(
            prediction, seed_input=self.inputs.seed, takes_early=takes_early, deadline_seconds=self.deadline_seconds
        )
        if isinstance(state, Pending):
            return state
        version = "" if state.revision == HIDDEN_VERSION else state.revision
        facts = {**state.facts, **self.inputs.requested_size(prediction.get("input"))}
        return replace(state, revision=version, facts=facts)

    def _early_result(self, prediction: Mapping[str, Any], task: Task, context: Context) -> Result | None:
        """Return the image in an answer to a submission; with None the poller gets it later, so nothing is lost. An
        answer may still say "processing" with the whole output in it. That is enough for official models, which charge
        per image; for others, the next poll has the seconds that are charged."""
        state = self._state_of(prediction, takes_early=bool(self.config.model))
        if isinstance(state, Pending) or state.error is not None:
            return None
        try:
            return self.fetch(replace(state, task_id=task.id), context)
        except EngineError:
            return None

    def _poll_one(self, remote_id: str) -> Pending | Result:
        response = call(self.service, "GET", f"predictions/{remote_id}", allowed={404})
        if response.status_code == 404:
            return predictions.lost_result(remote_id)
        return self._state_of(service.as_mapping(service.parse_json(response, self.service.host)))

    def _list_predictions(self, prediction_ids: set[str], until: float) -> Iterator[Mapping[str, Any]]:
        """Yield the predictions of these ids on the first pages of the list; a page has 100."""
        missing = set(prediction_ids)
        for number, page in enumerate(self._list_pages()):
            ours = [prediction for prediction in page if prediction.get("id") in missing]
            missing -= {str(prediction["id"]) for prediction in ours}
            yield from ours
            if not missing or number > len(prediction_ids) // 50 or monotonic() > until:
                return


def _target(config: Config) -> tuple[str, dict[str, Any]]:
    """Return (path, body beside the input) of a submission. Raises ValueError unless exactly one target is named."""
    named = {name: value for name in TARGETS if (value := getattr(config, name))}
    if len(named) != 1:
        raise ValueError('The endpoint needs one of "version", "model" or "deployment", or "cog" with a "base_url".')
    name, value = named.popitem()
    if not (_VERSION if name == "version" else _OWNER_NAME).fullmatch(value):
        shown = "a version's hash" if name == "version" else "owner/name"
        raise ValueError(f'"{name}" is {value!r}; expected {shown}.')
    if name == "version":
        return "predictions", {"version": value.rpartition(":")[2]}
    return f"{name}s/{value}/predictions", {}


def _seconds(duration: str) -> float:
    """Parse "1h30m45s", "10m" or "30" to seconds. Raises ValueError below 5 s, which the service refuses."""
    match = _DURATION.fullmatch(duration)
    hours, minutes, seconds = (int(part or 0) for part in match.groups()) if match else (0, 0, 0)
    total = hours * 3600 + minutes * 60 + seconds
    if total < 5:
        raise ValueError(f'"cancel_after" is {duration!r}; expected something like "10m" or "1h30m", at least "5s".')
    return float(total)
