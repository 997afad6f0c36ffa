"""Sends one message to an address that a person gave, such as a webhook, with the same checks as fetching."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from core.fetching.exchange import Deadline, exchange
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
    """POST one message and read the response to its end or to 64 KiB. Redirects are not followed but returned.

    Raises Refused, with is_final if the address itself is wrong.
    """
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
        kept = {name.decode("ascii", "replace").lower(): value.decode("latin-1") for name, value in answer.headers}
        _drop(answer.iter_stream())
    return Answer(answer.status, kept)


def _drop(pieces: Iterable[bytes]) -> None:
    """Read up to MAX_ANSWER_BYTES, so that the other side can finish; a longer body is not an error."""
    remaining = MAX_ANSWER_BYTES
    for piece in pieces:
        remaining -= len(piece)
        if remaining < 0:
            return
