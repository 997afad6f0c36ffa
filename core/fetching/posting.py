"""Sends one message to an address that a person gave, such as a webhook, with the same checks as fetching."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from core.fetching.exchange import Deadline, exchange, headers_of
from core.fetching.policy import PUBLIC, Policy
from core.fetching.resolving import resolve
from core.fetching.urls import parse

MAX_ANSWER_BYTES = 64 * 1024


@dataclass(frozen=True)
class Answer:
    """The status, and the headers by lower-case name."""

    status: int
    headers: Mapping[str, str]


def post(
    url: str, *, body: bytes, headers: Mapping[str, str], timeout_seconds: float, policy: Policy = PUBLIC
) -> Answer:
    """POST one message; redirects are returned. Raises Refused, with is_final if the address itself is wrong."""
    deadline = Deadline(timeout_seconds)
    target = parse(url, policy)
    ip_addresses = resolve(target, policy, seconds=deadline.remaining())
    sent = {**headers, "Content-Length": str(len(body))}
    with exchange(
        "POST",
        target,
        ip_addresses,
        policy=policy,
        deadline=deadline,
        max_bytes=MAX_ANSWER_BYTES,
        headers=sent,
        body=body,
    ) as answer:
        remaining = MAX_ANSWER_BYTES  # read, so that the other side can finish; a longer body is not an error
        for piece in answer.iter_stream():
            remaining -= len(piece)
            if remaining < 0:
                break
    return Answer(answer.status, headers_of(answer))
