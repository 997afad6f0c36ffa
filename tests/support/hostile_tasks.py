"""Tasks that harm the process that runs them, as hostile files do; that process imports this without Django."""

from __future__ import annotations

import os
import signal
import time
import zlib
from collections.abc import Iterator
from typing import Any

from core.parsing import Message


def misbehave(arguments: dict[str, Any], parts: list[bytes]) -> Iterator[Message]:
    """Do what `arguments` request, and answer with the environment and the parts."""
    what = arguments["what"]
    if what == "memory":
        yield Message(len(bytearray(1 << 30)))
    if what == "slow memory":
        kept = [bytearray(16 << 20) for _ in range(64)]
        yield Message(len(kept))
    if what == "time":
        while True:
            pass
    if what == "crash":
        os.kill(os.getpid(), signal.SIGSEGV)
    if what == "sleep":
        time.sleep(arguments["seconds"])
    if what == "error":
        raise KeyError("odd")
    if what == "exit":
        os._exit(0)
    if what == "print":
        print("not a message")
    yield Message({"environment": sorted(os.environ)}, [bytes(part) for part in parts])


def read_for_ever(arguments: dict[str, Any], parts: list[bytes]) -> Iterator[Message]:
    """Wait as a reader that has lost its way in a file."""
    time.sleep(3600)
    yield Message(None)


def unpack_endlessly(arguments: dict[str, Any], parts: list[bytes]) -> Iterator[Message]:
    """Unpack the same megabyte again and again, as the reader of a file that refers to itself."""
    packed = zlib.compress(bytes(1 << 20))
    while zlib.decompress(packed):
        pass
    yield Message(None)
