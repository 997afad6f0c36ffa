"""Messages between a process and its child: a line of JSON (no pickle: it is not trusted), and byte strings.

Also the limits and exceptions of tasks, because the child imports this module and not the one that starts it.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from typing import IO, Any

MAX_BYTES = 1 << 30  # of all byte strings of a message; one that announces more is not read
_CHUNK = 1 << 20


@dataclass(frozen=True)
class Limits:
    """Limits of one request, without the start of its child. seconds: elapsed time from one answer to the next."""

    memory_bytes: int
    cpu_seconds: int
    seconds: float


class Exceeded(Exception):
    """The child was killed or crashed: the file takes too much memory or time."""


class Broken(Exception):
    """The task raised an unexpected exception, which was logged."""


@dataclass(frozen=True)
class Message:
    """A message. value: plain JSON. parts: byte strings, which JSON cannot contain."""

    value: Any
    parts: Sequence[bytes] = ()


def write(stream: IO[bytes], value: Any, parts: Sequence[bytes | IO[bytes]] = ()) -> None:
    """Write one message. A part may be a file, which is copied from its beginning to its end."""
    sizes = [len(part) if isinstance(part, (bytes, bytearray, memoryview)) else part.seek(0, 2) for part in parts]
    stream.write(json.dumps({"value": value, "sizes": sizes}).encode() + b"\n")
    for part in parts:
        if isinstance(part, (bytes, bytearray, memoryview)):
            stream.write(part)
        else:
            part.seek(0)
            shutil.copyfileobj(part, stream, _CHUNK)
    stream.flush()


def read(stream: IO[bytes]) -> Message | None:
    """Return the next message; None if the other side has ended, or the message is incomplete or malformed."""
    line = stream.readline()
    if not line.endswith(b"\n"):
        return None
    try:
        head = json.loads(line)
        value, sizes = head["value"], [int(size) for size in head["sizes"]]
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError):
        return None
    if min(sizes, default=0) < 0 or sum(sizes) > MAX_BYTES:
        return None
    parts = []
    for size in sizes:
        part = stream.read(size)
        if len(part) < size:
            return None
        parts.append(part)
    return Message(value, parts)
