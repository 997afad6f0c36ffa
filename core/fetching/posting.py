"""Sending one message to an address that a person gave, such as a webhook: as guarded as fetching."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from core.fetching.exchange import Deadline, exchange
from core.fetching.policy import PUBLIC, Policy
from core.fetching.resolving import addresses
from core.fetching.urls import parse

MAX_ANSWER_BYTES = 64 * 1024


@dataclass(frozen=True)
class Answer:
    """status, and headers by lower-case name."""

    status: int
    headers: Mapping[str, str]


def post(
    url: str, *, body: bytes, headers: Mapping[str, str], timeout_seconds: float, policy: Policy = PUBLIC
) -> Answer:
    """POST one message and read the answer to its end or to 64 KiB. No redirect is followed: a 3xx is an answer.

    Raises Refused; is_final when the address itself is at fault.
    """
    deadline = Deadline(timeout_seconds)
    target = parse(url, policy)
    found = addresses(target, policy, seconds=deadline.left())
    sent = {**headers, "Content-Length": str(len(body))}
    with exchange(
        "POST", target, found, policy=policy, deadline=deadline, max_bytes=MAX_ANSWER_BYTES, headers=sent, body=body
    ) as answer:
        kept = {name.decode("ascii", "replace").lower(): value.decode("latin-1") for name, value in answer.headers}
        _drop(answer.iter_stream())
    return Answer(answer.status, kept)


def _drop(pieces: Iterable[bytes]) -> None:
    """Read on so that the other side can end; more than that is not read, and no failure."""
    left = MAX_ANSWER_BYTES
    for piece in pieces:
        left -= len(piece)
        if left < 0:
            return
