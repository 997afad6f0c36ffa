"""A Replicate server for tests on a real socket, as its documentation describes it.

It has slow predictions, a list with a cursor, files, deadlines, credit, throttling and webhooks, and it counts what
would have been paid for.

https://replicate.com/docs/reference/http and the changelog until autumn 2026.
"""

from __future__ import annotations

import base64
import email.parser
import email.policy
import hashlib
import io
import json
import re
import secrets
import threading
import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, ClassVar

from PIL import Image

from core import signing
from tests.support.engines import noise_pixels
from tests.support.remote_server import Remote, Request, Response, plain

TOKEN = "r8_0123456789abcdef0123456789abcdef01234"
SIGNING_SECRET = "whsec_" + base64.b64encode(b"the key that signs what happened").decode()
VERSION = "5599ed30703defd1d160a25a63321b4dec97101d98b4674bcc56e41f62f35637"
MODEL = "black-forest-labs/flux-schnell"
DEPLOYMENT = "kilnmoor/mugs"
_PREFER = re.compile(r"wait(=([1-9]|[1-5][0-9]|60))?")
_CANCEL_AFTER = re.compile(r"(?:(\d+)h)?(?:(\d+)m)?(?:(\d+)s?)?")
SCHEMA: dict[str, dict[str, Any]] = {
    "prompt": {"type": "string"},
    "negative_prompt": {"type": "string"},
    "seed": {"type": "integer", "minimum": 0, "maximum": 2**32 - 1},
    "width": {"type": "integer", "minimum": 16, "maximum": 1440},
    "height": {"type": "integer", "minimum": 16, "maximum": 1440},
    "aspect_ratio": {"type": "string", "enum": ["1:1", "4:5", "16:9", "9:16"]},
    "guidance_scale": {"type": "number", "minimum": 0, "maximum": 10},
    "image": {"type": "string", "format": "uri"},
    "image_input": {"type": "array"},
    "mask": {"type": "string", "format": "uri"},
    "num_outputs": {"type": "integer", "minimum": 1, "maximum": 4},
    "output_format": {"type": "string", "enum": ["png", "webp"]},
    "go_fast": {"type": "boolean"},
}
OPENAPI = {"components": {"schemas": {"Input": {"type": "object", "properties": SCHEMA, "required": ["prompt"]}}}}


def image(inputs: Mapping[str, Any], number: int = 0) -> bytes:
    """Return the PNG of an input; another seed gives other pixels."""
    pixels = noise_pixels(
        int(inputs.get("seed", 0)) + number, int(inputs.get("width", 64)), int(inputs.get("height", 64))
    )
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "PNG", compress_level=1)
    return stream.getvalue()


def schema_faults(inputs: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return (input, what is wrong with it) by SCHEMA."""
    faults = [("prompt", "prompt is required")] if not inputs.get("prompt") else []
    types: dict[str, Any] = {"integer": int, "number": int | float, "string": str, "array": list, "boolean": bool}
    for name, value in inputs.items():
        rule = SCHEMA.get(name)
        if rule is None:
            faults.append((name, f"Additional property {name} is not allowed"))
        elif not isinstance(value, types[rule["type"]]):
            faults.append((name, f"Invalid type. Expected: {rule['type']}"))
        elif "enum" in rule and value not in rule["enum"]:
            faults.append((name, f"must be one of {', '.join(rule['enum'])}"))
        elif "minimum" in rule and value < rule["minimum"]:
            faults.append((name, f"Must be greater than or equal to {rule['minimum']}"))
        elif "maximum" in rule and value > rule["maximum"]:
            faults.append((name, f"Must be less than or equal to {rule['maximum']}"))
    return faults


@dataclass
class PredictionOutcome:
    """The outcome of predictions with a certain prompt.

    error: it fails with this message. output: the answer instead of images. logs: written while it works.
    is_early: the whole output is there while the status is still "processing".
    """

    error: str = ""
    output: Any = None
    logs: str = ""
    is_early: bool = False


@dataclass
class Prediction:
    id: str
    number: int
    model: str
    version: str
    input: dict[str, Any]
    created: float
    starts: float
    ends: float
    fate: PredictionOutcome
    webhook: str = ""
    events: tuple[str, ...] = ()
    deadline: float | None = None
    canceled: float | None = None
    is_removed: bool = False
    sent: list[str] = field(default_factory=list)

    def status(self, now: float) -> str:
        stopped = min((at for at in (self.canceled, self.deadline) if at is not None), default=None)
        if stopped is not None and stopped <= now and stopped < self.ends:
            return "aborted" if stopped == self.deadline and stopped < self.starts else "canceled"
        if now < self.starts:
            return "starting"
        if now < self.ends:
            return "processing"
        return "failed" if self.fate.error else "succeeded"


class Replicate(Remote):
    """A Replicate server.

    seconds: how long a prediction works; start_seconds: how long it is "starting" before. answer_seconds: the time
    between accepting a submission and answering it. credit: how many predictions the account can still pay. throttled:
    where a 429 says its wait: "body", "words" or "header". kept_seconds: when inputs and outputs are deleted. page:
    predictions per page of the list. shows_webhooks: predictions show their webhook.

    Webhooks go to `reroute(address)`: `copies` of each, signed with `signing_secret`; if `is_reordered`, "start" comes
    after the end. `fates` are by prompt. `paid`: the input of each prediction that was accepted.
    """

    limited: ClassVar[frozenset[str]] = frozenset({"POST /predictions"})

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.seconds = 0.0
        self.start_seconds = 0.0
        self.answer_seconds = 0.0
        self.credit: int | None = None
        self.throttled = "body"
        self.kept_seconds = 3600.0
        self.page = 100
        self.shows_webhooks = False
        self.signing_secret = SIGNING_SECRET
        self.copies = 1
        self.is_reordered = False
        self.reroute = lambda address: address
        self.fates: dict[str, PredictionOutcome] = {}
        self.predictions: dict[str, Prediction] = {}
        self.uploads: dict[str, tuple[str, str, bytes]] = {}
        self.answers: list[int] = []
        self._ahead = 0.0

    # -- what tests look at ----------------------------------------------------------------------------------------

    @property
    def base_url(self) -> str:
        return f"{self.url}/v1"

    @property
    def paid(self) -> list[dict[str, Any]]:
        with self.guard:
            return [prediction.input for prediction in self.predictions.values()]

    def paid_twice(self) -> int:
        """Return how many predictions had exactly the input of an earlier one."""
        counted = Counter(json.dumps(paid_input, sort_keys=True) for paid_input in self.paid)
        return sum(count - 1 for count in counted.values())

    def advance(self, seconds: float) -> None:
        """Let the service's clock run ahead."""
        self._ahead += seconds

    def now(self) -> float:
        return time.time() + self._ahead

    # -- the service -----------------------------------------------------------------------------------------------

    def route(self, request: Request) -> str:
        path = request.path.removeprefix("/v1")
        path = re.sub(r"^/(?:models|deployments)/[^/]+/[^/]+/predictions$", "/predictions", path)
        path = re.sub(r"^/(predictions|files|outputs)/[^/]+", r"/\1/{id}", path)
        return f"{request.method} {path}"

    def too_many(self, wait_seconds: float) -> Response:
        detail = f"Request was throttled. Your rate limit resets in ~{wait_seconds:.2f}s."
        if self.throttled == "body":
            return plain({"detail": "Request was throttled.", "status": 429, "retry_after": wait_seconds}, 429)
        if self.throttled == "words":
            return plain({"detail": detail}, 429)
        return Response(429, b"slow down", {"Retry-After": f"{wait_seconds:.2f}"})

    def respond(self, request: Request) -> Response:
        if request.path.startswith("/outputs/"):
            return self._output(request.path.removeprefix("/outputs/"))
        if request.headers.get("authorization") != f"Bearer {TOKEN}":
            return _problem(401, "Unauthenticated", "You did not pass a valid authentication token")
        parts = request.path.removeprefix("/v1/").split("/")
        match request.method, parts:
            case "POST", ["predictions"]:
                version = str(request.json.get("version", ""))
                if version != VERSION:
                    return _problem(422, "Invalid version or not permitted", f"The version {version} does not exist.")
                return self._create(request, MODEL, version)
            case "POST", ["models" | "deployments" as kind, owner, name, "predictions"]:
                if f"{owner}/{name}" not in (MODEL, DEPLOYMENT):
                    return _problem(404, "Not found", "The requested resource could not be found.")
                return self._create(request, MODEL, "hidden" if kind == "models" else VERSION)
            case "GET", ["predictions"]:
                return self._list(request)
            case "GET", ["predictions", found]:
                return self._one(found)
            case "POST", ["predictions", found, "cancel"]:
                return self._cancel(found)
            case "POST", ["files"]:
                return self._upload(request)
            case "GET", ["files", found]:
                return self._file(found)
            case "GET", ["account"]:
                return plain({"type": "organization", "username": "kilnmoor", "name": "Kilnmoor"})
            case "GET", ["models", owner, name] if f"{owner}/{name}" == MODEL:
                return plain({"owner": owner, "name": name, "latest_version": {"openapi_schema": OPENAPI}})
            case "GET", ["deployments", owner, name] if f"{owner}/{name}" == DEPLOYMENT:
                return plain({"owner": owner, "name": name, "current_release": {"number": 1, "version": VERSION}})
        return _problem(404, "Not found", "The requested resource could not be found.")

    def _create(self, request: Request, model: str, version: str) -> Response:
        prefer, cancel_after = request.headers.get("prefer", ""), request.headers.get("cancel-after", "")
        if prefer and not _PREFER.fullmatch(prefer):
            return _problem(400, "Bad request", f"Prefer header {prefer!r} does not match {_PREFER.pattern}")
        inputs = request.json.get("input", {})
        faults = schema_faults(inputs)
        if faults:
            fields = [{"type": "value", "field": f"input.{name}", "description": words} for name, words in faults]
            detail = "".join(f"- input.{name}: {words}\n" for name, words in faults)
            return plain(
                {"title": "Input validation failed", "detail": detail, "status": 422, "invalid_fields": fields}, 422
            )
        with self.guard:
            if self.credit == 0:
                return _problem(402, "Insufficient credit", "You have insufficient credit to run this model.")
            self.credit = None if self.credit is None else self.credit - 1
            prediction = self._begin(request.json, inputs, model, version)
            if cancel_after:
                prediction.deadline = prediction.created + _duration(cancel_after)
            self.predictions[prediction.id] = prediction
        if prediction.webhook:
            threading.Thread(target=self._announce, args=(prediction,), daemon=True).start()
        time.sleep(self.answer_seconds)
        if prefer:
            self._wait(prediction, float(prefer.partition("=")[2] or 60))
        return plain(self._shown(prediction), 201)

    def _begin(self, body: Mapping[str, Any], inputs: dict[str, Any], model: str, version: str) -> Prediction:
        now = self.now()
        return Prediction(
            id=secrets.token_hex(13),
            number=len(self.predictions),
            model=model,
            version=version,
            input=inputs,
            created=now,
            starts=now + self.start_seconds,
            ends=now + self.start_seconds + self.seconds,
            fate=self.fates.get(str(inputs.get("prompt")), PredictionOutcome()),
            webhook=str(body.get("webhook") or ""),
            events=tuple(body.get("webhook_events_filter") or ("start", "output", "logs", "completed")),
        )

    def _wait(self, prediction: Prediction, seconds: float) -> None:
        until = time.monotonic() + seconds
        while time.monotonic() < until and prediction.status(self.now()) in ("starting", "processing"):
            if prediction.fate.is_early and self.now() > prediction.starts:
                return
            time.sleep(0.01)

    def _list(self, request: Request) -> Response:
        with self.guard:
            newest = sorted(self.predictions.values(), key=lambda prediction: (-prediction.created, -prediction.number))
        before = request.query.get("cursor")
        left = [prediction for prediction in newest if before is None or prediction.number < int(before)]
        shown = left[: self.page]
        following = f"{self.base_url}/predictions?cursor={shown[-1].number}" if len(left) > len(shown) else None
        return plain(
            {"previous": None, "next": following, "results": [self._shown(prediction) for prediction in shown]}
        )

    def _one(self, prediction_id: str) -> Response:
        prediction = self.predictions.get(prediction_id)
        if prediction is None:
            return _problem(404, "Not found", "The requested resource could not be found.")
        return plain(self._shown(prediction))

    def _cancel(self, prediction_id: str) -> Response:
        prediction = self.predictions.get(prediction_id)
        if prediction is None:
            return _problem(404, "Not found", "The requested resource could not be found.")
        if prediction.status(self.now()) in ("starting", "processing"):
            prediction.canceled = self.now()
        return plain(self._shown(prediction))

    def _shown(self, prediction: Prediction) -> dict[str, Any]:
        now = self.now()
        status = prediction.status(now)
        is_removed = now > prediction.created + self.kept_seconds
        has_output = status == "succeeded" or (status == "processing" and prediction.fate.is_early)
        shown: dict[str, Any] = {
            "id": prediction.id,
            "model": prediction.model,
            "version": prediction.version,
            "status": status,
            "input": {} if is_removed else prediction.input,
            "output": self._outputs(prediction) if has_output and not is_removed else None,
            "error": prediction.fate.error if status == "failed" else None,
            "logs": "" if is_removed or status == "starting" else prediction.fate.logs,
            "metrics": {},
            "created_at": _iso(prediction.created),
            "started_at": _iso(prediction.starts) if status not in ("starting", "aborted") else None,
            "completed_at": None,
            "data_removed": is_removed,
            "source": "api",
            "urls": {
                "get": f"{self.base_url}/predictions/{prediction.id}",
                "cancel": f"{self.base_url}/predictions/{prediction.id}/cancel",
            },
        }
        if status in ("succeeded", "failed"):
            shown["completed_at"] = _iso(prediction.ends)
            shown["metrics"] = {
                "predict_time": prediction.ends - prediction.starts,
                "total_time": prediction.ends - prediction.created,
            }
        elif status in ("canceled", "aborted"):
            shown["completed_at"] = _iso(prediction.canceled or prediction.deadline or now)
        if self.shows_webhooks and prediction.webhook:
            shown["webhook"] = prediction.webhook
        return shown

    def _outputs(self, prediction: Prediction) -> Any:
        if prediction.fate.output is not None:
            return prediction.fate.output
        count = int(prediction.input.get("num_outputs", 1))
        return [f"{self.url}/outputs/{prediction.id}-{number}.png" for number in range(count)]

    def _output(self, name: str) -> Response:
        prediction_id, _, number = name.removesuffix(".png").partition("-")
        prediction = self.predictions.get(prediction_id)
        if prediction is None or self.now() > prediction.created + self.kept_seconds:
            return Response(404, b"gone")
        return Response(200, image(prediction.input, int(number)), {"Content-Type": "image/png"})

    # -- files -----------------------------------------------------------------------------------------------------

    def _upload(self, request: Request) -> Response:
        head = f"Content-Type: {request.headers['content-type']}\r\n\r\n".encode()
        message = email.parser.BytesParser(policy=email.policy.HTTP).parsebytes(head + request.body)
        part = next(message.iter_parts(), None)  # type: ignore[attr-defined]
        if part is None or part.get_param("name", header="content-disposition") != "content":
            return _problem(400, "Bad request", "Missing content")
        data, name = part.get_payload(decode=True), part.get_filename()
        file_id = hashlib.sha256(data + secrets.token_bytes(8)).hexdigest()[:26]
        self.uploads[file_id] = (name, part.get_content_type(), data)
        return self._file(file_id, 201)

    def _file(self, file_id: str, status: int = 200) -> Response:
        if file_id not in self.uploads:
            return _problem(404, "Not found", "The requested resource could not be found.")
        name, media_type, data = self.uploads[file_id]
        return plain(
            {
                "id": file_id,
                "name": name,
                "content_type": media_type,
                "size": len(data),
                "etag": hashlib.sha256(data).hexdigest()[:32],
                "checksums": {"sha256": hashlib.sha256(data).hexdigest()},
                "metadata": {},
                "urls": {"get": f"{self.base_url}/files/{file_id}"},
            },
            status,
        )

    # -- webhooks --------------------------------------------------------------------------------------------------

    def _announce(self, prediction: Prediction) -> None:
        self._wait(prediction, 60)
        time.sleep(0.05)  # the answer to the submission usually goes out first
        shown = self._shown(prediction)
        started = {**shown, "status": "starting", "output": None, "metrics": {}, "completed_at": None}
        webhooks = (
            [("completed", shown), ("start", started)]
            if self.is_reordered
            else [("start", started), ("completed", shown)]
        )
        for event, body in webhooks:
            if event in prediction.events or self.is_reordered:
                for _ in range(self.copies):
                    self.send_webhook(prediction.webhook, body)

    def send_webhook(self, address: str, body: Mapping[str, Any], *, submitted_at: float | None = None) -> int:
        """POST one signed message; return the status of the answer."""
        raw = json.dumps(body).encode()
        message_id, timestamp = f"msg_{secrets.token_hex(8)}", int(submitted_at or time.time())
        signed = signing.sign(self.signing_secret, message_id, timestamp, raw)
        headers = {
            "Content-Type": "application/json",
            "webhook-id": message_id,
            "webhook-timestamp": str(timestamp),
            "webhook-signature": f"v1,{base64.b64encode(b'of an older key').decode()} {signed}",
        }
        call = urllib.request.Request(self.reroute(address), data=raw, headers=headers, method="POST")
        try:
            with urllib.request.urlopen(call, timeout=60) as answer:
                status = int(answer.status)
        except urllib.error.HTTPError as error:
            status = error.code
        except OSError:
            status = 0
        self.answers.append(status)
        return status


def _problem(status: int, title: str, detail: str) -> Response:
    return plain({"title": title, "detail": detail, "status": status}, status)


def _iso(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).isoformat().replace("+00:00", "Z")


def _duration(text: str) -> float:
    match = _CANCEL_AFTER.fullmatch(text)
    hours, minutes, seconds = (int(part or 0) for part in match.groups()) if match else (0, 0, 0)
    return float(hours * 3600 + minutes * 60 + seconds)
