"""Messages between a process and its parsing child: one line of JSON, and byte strings behind it.

JSON and not pickle, because what a child says is not trusted.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from typing import IO, Any

MAX_BYTES = 1 << 30
"""Of all byte strings of one message: what says that it has more is not believed."""
_CHUNK = 1 << 20


@dataclass(frozen=True)
class Message:
    """value: plain JSON. parts: byte strings that would be too large, or no text, within it."""

    value: Any
    parts: Sequence[bytes] = ()


def write(stream: IO[bytes], value: Any, parts: Sequence[bytes | IO[bytes]] = ()) -> None:
    """Write one message. A part may be a file, which is copied from its beginning to its end."""
    sizes = [len(part) if isinstance(part, (bytes, bytearray, memoryview)) else _size(part) for part in parts]
    stream.write(json.dumps({"value": value, "sizes": sizes}).encode() + b"\n")
    for part in parts:
        if isinstance(part, (bytes, bytearray, memoryview)):
            stream.write(part)
        else:
            part.seek(0)
            shutil.copyfileobj(part, stream, _CHUNK)
    stream.flush()


def _size(file: IO[bytes]) -> int:
    return file.seek(0, 2)


def read(stream: IO[bytes]) -> Message | None:
    """The next message; None where the other side has ended, also in the middle of one."""
    line = stream.readline()
    if not line.endswith(b"\n"):
        return None
    head = json.loads(line)
    if sum(head["sizes"]) > MAX_BYTES:
        return None
    parts = []
    for size in head["sizes"]:
        part = stream.read(size)
        if len(part) < size:
            return None
        parts.append(part)
    return Message(head["value"], parts)
