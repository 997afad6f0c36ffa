"""Sends one request to an address that a person gave, such as a webhook, with the same checks as fetching."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from core.fetching.exchange import Deadline, exchange, headers_of
from core.fetching.policy import PUBLIC, Policy
from core.fetching.resolving import resolve
from core.fetching.urls import parse

MAX_ANSWER_BYTES = 64 * 1024


@dataclass(frozen=True)
class Answer:
    """The status, the headers by lower-case name, and the first bytes of the body."""

    status: int
    headers: Mapping[str, str]
    body: bytes = b""

    def json(self) -> Any:
        """Return the body as JSON; None if it is none."""
        try:
            return json.loads(self.body)
        except (ValueError, RecursionError):
            return None


def request(
    method: str,
    url: str,
    *,
    body: bytes = b"",
    headers: Mapping[str, str],
    timeout_seconds: float,
    policy: Policy = PUBLIC,
    max_bytes: int = MAX_ANSWER_BYTES,
) -> Answer:
    """Send one request; redirects are returned. A longer body than `max_bytes` is cut there.

    Raises Refused, with is_final if the address itself is wrong, and is_unsent if the other side got nothing.
    """
    deadline = Deadline(timeout_seconds)
    target = parse(url, policy)
    ip_addresses = resolve(target, policy, seconds=deadline.remaining())
    sent = {**headers, "Content-Length": str(len(body))} if body or method in {"POST", "PUT", "PATCH"} else headers
    received = bytearray()
    with exchange(
        method,
        target,
        ip_addresses,
        policy=policy,
        deadline=deadline,
        max_bytes=max_bytes * 2,
        headers=sent,
        body=body,
    ) as answer:
        for piece in answer.iter_stream():
            received += piece
            if len(received) >= max_bytes:
                break
    return Answer(answer.status, headers_of(answer), bytes(received[:max_bytes]))


def post(
    url: str, *, body: bytes, headers: Mapping[str, str], timeout_seconds: float, policy: Policy = PUBLIC
) -> Answer:
    """POST one message, as `request` does."""
    return request("POST", url, body=body, headers=headers, timeout_seconds=timeout_seconds, policy=policy)
