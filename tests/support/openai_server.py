"""OpenAI's images API as documented, and a compatible server, on a real socket (tests/support/remote_server.py).

It has its own rules of the models: parameters, sizes and input images of each. It refuses certain words in the prompt,
counts every call against its limits, failed ones too, and records every image that it made, which is what an account
would be charged for.
"""

from __future__ import annotations

import base64
import io
import itertools
import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import cv2
import numpy as np
from PIL import Image

from tests.support.remote_server import Remote, Request, Response, Window, plain

KEY = "sk-proj-0123456789abcdefABCDEF"
GENERATIONS = "POST /v1/images/generations"
EDITS = "POST /v1/images/edits"
COMMON_PARAMETERS = {
    "model",
    "prompt",
    "n",
    "size",
    "output_format",
    "output_compression",
    "background",
    "moderation",
    "user",
}
QUALITIES = {"low", "medium", "high", "auto"}


@dataclass(frozen=True)
class Rules:
    """The parameters that a model accepts. sizes: None for any size divisible by 16 within the documented bounds."""

    sizes: frozenset[str] | None
    parameters: frozenset[str]
    qualities: frozenset[str] = frozenset(QUALITIES)
    fidelities: frozenset[str] = frozenset()


FIXED_SIZES = frozenset({"auto", "1024x1024", "1536x1024", "1024x1536"})
MODELS = {
    "gpt-image-1-mini": Rules(
        FIXED_SIZES, frozenset({*COMMON_PARAMETERS, "quality", "input_fidelity"}), fidelities=frozenset({"low"})
    ),
    "gpt-image-1.5": Rules(
        FIXED_SIZES, frozenset({*COMMON_PARAMETERS, "quality", "input_fidelity"}), fidelities=frozenset({"low", "high"})
    ),
    "gpt-image-2-2026-04-21": Rules(None, frozenset({*COMMON_PARAMETERS, "quality"})),
    "gpt-image-2.5-flare": Rules(
        None,
        frozenset({*COMMON_PARAMETERS, "quality", "complexity"}),
        qualities=frozenset({*QUALITIES, "xhigh", "max"}),
    ),
}


@dataclass(frozen=True)
class Part:
    """One field of a form."""

    name: str
    data: bytes
    file_name: str = ""
    media_type: str = ""


@dataclass(frozen=True)
class PaidRequest:
    """One request that was carried out and paid for."""

    number: int
    prompt: str
    size: tuple[int, int]
    fields: Mapping[str, Any]
    client_request_id: str
    headers: Mapping[str, str]
    images: tuple[Part, ...] = ()
    mask: Part | None = None


@dataclass(frozen=True)
class ImageRequest:
    """One request as it arrived, of either route."""

    fields: dict[str, Any]
    images: tuple[Part, ...] = ()
    masks: tuple[Part, ...] = ()
    image_fields: frozenset[str] = field(default_factory=frozenset)


class RefusedRequest(Exception):
    def __init__(self, status: int, code: str | None, kind: str, message: str, param: str | None = None) -> None:
        super().__init__(message)
        error = {"message": message, "type": kind, "param": param, "code": code}
        self.response = plain({"error": error}, status)


class OpenAIServer(Remote):
    """OpenAI's server, or a compatible one.

    credit: images that the account can still pay for, None for no limit. seconds: of work per image. answers:
    "b64_json" or "url". is_compatible: another vendor's server that accepts any model, prompt, size, response_format
    and images, refuses nothing, ignores n and answers with `images` images and no usage. unknown: fields that such a
    server refuses with the answer of `says`, by default that of a LiteLLM proxy.
    """

    limited = frozenset({GENERATIONS, EDITS})

    def __init__(
        self,
        *,
        key: str = KEY,
        credit: int | None = None,
        seconds: float = 0.0,
        answers: str = "b64_json",
        is_compatible: bool = False,
        images: int = 1,
        limits: tuple[Window, ...] = (),
        most_at_once: int = 0,
    ) -> None:
        super().__init__(limits=limits, most_at_once=most_at_once)
        self.key = key
        self.credit = credit
        self.seconds = seconds
        self.answers = answers
        self.is_compatible = is_compatible
        self.images = images
        self.made: list[PaidRequest] = []
        self.files: dict[str, bytes] = {}
        self.public_url = ""
        self.unknown: set[str] = set()
        self.says: Callable[[list[str]], Response] = refused_by_litellm
        self._numbers = itertools.count(1)
        self._calls = itertools.count(1)

    # -- one request -----------------------------------------------------------------------------------------------

    def route(self, request: Request) -> str:
        return "GET /files" if request.path.startswith("/files/") else f"{request.method} {request.path}"

    def respond(self, request: Request) -> Response:
        try:
            answer = self._answer(request)
        except RefusedRequest as refused:
            answer = refused.response
        call = f"req_{next(self._calls):08d}"
        return Response(answer.status, answer.body, {**answer.headers, "x-request-id": call, **self._limit_headers()})

    def too_many(self, wait_seconds: float) -> Response:
        message = (
            "Rate limit reached for images in organization org-test on images per min. "
            f"Please try again in {wait_seconds:.3f}s."
        )
        error = {"message": message, "type": "requests", "param": None, "code": "rate_limit_exceeded"}
        answer = plain({"error": error}, 429, retry_after_ms=f"{wait_seconds * 1000:.0f}")
        return Response(answer.status, answer.body, {**answer.headers, **self._limit_headers()})

    def _limit_headers(self) -> dict[str, str]:
        """Return the headers about the longest of the limits."""
        if not self.limits:
            return {}
        window = max(self.limits, key=lambda limit: limit.seconds)
        with self.guard:
            left = window.limit - len(window._arrived)
        return {
            "x-ratelimit-limit-requests": str(window.limit),
            "x-ratelimit-remaining-requests": str(max(left, 0)),
            "x-ratelimit-reset-requests": f"{int(window.seconds // 60)}m{window.seconds % 60:g}s",
        }

    def _answer(self, request: Request) -> Response:
        route = self.route(request)
        if route == "GET /files":
            return Response(200, self.files[request.path.rpartition("/")[2]], {"Content-Type": "image/png"})
        self._admit(request)
        if route == "GET /v1/models":
            listed = [{"id": name, "object": "model", "owned_by": "system"} for name in sorted(MODELS)]
            return plain({"object": "list", "data": listed})
        if route == GENERATIONS:
            return self._made(request, ImageRequest(json.loads(request.body)))
        if route == EDITS:
            return self._made(request, _form(request))
        raise RefusedRequest(404, None, "invalid_request_error", f"Invalid URL ({request.method} {request.path})")

    def _admit(self, request: Request) -> None:
        token = request.headers.get("authorization", "").removeprefix("Bearer ")
        if self.key and token != self.key:
            shown = f"{token[:8]}****{token[-4:]}"
            message = f"Incorrect API key provided: {shown}. You can find your API key at the service's own page."
            raise RefusedRequest(401, "invalid_api_key", "invalid_request_error", message)

    def _made(self, request: Request, submission: ImageRequest) -> Response:
        if self.is_compatible and (unknown := sorted(self.unknown & submission.fields.keys())):
            return self.says(unknown)
        if self.is_compatible:
            width, height = (int(side) for side in submission.fields.get("size", "512x512").split("x"))
        else:
            width, height = _check_rules(submission, is_edit=request.path.endswith("/edits"))
            self._check_moderation(submission)
        time.sleep(self.seconds)
        with self.guard:
            if self.credit is not None and self.credit <= 0:
                message = "You exceeded your current quota, please check your plan and billing details."
                raise RefusedRequest(429, "insufficient_quota", "insufficient_quota", message)
            self.credit = None if self.credit is None else self.credit - 1
            number = next(self._numbers)
            self.made.append(
                PaidRequest(
                    number,
                    str(submission.fields["prompt"]),
                    (width, height),
                    submission.fields,
                    request.headers.get("x-client-request-id", ""),
                    request.headers,
                    submission.images,
                    submission.masks[0] if submission.masks else None,
                )
            )
        return self._image_response(number, submission, width, height)

    @staticmethod
    def _check_moderation(submission: ImageRequest) -> None:
        prompt = str(submission.fields["prompt"])
        if "forbidden" in prompt:
            message = "Your request was rejected by the safety system. safety_violations=[violence]."
            raise RefusedRequest(400, "moderation_blocked", "image_generation_user_error", message)
        if "celebrity" in prompt:
            message = "Your request was rejected as a result of our content policy."
            raise RefusedRequest(400, "content_policy_violation", "invalid_request_error", message)

    def _image_response(self, number: int, submission: ImageRequest, width: int, height: int) -> Response:
        entries = [self._entry(f"{number}-{n}", image(number * 10 + n, width, height)) for n in range(self.images)]
        if self.is_compatible:
            return plain({"created": int(time.time()), "data": entries})
        entries[0]["revised_prompt"] = f"{submission.fields['prompt']}, in soft light"
        text = -(-len(str(submission.fields["prompt"])) // 4)
        seen = 300 * len(submission.images)
        out = round(1056 * width * height / 1024**2)
        usage = {
            "input_tokens": text + seen,
            "input_tokens_details": {"text_tokens": text, "image_tokens": seen},
            "output_tokens": out,
            "total_tokens": text + seen + out,
        }
        settings = {"background": "opaque", "output_format": "png", "quality": submission.fields.get("quality", "high")}
        return plain(
            {"created": int(time.time()), "data": entries, "size": f"{width}x{height}", "usage": usage, **settings}
        )

    def _entry(self, name: str, data: bytes) -> dict[str, Any]:
        if self.answers == "url":
            self.files[f"{name}.png"] = data
            return {"url": f"{self.public_url or self.url}/files/{name}.png"}
        return {"b64_json": base64.b64encode(data).decode()}


def refused_by_litellm(names: list[str]) -> Response:
    """Return the answer of a LiteLLM proxy 1.108 with its defaults to fields that it does not know."""
    message = (
        f"litellm.UnsupportedParamsError: Setting `{names[0]}` is not supported by openai, good. To drop it from the "
        "call, set `litellm.drop_params = True`.\n\nLiteLLM: model group 'good' failed with the error above. No "
        "fallback was attempted."
    )
    return plain({"error": {"message": message, "type": "invalid_request_error", "param": None, "code": "400"}}, 400)


def image(number: int, width: int, height: int) -> bytes:
    """Return a PNG in the colour of this number; no two are equal."""
    colour = [number * 37 % 256, number * 101 % 256, number * 211 % 256]
    pixels = np.full((height, width, 3), colour, np.uint8)
    pixels[0, 0] = [number & 255, number >> 8 & 255, number >> 16 & 255]
    return cv2.imencode(".png", pixels, [cv2.IMWRITE_PNG_COMPRESSION, 1])[1].tobytes()


def _check_rules(submission: ImageRequest, *, is_edit: bool) -> tuple[int, int]:
    """Check that a request keeps the rules of its model; return its size."""
    fields = submission.fields
    model = str(fields.get("model", ""))
    if model not in MODELS:
        message = f"The model '{model}' does not exist or you do not have access to it."
        raise RefusedRequest(404, "model_not_found", "invalid_request_error", message)
    rules = MODELS[model]
    for name, value in fields.items():
        if name not in rules.parameters or (name == "input_fidelity" and not is_edit):
            raise RefusedRequest(
                400, "unknown_parameter", "invalid_request_error", f"Unknown parameter: '{name}'.", param=name
            )
        allowed = {"quality": rules.qualities, "input_fidelity": rules.fidelities}.get(name)
        if allowed is not None and value not in allowed:
            raise _invalid(name, value)
    if not str(fields.get("prompt", "")) or len(str(fields["prompt"])) > 32_000:
        raise _invalid("prompt", "…")
    _check_images(submission, is_edit=is_edit)
    return _size(str(fields.get("size", "auto")), rules)


def _size(text: str, rules: Rules) -> tuple[int, int]:
    if text == "auto":
        return 1024, 1024
    width, height = (int(side) for side in text.split("x"))
    if rules.sizes is not None:
        if text not in rules.sizes:
            raise _invalid("size", text)
        return width, height
    fits = 655_360 <= width * height <= 3840 * 2160 and max(width, height) <= 3840
    if width % 16 or height % 16 or not fits or max(width, height) > 3 * min(width, height):
        raise _invalid("size", text)
    return width, height


def _check_images(submission: ImageRequest, *, is_edit: bool) -> None:
    if is_edit and not 1 <= len(submission.images) <= 16:
        raise _invalid("image", f"{len(submission.images)} images")
    if is_edit and submission.image_fields not in ({"image"}, {"image[]"}):
        raise _invalid("image", sorted(submission.image_fields))
    for part in submission.images:
        if part.media_type not in {"image/png", "image/jpeg", "image/webp"} or len(part.data) > 50 * 1024**2:
            raise _invalid("image", part.media_type)
    for mask in submission.masks:
        opened = Image.open(io.BytesIO(mask.data))
        first = Image.open(io.BytesIO(submission.images[0].data))
        if opened.format != "PNG" or "A" not in opened.getbands() or opened.size != first.size:
            raise _invalid("mask", f"{opened.format} {opened.mode} {opened.size} for {first.size}")


def _invalid(name: str, value: object) -> RefusedRequest:
    return RefusedRequest(400, "invalid_value", "invalid_request_error", f"Invalid value: '{value}'.", param=name)


def _form(request: Request) -> ImageRequest:
    """Parse a multipart body: files by field, everything else as text, n as a number."""
    boundary = request.headers["content-type"].partition("boundary=")[2].strip('"').encode()
    parts = [_part(piece) for piece in request.body.split(b"--" + boundary)[1:-1]]
    fields: dict[str, Any] = {part.name: part.data.decode() for part in parts if not part.file_name}
    if "n" in fields:
        fields["n"] = int(fields["n"])
    images = tuple(part for part in parts if part.file_name and part.name in {"image", "image[]"})
    masks = tuple(part for part in parts if part.file_name and part.name == "mask")
    return ImageRequest(fields, images, masks, frozenset(part.name for part in images))


def _part(piece: bytes) -> Part:
    head, _, data = piece.removeprefix(b"\r\n").partition(b"\r\n\r\n")
    lines = dict(line.split(": ", 1) for line in head.decode().split("\r\n"))
    lines = {name.lower(): value for name, value in lines.items()}
    disposition = dict(parameter.strip().split("=", 1) for parameter in lines["content-disposition"].split(";")[1:])
    name, file_name = (disposition.get(key, "").strip('"') for key in ("name", "filename"))
    return Part(name, data.removesuffix(b"\r\n"), file_name, lines.get("content-type", ""))
