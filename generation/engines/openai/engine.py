"""The `openai` engine: OpenAI's images API, and compatible servers (LocalAI, vLLM-Omni, SGLang, LiteLLM …).

Product: POST /v1/images/generations and /v1/images/edits as of openai-python 3.52
(https://developers.openai.com/api/reference/resources/images). One call makes one image and is answered when it is
made: there is nothing to poll, and a call whose answer was lost cannot be looked up. The parameters of each model
family are in profiles.py, the meaning of answers in answers.py.

The API takes no seed: equal calls give different images, so the same pixels cannot be made again, and the facts say so.
"""

from __future__ import annotations

import hashlib
import json
import re
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, replace
from datetime import datetime
from functools import cache, cached_property
from typing import Any, Final

import httpx

from generation.engines import base
from generation.engines.base import Context, Control, EngineError, ErrorKind, Pending, Result, Spec, Submitted, Task
from generation.engines.openai import answers, profiles
from generation.engines.openai import images as openai_images
from generation.engines.openai.config import Config
from generation.engines.openai.images import MASK, Uploads
from generation.engines.service import Service, read_output_hosts

JsonObject = Mapping[str, Any]

REVISION: Final = "1"
"""Part of every fingerprint. It is increased whenever equal specs would become different requests."""
HEALTH_SECONDS: Final = 10.0
REQUIRED_FIELDS: Final = frozenset({"model", "prompt"})  # fields that every request needs
MAX_CUT_OFF: Final = 0.5
"""The largest share of an image that may be cut off; beyond it the image is not worth its price."""

_KEY: Final = re.compile(r"\b(?:sk|sess|pk)-[\w*.…-]{6,}|(?<=[Bb]earer )\S+")


class OpenAIImages:
    """One account, or one server, with one model. config: see config.py."""

    name = "openai"
    can_find_submissions = False
    settle_seconds = 0.0
    poll_seconds = 60.0

    def __init__(self, config: Mapping[str, Any]) -> None:
        self.config = Config.read(config)
        self.model = self.config.model
        self.profile = profiles.read(self.config.profile, self.model)
        self.defaults = self.config.defaults(self.profile.parameters)
        self.output_hosts = read_output_hosts(self.config.output_hosts or ())
        self._nearest_size = cache(self.profile.nearest_size)
        self._left_out: frozenset[str] = frozenset()
        """Fields that the server does not know; requests are sent without them."""
        if problems := self._parameter_problems(self.defaults):
            raise ValueError(" ".join(problems))

    def capabilities(self) -> base.Capabilities:
        takes = frozenset(self.profile.roles if self.profile.max_images else ())
        negative = ("negative",) if self.profile.negative else ()
        width, height = self.profile.limits
        return base.Capabilities(
            is_remote=True,
            obeys=frozenset({"prompt", "seed", *self.profile.parameters, *negative}),
            controls=self._controls(),
            optional_images=takes | ({MASK} if takes and self.profile.has_mask else frozenset()),
            max_width=width,
            max_height=height,
            size_multiple=self.profile.multiple,
        )

    def validate(self, spec: Spec) -> list[str]:
        names = ", ".join(self.profile.parameters) or "none"
        unknown = sorted(set(spec.parameters) - set(self.profile.parameters))
        problems = [f"Unknown parameter {name!r}; {self.model} takes {names}." for name in unknown]
        problems += self._parameter_problems(spec.parameters)
        words = len(self._prompt(spec))
        if not spec.prompt.strip():
            problems.append("There are no words to make an image from.")
        elif words > self.profile.max_prompt:
            problems.append(f"The prompt has {words:,} characters; {self.model} takes {self.profile.max_prompt:,}.")
        made = self._nearest_size(spec.width, spec.height)
        lost = profiles.cut_off(made, spec.width, spec.height)
        if lost > MAX_CUT_OFF:
            problems.append(
                f"{self.model} makes nothing like {spec.width} × {spec.height}: of its {made[0]} × {made[1]},"
                f" {lost:.0%} would be cut off."
            )
        return problems + self._image_problems(spec)

    def batch_key(self, spec: Spec) -> str:
        return f"openai {self.model} {self._quality(spec)} {spec.width}x{spec.height}"

    def model_identity(self) -> tuple[str, str]:
        """Return the model's id, and a digest of the other settings that decide pixels: server, defaults, profile."""
        decisive = [self.config.base_url.rstrip("/"), self.defaults, self.profile.always, self.config.output_format]
        kept = [self.profile.negative, self.profile.seed, self.config.keep_outside]
        if self.config.profile:  # another profile requests other sizes and sends other images
            kept.append({**asdict(self.profile), "seconds": 0})
        digest = hashlib.sha256(json.dumps([*decisive, *kept], sort_keys=True).encode()).hexdigest()
        return self.model, f"{REVISION}+{digest[:12]}"

    def quote(self, spec: Spec) -> base.Quote:
        usage = profiles.typical_usage(
            self.profile,
            self._nearest_size(spec.width, spec.height),
            prompt=self._prompt(spec),
            quality=self._quality(spec),
            images=len(openai_images.roles(spec, self.profile)),
        )
        return base.Quote(self.config.cost_per_image, self.config.seconds_per_image or self.profile.seconds, usage)

    def _quality(self, spec: Spec) -> str:
        return str(self._parameters(spec).get("quality", "auto"))

    def health(self) -> base.Health:
        host = self._service.host
        try:
            response = self._service.request("GET", "models", timeout=HEALTH_SECONDS)
        except EngineError as error:
            return base.Health(False, self._clean(error.message))
        if response.status_code == 404:
            return base.Health(True, f"{host} answers; it has no list of models.")
        if response.status_code != 200:
            return base.Health(False, self._clean(answers.refusal_error(response, host, self.model).message))
        try:
            listed = [str(model["id"]) for model in response.json()["data"]]
        except (ValueError, KeyError, TypeError):
            return base.Health(True, f"{host} answers; its list of models cannot be read.")
        facts = {"models": listed[:200], "limits": answers.rate_limits(response)}
        if self.model not in listed:
            return base.Health(False, f"{host} answers, but has no model {self.model} for this key.", facts)
        return base.Health(True, f"{host} has {self.model}.", facts)

    def submit(self, task: Task, marker: str, context: Context) -> Submitted:
        """Submit one image and wait for it. The marker goes along, so that the service's support can find the call."""
        size = self._nearest_size(task.spec.width, task.spec.height)
        sent = openai_images.read_uploads(task.spec, size, self.profile, context)
        try:
            return self._submit(task, marker, size, sent)
        except EngineError as error:
            raise self._add_marker(error, marker) from None  # the original error may contain the key
        except Exception as error:
            # Only the service is expected to fail. Any other error comes after the request was sent.
            why = f"{type(error).__name__}: {error}"
            message = f"{self._service.host} took the submission, and reading its answer failed: {why}"
            raise self._add_marker(EngineError(ErrorKind.UNCERTAIN, message), marker) from None

    def _add_marker(self, error: EngineError, marker: str) -> EngineError:
        """Return the error without the key and, if uncertain, with the marker by which support can find the call."""
        message = error.message
        if error.kind == ErrorKind.UNCERTAIN:
            message += f" Whether it was made and paid for, only their support can say; our mark is {marker}."
        wait, is_unsent = error.retry_after_seconds, error.is_unsent
        log = self._clean(error.log)
        return EngineError(error.kind, self._clean(message), retry_after_seconds=wait, log=log, is_unsent=is_unsent)

    def find(self, task: Task, marker: str, since: datetime, taken: Collection[str]) -> str | None:
        raise EngineError(ErrorKind.UNCERTAIN, f"{self._service.host} keeps no list of calls that could be asked.")

    def poll(self, remote_ids: Sequence[str]) -> Mapping[str, Pending | Result]:
        """Return a result to fetch if the id is the image's address, else UNCERTAIN: every call is answered at once."""
        message = f"{self._service.host} answers once; what it answered was not kept, and it cannot be asked again."
        lost = Result(0, None, *self.model_identity(), error=EngineError(ErrorKind.UNCERTAIN, message))
        answered = replace(lost, error=None, usage={"images": 1.0}, facts={"fetched_later": True})
        addresses = [remote_id for remote_id in remote_ids if remote_id.startswith(("http://", "https://"))]
        states = dict.fromkeys(remote_ids, lost)
        return states | {address: replace(answered, outputs=(address,)) for address in addresses}

    def fetch(self, result: Result, context: Context) -> Result:
        """Return the result with its pixels, which usually came with the answer."""
        if result.pixels is not None or not result.outputs:
            return result
        return replace(result, pixels=openai_images.fetch(result.outputs[0], self._service), outputs=())

    def cancel(self, remote_id: str) -> None:
        """Do nothing: a running call cannot be cancelled. It ends within its timeout and is paid for."""

    def _submit(self, task: Task, marker: str, size: profiles.Size, sent: Uploads) -> Submitted:
        spec = task.spec
        kept_canvas = sent.canvas if self.config.keep_outside else None
        started = time.perf_counter()
        response = self._send(spec, size, sent, marker)
        if response.status_code != 200:
            fields = self._body(spec, size).keys() - REQUIRED_FIELDS
            raise answers.refusal_error(response, self._service.host, self.model, fields, self._prompt(spec))
        answer, entries = self._parse_answer(response)
        try:
            pixels = openai_images.read_pixels(entries[0], self._service)
        except EngineError as error:
            if kept_canvas is not None:  # the photo that it is put back into is not available later
                raise openai_images.lost_image_error(error) from error
            address = openai_images.find_address_for_later(entries[0], self._service, error)
            return Submitted(address, problem=error)
        if kept_canvas is not None:
            pixels = openai_images.put_back(kept_canvas, pixels)
        request = answers.request_id(response)
        facts = self._facts(spec, size, sent, answer, entries)
        facts |= {"request_id": request, "client_request_id": marker, "limits": answers.rate_limits(response)}
        facts["made_size"] = [pixels.shape[1], pixels.shape[0]]
        model, revision = self.model_identity()
        taken = str(answer.get("model") or model)
        if taken != model:  # some servers name the model that an alias stands for
            revision = revision.replace("+", f"/{taken}+", 1)
        result = Result(
            task.id,
            pixels,
            model,
            revision,
            seed=spec.seed,
            seconds=round(time.perf_counter() - started, 3),
            facts={name: value for name, value in facts.items() if value not in ("", None, {}, [])},
            usage=answers.usage(answer, len(entries)),
        )
        return Submitted(request or marker, result)

    def _send(self, spec: Spec, size: profiles.Size, sent: Uploads, marker: str) -> httpx.Response:
        """Send the request. If the server does not know fields that an image can be made without, leave them out from
        now on and send it again: the refused request made nothing."""
        while True:
            body = {name: value for name, value in self._body(spec, size).items() if name not in self._left_out}
            response = self._post(body, sent, marker)
            refused = answers.refused_parameters(response, body.keys() - REQUIRED_FIELDS, body["prompt"])
            # Fields that the engine itself adds. Settings of people are never left out without telling them.
            added = answers.TRANSPORT_FIELDS | {"size", self.profile.seed}
            if not refused or not refused <= added - self._parameters(spec).keys() - {self.profile.negative}:
                return response
            self._left_out |= refused

    def _body(self, spec: Spec, size: profiles.Size) -> dict[str, Any]:
        """Return the fields of a request, by the profile."""
        required = {"model": self.model, "prompt": self._prompt(spec), "size": f"{size[0]}x{size[1]}"}
        body: dict[str, Any] = {**required, **self.profile.always, **self._parameters(spec)}
        if self.config.output_format:
            body["output_format"] = self.config.output_format
        if spec.negative.strip() and self.profile.negative not in ("", "prompt"):
            body[self.profile.negative] = spec.negative
        if self.profile.seed:
            body[self.profile.seed] = spec.seed % 2**32
        return body

    def _post(self, body: Mapping[str, Any], sent: Uploads, marker: str) -> httpx.Response:
        headers = {"X-Client-Request-Id": marker}
        if not sent.images:
            return self._service.submit("POST", "images/generations", json=body, headers=headers)
        files = [(self.profile.image_field, image) for image in sent.images]
        files += [(MASK, sent.mask)] if sent.mask is not None else []
        form = {name: json.dumps(value) if isinstance(value, bool) else str(value) for name, value in body.items()}
        return self._service.submit("POST", "images/edits", data=form, files=files, headers=headers)

    def _parse_answer(self, response: httpx.Response) -> tuple[JsonObject, list[JsonObject]]:
        """Return the answer and its entries with an image, at least one. UNCERTAIN if unreadable: it is paid for."""
        host = self._service.host
        try:
            answer = response.json()
            entries: list[JsonObject] = [dict(entry) for entry in answer.get("data") or ()]
        except (ValueError, AttributeError, TypeError) as error:
            message = f"{host} took the submission, and its answer cannot be read."
            raise EngineError(ErrorKind.UNCERTAIN, message, log=response.text[:4000]) from error
        image_entries = [entry for entry in entries if entry.get("b64_json") or entry.get("url")]
        if not image_entries:
            message = f"{host} answered without an image; some servers do so where their filter refused it."
            raise EngineError(ErrorKind.INPUT, message, log=response.text[:4000])
        return answer, image_entries

    @cached_property
    def _service(self) -> Service:
        config = self.config
        headers = {
            "Authorization": f"Bearer {config.secret}" if config.secret else "",
            "OpenAI-Organization": config.organisation,
            "OpenAI-Project": config.project,
        }
        return Service(
            config.base_url,
            headers={name: value for name, value in headers.items() if value},
            timeout_seconds=config.timeout_seconds,
            ca=config.ca,
            output_hosts=self.output_hosts,
        )

    def _clean(self, text: str) -> str:
        """Return a text without the key: some services repeat it in their refusals, whole or in part."""
        return _KEY.sub("…", text.replace(self.config.secret, "…") if self.config.secret else text)

    def _parameters(self, spec: Spec) -> dict[str, Any]:
        return self.defaults | {name: value for name, value in spec.parameters.items() if value not in ("", None)}

    def _prompt(self, spec: Spec) -> str:
        if self.profile.negative == "prompt" and spec.negative.strip():
            return f"{spec.prompt}\n\nAvoid: {spec.negative.strip()}"
        return spec.prompt

    def _parameter_problems(self, parameters: Mapping[str, Any]) -> list[str]:
        return [
            f"{name} is {parameters[name]!r}; {self.model} knows {', '.join(allowed)}."
            for name, allowed in self.profile.parameters.items()
            if allowed and parameters.get(name) not in (None, "", *allowed)
        ]

    def _image_problems(self, spec: Spec) -> list[str]:
        profile, given = self.profile, set(spec.images) - {MASK}
        problems = []
        if given and not profile.max_images:
            problems.append(f"{self.model} takes no images.")
        elif unknown := given - set(profile.roles):
            problems.append(f"{self.model} takes no image {', '.join(sorted(unknown))}; it takes {profile.roles[0]} …")
        if len(given) > profile.max_images > 0:
            problems.append(f"{self.model} takes at most {profile.max_images} images, not {len(given)}.")
        if MASK in spec.images and not profile.has_mask:
            problems.append(f"{self.model} takes no mask.")
        elif MASK in spec.images and not given:
            problems.append("There is a mask, but no image to repaint: give it the image too.")
        return problems

    def _controls(self) -> tuple[Control, ...]:
        controls = [Control("prompt", "Prompt", "text")]
        controls += [Control("negative", "Negative prompt", "text")] if self.profile.negative else []
        controls.append(Control("seed", "Another draw", "seed"))
        for name, choices in self.profile.parameters.items():
            if choices:
                label = name.replace("_", " ").capitalize()
                controls.append(Control(name, label, "choice", self.defaults.get(name), choices=choices))
        return tuple(controls)

    def _facts(
        self, spec: Spec, size: profiles.Size, sent: Uploads, answer: JsonObject, entries: Sequence[JsonObject]
    ) -> dict[str, Any]:
        """Return the facts needed to make it again, and those that the service reported."""
        reported = {name: answer.get(name) for name in ("size", "quality", "background", "output_format", "created")}
        return {
            "host": self._service.host,
            "profile": self.profile.name,
            "wanted_size": [spec.width, spec.height],
            "asked_size": list(size),
            "parameters": self._parameters(spec),
            "left_out": sorted(self._left_out),
            "images": [image.name for image in sent.images],
            "mask": sent.mask is not None,
            "kept_outside": sent.canvas is not None and self.config.keep_outside,
            "is_reproducible": False,
            "revised_prompt": entries[0].get("revised_prompt"),
            "images_answered": len(entries),
            "answered": {name: value for name, value in reported.items() if value is not None},
        }
