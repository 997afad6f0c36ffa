"""The program of a parsing child: reads requests from standard input, runs their tasks, and writes the answers.

It is started with the module of the first task, imports that, and says {"ready": true}.

A request is {"task": "module:function", "arguments": {…}, "memory_bytes", "cpu_seconds"} with byte strings, which the
task gets. The answer begins with {"started": true}, from which the limits count, and ends with {"end": true}. The child
exits when its parent has ended, or has sent no request for a while.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import resource
import select
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from typing import IO, Any

from core.parsing import messages
from core.parsing.messages import Message

IDLE_SECONDS = 40.0  # longer than processes.KEPT_SECONDS, so that no child exits during a request
Task = Callable[[dict[str, Any], list[bytes]], Iterable[Message]]


def main() -> None:
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    # Output of a task must not mix with the messages.
    answers = os.fdopen(os.dup(1), "wb", buffering=1 << 16)
    os.dup2(2, 1)
    requests = sys.stdin.buffer
    for module in sys.argv[1:]:
        with contextlib.suppress(Exception):  # the request that needs the module says what is wrong with it
            importlib.import_module(module)
    with contextlib.suppress(BrokenPipeError):
        messages.write(answers, {"ready": True})
        while select.select([requests], [], [], IDLE_SECONDS)[0]:
            request = messages.read(requests)
            if request is None:  # the parent has ended
                break
            serve(request, answers)


def serve(request: Message, answers: IO[bytes]) -> None:
    """Run one task under its limits. Exit if the memory runs out, because the process may be in a bad state."""
    call = request.value
    module, _, name = call["task"].partition(":")
    try:
        task: Task = getattr(importlib.import_module(module), name)
    except Exception as error:  # an error of the installation, not of the file
        messages.write(answers, {"started": False, "reason": f"{type(error).__name__}: {error}"[:500]})
        return
    messages.write(answers, {"started": True})
    with limited(call["memory_bytes"], call["cpu_seconds"]):
        try:
            for message in task(call["arguments"], list(request.parts)):
                messages.write(answers, message.value, message.parts)
        except BrokenPipeError:
            raise
        except Exception as error:
            if isinstance(error, MemoryError) or "Insufficient memory" in str(error):  # the text is OpenCV's
                os._exit(1)
            messages.write(answers, {"broken": f"{type(error).__name__}: {error}"[:500]})
        messages.write(answers, {"end": True})


@contextlib.contextmanager
def limited(memory_bytes: int, cpu_seconds: int) -> Iterator[None]:
    """Set soft limits on the additional memory and processor time during the block; a later request may raise them."""
    limits = {resource.RLIMIT_CPU: int(time.process_time()) + cpu_seconds + 1}
    # macOS has the limit on memory but refuses to set it.
    if sys.platform == "linux":
        with open("/proc/self/statm") as file:
            size = int(file.read().split()[0]) * resource.getpagesize()
        limits[resource.RLIMIT_AS] = size + memory_bytes
    for kind, value in limits.items():
        hard = resource.getrlimit(kind)[1]
        resource.setrlimit(kind, (value if hard == resource.RLIM_INFINITY else min(value, hard), hard))
    yield
    for kind in limits:
        hard = resource.getrlimit(kind)[1]
        resource.setrlimit(kind, (hard, hard))


if __name__ == "__main__":
    main()
