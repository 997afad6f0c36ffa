"""The program of a parsing child: reads requests from standard input, runs the task each names, writes the answers.

A request is {"task": "module:function", "arguments": {…}, "memory_bytes", "cpu_seconds"} with byte strings. The answer
begins with {"started": true} once the task is imported; limits count only from there. The task gets the arguments and
the byte strings and yields messages; {"end": true} follows the last. The child ends by itself when its parent has
ended, or has had nothing to do for it for a while.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import resource
import select
import sys
import time
from collections.abc import Callable, Iterable
from typing import IO, Any

from core.parsing import messages
from core.parsing.messages import Message

IDLE_SECONDS = 40.0
"""Longer than a parent keeps an idle child (processes.KEPT_SECONDS), so that none ends while a request is written."""
STARTED = {"started": True}
END = {"end": True}
Task = Callable[[dict[str, Any], list[bytes]], Iterable[Message]]


def main() -> None:
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    # What a task prints must not come between the messages.
    answers = os.fdopen(os.dup(1), "wb", buffering=1 << 16)
    os.dup2(2, 1)
    requests = sys.stdin.buffer
    with contextlib.suppress(BrokenPipeError):
        while select.select([requests], [], [], IDLE_SECONDS)[0] and serve_next(requests, answers):
            pass


def serve_next(requests: IO[bytes], answers: IO[bytes]) -> bool:
    """Read and serve one request; False if the parent has ended."""
    request = messages.read(requests)
    if request is not None:
        serve(request, answers)
    return request is not None


def serve(request: Message, answers: IO[bytes]) -> None:
    """Run one task under its limits. End the process if it runs out of memory: it may be in a bad state then."""
    asked = request.value
    module, _, name = asked["task"].partition(":")
    try:
        task: Task = getattr(importlib.import_module(module), name)
    except Exception as error:  # a fault of the installation, not of the file
        messages.write(answers, {"started": False, "reason": f"{type(error).__name__}: {error}"[:500]})
        return
    messages.write(answers, STARTED)
    limit(asked["memory_bytes"], asked["cpu_seconds"])
    try:
        for message in task(asked["arguments"], list(request.parts)):
            messages.write(answers, message.value, message.parts)
    except MemoryError:
        os._exit(1)
    except BrokenPipeError:
        raise
    except Exception as error:
        if "Insufficient memory" in str(error):  # OpenCV's own kind of error
            os._exit(1)
        messages.write(answers, {"broken": f"{type(error).__name__}: {error}"[:500]})
    messages.write(answers, END)
    lift_limits()


def limit(memory_bytes: int, cpu_seconds: int) -> None:
    """Limit what this process may take from now on: more memory, and more processor time."""
    used = int(time.process_time()) + cpu_seconds + 1
    _set(resource.RLIMIT_CPU, used)
    # macOS knows the limit on memory and refuses to set it.
    if sys.platform == "linux":
        with open("/proc/self/statm") as file:
            size = int(file.read().split()[0]) * resource.getpagesize()
        _set(resource.RLIMIT_AS, size + memory_bytes)


def lift_limits() -> None:
    """Remove the limits of the last task, so that reading the next request does not count against them."""
    for kind in (resource.RLIMIT_CPU, resource.RLIMIT_AS) if sys.platform == "linux" else (resource.RLIMIT_CPU,):
        hard = resource.getrlimit(kind)[1]
        resource.setrlimit(kind, (hard, hard))


def _set(kind: int, value: int) -> None:
    """Set the soft limit, which a later request may raise again, below the hard one that this machine sets."""
    hard = resource.getrlimit(kind)[1]
    resource.setrlimit(kind, (value if hard == resource.RLIM_INFINITY else min(value, hard), hard))


if __name__ == "__main__":
    main()
