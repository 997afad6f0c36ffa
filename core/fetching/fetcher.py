"""Fetches one file from an address that a person gave, or posts one message to it, checked and bounded."""

from __future__ import annotations

import hashlib
import tempfile
import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from itertools import chain
from typing import IO
from urllib.parse import urljoin

import httpcore

from core.fetching.bodies import SNIFFED_BYTES, decode_content, sniff, without_gzip
from core.fetching.exchange import Deadline, exchange, headers_of
from core.fetching.policy import PUBLIC, Policy, Refused
from core.fetching.redaction import redact_address
from core.fetching.urls import Target, parse

MAX_REDIRECTS = 5
MAX_ANSWER_BYTES = 64 * 1024  # to a message
IN_MEMORY_BYTES = 4 * 1024 * 1024
MAX_RETRY_AFTER_SECONDS = 86400.0
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_PASSING = frozenset({408, 409, 425, 429})  # client errors that may be temporary
_WORDS = {
    401: "it wants a password", 403: "it does not let us in", 404: "there is nothing", 410: "it is gone for good",
    429: "it is asked too often", 500: "it has trouble of its own", 502: "it has trouble of its own",
    503: "it is busy or being serviced",
}  # fmt: skip
_KINDS = {
    "text/html": "a web page", "application/xhtml+xml": "a web page", "text/plain": "text", "application/json": "JSON",
    "application/xml": "XML", "application/zip": "a ZIP archive", "application/pdf": "a PDF",
    "image/svg+xml": "a drawing (SVG)", "application/octet-stream": "bytes of no known kind",
}  # fmt: skip


@dataclass
class Fetched:
    """The result of a fetch. `file` is at its beginning, in memory or on disk; None if nothing was modified.

    content_type: recognised by the bytes. etag, last_modified: for the next fetch. A context manager closes the file.
    """

    final_url: str
    content_type: str
    etag: str
    last_modified: str
    not_modified: bool = False
    size: int = 0
    sha256: str = ""
    file: IO[bytes] | None = None

    @property
    def data(self) -> bytes:
        if self.file is None:
            return b""
        self.file.seek(0)
        return self.file.read()

    def __enter__(self) -> Fetched:
        return self

    def __exit__(self, *_: object) -> None:
        if self.file is not None:
            self.file.close()


def fetch(
    url: str,
    *,
    max_bytes: int,
    timeout_seconds: float,
    accept: Collection[str] = (),
    etag: str = "",
    last_modified: str = "",
    policy: Policy = PUBLIC,
    agent: str = "Proofline/1",
) -> Fetched:
    """GET one file. Raises Refused, with a sentence, if it cannot be fetched.

    max_bytes: of the unpacked content. timeout_seconds: for the whole fetch, with look-ups and redirects. accept: media
    types (or "image/") of which one must be recognised in the bytes; empty: any. A gzip file is unpacked unless
    "application/gzip" is accepted. etag, last_modified: of an earlier fetch; then `not_modified` may be True.
    """
    deadline = Deadline(timeout_seconds)
    request_headers = {"User-Agent": agent, "Accept": ", ".join(_accepted(accept)) or "*/*", "Accept-Encoding": "gzip"}
    conditions = {"If-None-Match": etag, "If-Modified-Since": last_modified}
    request_headers |= {name: value for name, value in conditions.items() if value}
    target = parse(url.strip(" "), policy)
    seen = {target.url}
    for _ in range(MAX_REDIRECTS + 1):
        with exchange(
            "GET", target, policy=policy, deadline=deadline, max_bytes=max_bytes, headers=request_headers
        ) as answer:
            headers = headers_of(answer)
            if answer.status not in _REDIRECTS:
                return _read_response(answer, headers, target, request_headers, accept, max_bytes, deadline)
        target = _redirect_target(target, headers.get("location", ""), answer.status, policy)
        if target.url in seen:
            raise Refused(f"{redact_address(url)} leads in a circle: {target.redacted} is redirected to again.")
        seen.add(target.url)
    raise Refused(f"{redact_address(url)} is redirected more than {MAX_REDIRECTS} times.")


def _redirect_target(target: Target, location: str, status: int, policy: Policy) -> Target:
    """Return the target of a redirect, checked as strictly as the first address."""
    if not location:
        raise Refused(f"{target.redacted} answered {status} without saying where to go.")
    try:
        if any(ord(character) < 0x20 or character == "\\" for character in location):
            raise ValueError("some programs read it differently")
        joined = urljoin(target.url, location)
    except ValueError:
        shown = redact_address(location)[:200]
        raise Refused(f"{target.redacted} redirects to {shown!r}, which is no proper address.") from None
    try:
        following = parse(joined, policy)
    except Refused as refusal:
        raise Refused(f"{target.redacted} redirects to an address that is not fetched. {refusal.message}") from None
    if target.scheme == "https" and following.scheme == "http":
        raise Refused(f"{target.redacted} redirects to {following.redacted}, from https to unprotected http.")
    return following


def _read_response(
    answer: httpcore.Response,
    headers: Mapping[str, str],
    target: Target,
    request_headers: Mapping[str, str],
    accept: Collection[str],
    max_bytes: int,
    deadline: Deadline,
) -> Fetched:
    """Return the file of the last response; raises Refused for a wrong status, size or media type."""
    etag, last_modified = headers.get("etag", ""), headers.get("last-modified", "")
    old_etag, old_modified = request_headers.get("If-None-Match", ""), request_headers.get("If-Modified-Since", "")
    if answer.status == 304 and (old_etag or old_modified):
        return Fetched(target.url, "", etag or old_etag, last_modified or old_modified, not_modified=True)
    if answer.status != 200:
        explanation = f": {_WORDS[answer.status]}" if answer.status in _WORDS else ""
        raise Refused(
            f"{target.redacted} answered {answer.status}{explanation}.",
            is_final=400 <= answer.status < 500 and answer.status not in _PASSING,
            status_code=answer.status,
            retry_after_seconds=retry_after(headers.get("retry-after", "")),
        )
    length = headers.get("content-length", "")
    if length.isdecimal() and (announced := int(length[:18])) > max_bytes:
        raise Refused(f"{target.redacted} announces {announced:,} bytes; the limit is {max_bytes:,}.")
    pieces = decode_content(
        answer.iter_stream(), headers.get("content-encoding", ""), max_bytes=max_bytes, where=target.redacted
    )
    if "application/gzip" not in accept:
        pieces = without_gzip(pieces, max_bytes=max_bytes, where=target.redacted)
    head = b""
    while len(head) < SNIFFED_BYTES and (piece := next(pieces, None)) is not None:
        head += piece
    content_type = _sniff_accepted(head, accept, target)
    digest, size = hashlib.sha256(), 0
    spool = tempfile.SpooledTemporaryFile(max_size=IN_MEMORY_BYTES)  # noqa: SIM115 - it is handed on, or closed below
    try:
        for piece in chain([head], pieces):
            if deadline.is_over:  # unpacking takes time too
                raise Refused(f"{target.redacted} did not end within {deadline.seconds:g} s.", is_final=False)
            spool.write(piece)
            digest.update(piece)
            size += len(piece)
        spool.seek(0)
    except BaseException:
        spool.close()
        raise
    return Fetched(target.url, content_type, etag, last_modified, size=size, sha256=digest.hexdigest(), file=spool)


def _sniff_accepted(head: bytes, accept: Collection[str], target: Target) -> str:
    """Return the media type of what begins with `head`. Raises Refused if it is empty or not accepted."""
    if not head:
        raise Refused(f"{target.redacted} is empty.", is_final=False)
    media_type = sniff(head[:SNIFFED_BYTES])
    if accept and media_type not in accept and media_type.partition("/")[0] + "/" not in accept:
        kind = _KINDS.get(media_type, media_type)
        is_image = all(accepted_type.startswith("image/") for accepted_type in accept)
        expected = "an image" if is_image else " or ".join(_accepted(accept))
        raise Refused(f"{target.redacted} is {kind}; expected {expected}.")
    return media_type


def _accepted(accept: Collection[str]) -> list[str]:
    return [f"{kind}*" if kind.endswith("/") else kind for kind in accept]


def retry_after(value: str) -> float | None:
    """Return seconds from a number or an HTTP date; at most a day, so that no server can delay us for ever."""
    plain = value.strip()
    if plain.isascii() and plain.isdecimal():
        return min(float(plain[:9]), MAX_RETRY_AFTER_SECONDS)
    try:
        wait = parsedate_to_datetime(plain).timestamp() - time.time()
    except (ValueError, OverflowError, TypeError):
        return None
    return min(max(wait, 0.0), MAX_RETRY_AFTER_SECONDS)


@dataclass(frozen=True)
class Answer:
    """The status, and the headers by lower-case name."""

    status: int
    headers: Mapping[str, str]


def post(
    url: str, *, body: bytes, headers: Mapping[str, str], timeout_seconds: float, policy: Policy = PUBLIC
) -> Answer:
    """POST one message; redirects are returned. Raises Refused, with is_final if the address itself is wrong."""
    deadline, target = Deadline(timeout_seconds), parse(url, policy)
    sent = {**headers, "Content-Length": str(len(body))}
    with exchange(
        "POST", target, policy=policy, deadline=deadline, max_bytes=MAX_ANSWER_BYTES, headers=sent, body=body
    ) as answer:
        remaining = MAX_ANSWER_BYTES  # read, so that the other side can finish; a longer body is not an error
        for piece in answer.iter_stream():
            remaining -= len(piece)
            if remaining < 0:
                break
    return Answer(answer.status, headers_of(answer))
