"""The computations of the audit chain: canonical JSON, link hashes, and checking a chain. Pure; reads no database.

Anybody can check an exported trail with this module: hash = sha256(previous hash ‖ canonical JSON of the link).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

#: The previous hash of the first link of every brand.
GENESIS = "0" * 64
#: Type of the event that records that an operator removed a secret from an earlier event of the same chain.
REDACTED = "core.audit.redacted"


@dataclass(frozen=True)
class Link:
    """One sealed event: its number, the previous hash, its own hash, and the hashed body; None if the event is gone."""

    seq: int
    previous_hash: str
    hash: str
    body: Mapping[str, Any] | None


@dataclass(frozen=True)
class Verification:
    """The result of a check.

    count: valid links, counted from the first. head: the hash of the last of them. redacted: numbers of links whose
    event lost a secret later, as a later link of the chain records.
    """

    count: int
    is_intact: bool
    first_broken_seq: int | None
    message: str
    head: str = GENESIS
    redacted: tuple[int, ...] = ()


def canonical(value: Mapping[str, Any]) -> str:
    """Return JSON with sorted keys and no spaces: equal values give equal texts."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def link_hash(previous: str, link_body: Mapping[str, Any]) -> str:
    """Return the hash of the link that follows `previous`, as 64 hex digits."""
    return hashlib.sha256((previous + canonical(link_body)).encode()).hexdigest()


def check_links(links: Iterable[Link], *, anchor: tuple[int, str] | None = None) -> Verification:
    """Check the links in order and stop at the first invalid one.

    `anchor` is (number, hash) of a link noted earlier and kept elsewhere: it reveals a trail that was cut off or
    recomputed from some link on. A link whose event was changed is valid if a later link records its redaction, with
    the same link hash and with the hash of the current event.
    """
    head, expected = GENESIS, 1
    changed: dict[int, tuple[Link, str]] = {}  # number -> link and fault, until a later link explains it
    redacted: list[int] = []
    for link in links:
        fault = _describe_fault(link, expected, head)
        if fault and link.seq == expected and link.body is not None and link.previous_hash == head:
            changed[link.seq], fault = (link, fault), ""  # only the content of its event is wrong
        record = None if fault or link.seq in changed else link
        while record and (seq := _redacted_seq(record, changed)):
            redacted.append(seq)
            # It may itself record a redaction, and its reason may have been redacted later.
            record, _ = changed.pop(seq)
        if not fault and anchor and anchor[0] == link.seq and anchor[1] != link.hash:
            shown = f"{link.hash[:12]}…, not {anchor[1][:12]}…"
            fault = f"Link {link.seq} is not the one that was noted: its hash is {shown}."
        if fault:
            broken = Verification(expected - 1, False, min(expected, link.seq), fault, head)
            return _first_unexplained_change(changed) or broken
        head, expected = link.hash, expected + 1
    count = expected - 1
    if failure := _first_unexplained_change(changed):
        return failure
    if anchor and anchor[0] > count:
        fault = f"The trail ends at link {count}, but link {anchor[0]} was noted: it was cut off."
        return Verification(count, False, expected, fault, head)
    message = f"{count} links, each following from the one before."
    if redacted:
        message += f" A secret was removed later from {_numbers(redacted)}: a later link says when, by whom and why."
    return Verification(count, True, None, message, head, tuple(sorted(redacted)))


def body_sha256(link_body: Mapping[str, Any]) -> str:
    """Return the hash of an event's body alone, without the previous link's hash."""
    return hashlib.sha256(canonical(link_body).encode()).hexdigest()


def _redacted_seq(link: Link, changed: Mapping[int, tuple[Link, str]]) -> int | None:
    """Return the number of the changed link whose redaction this intact link records; None if it records none."""
    if link.body is None or link.body.get("type") != REDACTED:
        return None
    record = link.body.get("payload", {})
    seq = record.get("seq")
    if seq not in changed:
        return None
    target = changed[seq][0]
    is_same = record.get("hash") == target.hash and record.get("body_sha256") == body_sha256(target.body or {})
    return int(seq) if is_same else None


def _first_unexplained_change(changed: Mapping[int, tuple[Link, str]]) -> Verification | None:
    """Return the failed check of the first changed link; None if there are no changed links."""
    if not changed:
        return None
    first = min(changed)
    link, fault = changed[first]
    return Verification(first - 1, False, first, fault, link.previous_hash)


def _numbers(seqs: list[int]) -> str:
    shown = ", ".join(str(seq) for seq in sorted(seqs)[:20])
    return f"link {shown}" if len(seqs) == 1 else f"{len(seqs)} links ({shown}{', …' if len(seqs) > 20 else ''})"


def _describe_fault(link: Link, expected: int, head: str) -> str:
    """Return a sentence about the fault of `link`, which should be number `expected` after hash `head`; else ""."""
    if link.seq > expected:
        missing = f"Link {expected} is" if link.seq == expected + 1 else f"Links {expected} to {link.seq - 1} are"
        return f"{missing} missing: the seal was removed; the next one found is {link.seq}."
    if link.seq < expected:
        return f"Link {link.seq} comes after link {expected - 1}: the order was changed."
    if link.body is None:
        return f"Link {link.seq} has lost its event: the event was removed."
    if link_hash(link.previous_hash, link.body) != link.hash:
        if link_hash(head, link.body) == link.hash:
            return f"Link {link.seq} names another predecessor than the link before it: the seal was changed."
        return f"Link {link.seq} does not have its hash: event {link.body.get('event')} was changed or moved."
    if link.previous_hash != head:
        return f"Link {link.seq} does not follow from link {link.seq - 1}: a link before it was replaced."
    return ""


def to_line(link: Link) -> str:
    """Return one line of an export, without the line break."""
    return canonical(vars(link))


def from_line(line: str) -> Link:
    """Return the link of an export's line; raises ValueError if the line is not one of ours."""
    try:
        plain = json.loads(line)
        return Link(int(plain["seq"]), str(plain["previous_hash"]), str(plain["hash"]), plain["body"])
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"not a line of an audit export: {error}") from error


def verify_export(lines: Iterable[str], *, anchor: tuple[int, str] | None = None) -> Verification:
    """Check an exported trail, line by line, without a database. The body's number must equal the line's."""
    seen = 0

    def links() -> Iterable[Link]:
        nonlocal seen
        for line in lines:
            if line.strip():
                link = from_line(line)
                if link.body is not None and link.body.get("seq") != link.seq:
                    link = replace(link, body={**link.body, "moved from": link.body.get("seq")})
                yield link
                seen = link.seq

    try:
        return check_links(links(), anchor=anchor)
    except ValueError as error:
        return Verification(seen, False, seen + 1, f"The line after link {seen} is {error}.")
