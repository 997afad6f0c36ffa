"""The HTTP client of destinations: guarded requests, and one reading of answers for all of them."""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlencode

from core import fetching
from core.fetching import Answer
from core.fetching.fetcher import retry_after
from review.delivery.base import DeliveryError

TIMEOUT_SECONDS = 60.0
MAX_ANSWER_BYTES = 4 * 1024 * 1024
MAX_IMAGE_BYTES = 64 * 1024 * 1024
READING = frozenset({"GET", "HEAD", "OPTIONS"})


def policy(*, allow_private: bool) -> fetching.Policy:
    """Return the addresses that a destination may have: public ones over https; with `allow_private` private ones, too.

    The addresses at which clouds give a machine the keys of its role are never among them.
    """
    if allow_private:
        return fetching.Policy(ports=None, private=fetching.PRIVATE)
    return fetching.Policy(schemes=frozenset({"https"}), ports=None)


class Client:
    """Requests to one service. base_url: its addresses begin so. headers: sent with each request, such as a login."""

    def __init__(self, base_url: str, *, allow_private: bool = False, headers: Mapping[str, str] | None = None) -> None:
        self.base_url = base_url.rstrip("/")
        self.policy = policy(allow_private=allow_private)
        self.headers = {"user-agent": "Proofline/1", "accept": "application/json", **(headers or {})}

    def validate(self) -> list[str]:
        """Return what is wrong with the address, as sentences."""
        try:
            fetching.parse(self.base_url, self.policy)
        except fetching.Refused as refusal:
            return [f"url: {refusal.message}"]
        return []

    def send(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, Any] | None = None,
        data: Any = None,
        body: bytes = b"",
        headers: Mapping[str, str] | None = None,
        accept: tuple[int, ...] = (),
        max_bytes: int = MAX_ANSWER_BYTES,
    ) -> Answer:
        """Send one request and return the answer if its status is 2xx or in `accept`. Raises DeliveryError.

        path: added to the base address, or a whole address. data: sent as JSON. Of a change (any method that is not in
        READING) that was cut off, timed out or answered with 5xx it is unknown whether it was made: is_uncertain.
        """
        address = path if "://" in path else f"{self.base_url}/{path.lstrip('/')}"
        if query:
            address += ("&" if "?" in address else "?") + urlencode(query)
        sent = {**self.headers, **(headers or {})}
        if data is not None:
            body, sent["content-type"] = json.dumps(data).encode(), "application/json"
        try:
            answer = fetching.request(
                method,
                address,
                body=body,
                headers=sent,
                timeout_seconds=TIMEOUT_SECONDS,
                policy=self.policy,
                max_bytes=max_bytes,
            )
        except fetching.Refused as refusal:
            is_uncertain = not refusal.is_unsent and method not in READING
            raise DeliveryError(refusal.message, is_final=refusal.is_final, is_uncertain=is_uncertain) from None
        if 200 <= answer.status < 300 or answer.status in accept:
            return answer
        raise self._error(method, address, answer)

    def read(self, address: str) -> bytes | None:
        """Return the file that is served at an address, without the login; None if nothing is. Raises DeliveryError."""
        return read_served(address, self.policy)

    def _error(self, method: str, address: str, answer: Answer) -> DeliveryError:
        where = fetching.redact_address(address)
        if 300 <= answer.status < 400:
            elsewhere = fetching.redact_address(answer.headers.get("location", "nowhere"))
            message = f"{where} answered {answer.status} (to {elsewhere}); enter the final address."
            return DeliveryError(message, is_final=True, status_code=answer.status)
        words = describe_problem(answer)
        message = f"{where} answered {answer.status}" + (f": {words}" if words else ".")
        return DeliveryError(
            message[:500],
            is_final=answer.status < 500 and answer.status not in {408, 409, 423, 425, 429},
            is_uncertain=answer.status >= 500 and method not in READING,
            status_code=answer.status,
            retry_after_seconds=retry_after(answer.headers.get("retry-after", "")),
        )


class JsonClient(Client):
    """A client of a service that answers with JSON. product: what is at the address, for the sentence if it is not."""

    product: str
    answers: tuple[type, ...] = (dict,)
    """The types of JSON that its answers have."""

    def call(self, method: str, route: str, **request: Any) -> Any:
        """Return the JSON that a route answers. Raises DeliveryError; further arguments as of `send`."""
        answer = self.send(method, route, **request)
        content = answer.json()
        if not isinstance(content, self.answers):
            where = fetching.redact_address(self.base_url)
            message = f"{where} answered something else than JSON: is it {self.product}?"
            raise DeliveryError(message, is_uncertain=method not in READING, status_code=answer.status)
        return content

    def get(self, route: str, **query: Any) -> Any:
        """Return what a route answers; None if the thing is not there. Raises DeliveryError."""
        try:
            return self.call("GET", route, query=query)
        except DeliveryError as error:
            if self.is_missing(error):
                return None
            raise

    def is_missing(self, error: DeliveryError) -> bool:
        """Return whether an error says that the thing is not there."""
        return error.status_code == 404


def describe_problem(answer: Answer) -> str:
    """Return the words of an error answer if it is JSON, such as its "message", "detail" or "title", else nothing.

    Some services have them in an object "error" or "data", or in the first one of a list "errors".
    """
    content = answer.json()
    if isinstance(content, dict):
        errors = content.get("errors")
        inner = errors[0] if isinstance(errors, list) and errors else content.get("error") or content.get("data")
        content = content | inner if isinstance(inner, dict) else content
        for name in ("message", "detail", "title", "error_description", "description", "error"):
            if isinstance(content.get(name), str) and content[name].strip():
                return str(content[name]).strip()[:300]
    return ""


def read_served(
    address: str,
    rules: fetching.Policy,
    *,
    max_bytes: int = MAX_IMAGE_BYTES,
    timeout_seconds: float = TIMEOUT_SECONDS,
) -> bytes | None:
    """Return what an address serves to everybody; None if it answers 404 or 410. Raises DeliveryError."""
    try:
        with fetching.fetch(address, max_bytes=max_bytes, timeout_seconds=timeout_seconds, policy=rules) as fetched:
            return fetched.data
    except fetching.Refused as refusal:
        if refusal.status_code in {404, 410}:
            return None
        raise DeliveryError(refusal.message, is_final=refusal.is_final, status_code=refusal.status_code) from None


def multipart(
    fields: Mapping[str, str], file_field: str, name: str, media_type: str, content: bytes
) -> tuple[bytes, str]:
    """Return (body, content type) of a form with one file, which comes last. The name must be plain ASCII."""
    boundary = f"proofline-{uuid.uuid4().hex}"
    parts = [
        f'--{boundary}\r\nContent-Disposition: form-data; name="{field}"\r\n\r\n{value}\r\n'.encode()
        for field, value in fields.items()
    ]
    head = (
        f'--{boundary}\r\nContent-Disposition: form-data; name="{file_field}"; filename="{name}"\r\n'
        f"Content-Type: {media_type}\r\n\r\n"
    )
    return b"".join([*parts, head.encode(), content, f"\r\n--{boundary}--\r\n".encode()]), (
        f"multipart/form-data; boundary={boundary}"
    )
