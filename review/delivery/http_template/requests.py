"""Fill in and send the requests of an HTTP template. The secret stays out of every message."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from pydantic import JsonValue

from core import fetching
from core.fetching import Answer
from review.delivery import http
from review.delivery.base import DeliveryError
from review.delivery.hidden_secrets import HiddenSecret
from review.delivery.http_template.placeholders import Text, values_of_secret
from review.delivery.http_template.template import Request, Template

READING = frozenset({"find", "read", "test"})


class Content:
    """The file that an upload sends."""

    def __init__(self, name: str = "", media_type: str = "", data: bytes = b"") -> None:
        self.name, self.media_type, self.data = name, media_type, data


class Sender:
    def __init__(self, client: http.Client, template: Template, secret: str) -> None:
        self.client, self.template = client, template
        self.of_secret = values_of_secret(secret)
        self.hide = HiddenSecret(secret).hide

    def send(self, name: str, values: Mapping[str, Any], content: Content | None = None) -> Answer:
        """Send a request and return its answer, also one that says that the file is gone. Raises DeliveryError."""
        request = self.template.requests[name]
        try:
            answer = self._send(name, request, {**values, **self.of_secret}, content or Content())
            self._ensure_success(name, request, answer)
        except DeliveryError as error:
            raise self._without_secret(name, error) from None
        return answer

    def is_gone(self, name: str, answer: Answer) -> bool:
        return answer.status in getattr(self.template.requests[name], "gone", ())

    def describe(self, name: str, values: Mapping[str, Any]) -> str:
        """Return a request in words: its method and address. Raises DeliveryError if a value is missing."""
        request = self.template.requests[name]
        address = self._address(name, request, {**values, **self.of_secret})
        return f"{request.method} {self.hide(fetching.redact_address(self._whole(address)))}"

    def find_wrong_addresses(self) -> list[str]:
        """Return what is wrong with the whole addresses in the template, as sentences."""
        problems = []
        for name, request in self.template.requests.items():
            if "://" in request.url:
                try:
                    fetching.parse(request.url.replace("{", "").replace("}", ""), self.client.policy)
                except fetching.Refused as refusal:
                    problems.append(f"template: {name} → url: {refusal.message}")
        return problems

    def _send(self, name: str, request: Request, values: Mapping[str, Any], content: Content) -> Answer:
        headers = {
            key.lower(): Text(text).fill_header(values)
            for key, text in {**self.template.headers, **request.headers}.items()
        }
        body, data = b"", None
        if request.raw:
            body = content.data
            headers.setdefault("content-type", content.media_type)
        elif request.multipart:
            body, headers["content-type"] = _form(request.multipart, values, content)
        elif request.json_body is not None:
            data = fill_json(request.json_body, values)
        return self.client.send(
            request.method,
            self._address(name, request, values),
            query={key: Text(text).fill(values) for key, text in request.query.items()},
            data=data,
            body=body,
            headers=headers,
            accept=(*request.success, *getattr(request, "gone", ())),
            max_bytes=http.MAX_IMAGE_BYTES if name == "read" else http.MAX_ANSWER_BYTES,
        )

    def _ensure_success(self, name: str, request: Request, answer: Answer) -> None:
        if not request.success or answer.status in request.success or self.is_gone(name, answer):
            return
        expected = " or ".join(str(status) for status in request.success)
        message = f"The service answered {answer.status} to “{name}”; expected {expected}."
        raise DeliveryError(message, is_uncertain=True, status_code=answer.status)

    def _address(self, name: str, request: Request, values: Mapping[str, Any]) -> str:
        return Text(request.url).fill_path(values, f"{name} → url")

    def _whole(self, address: str) -> str:
        return address if "://" in address else f"{self.client.base_url}/{address.lstrip('/')}"

    def _without_secret(self, name: str, error: DeliveryError) -> DeliveryError:
        return DeliveryError(
            self.hide(error.message),
            is_final=error.is_final,
            is_uncertain=error.is_uncertain and name not in READING,
            status_code=error.status_code,
            retry_after_seconds=error.retry_after_seconds,
        )


def fill_json(value: JsonValue, values: Mapping[str, Any]) -> JsonValue:
    """Return a JSON value with the placeholders of its strings filled in."""
    if isinstance(value, str):
        filled: JsonValue = Text(value).fill_json(values)
        return filled
    if isinstance(value, dict):
        return {name: fill_json(member, values) for name, member in value.items()}
    if isinstance(value, list):
        return [fill_json(element, values) for element in value]
    return value


def _form(parts: Mapping[str, JsonValue], values: Mapping[str, Any], content: Content) -> tuple[bytes, str]:
    """Return (body, content type) of a form; the file comes last."""
    fields, file_field = {}, ""
    for name, value in parts.items():
        if isinstance(value, str) and Text(value).is_file:
            file_field = name
        elif isinstance(value, str):
            fields[name] = Text(value).fill(values)
        else:
            fields[name] = json.dumps(fill_json(value, values), ensure_ascii=False)
    return http.multipart(fields, file_field, content.name, content.media_type, content.data)
