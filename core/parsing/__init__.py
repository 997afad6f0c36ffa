"""Opens untrusted files in child processes with limits on memory and time.

A hostile file can crash native decoders or exhaust memory. A child has no database and no secrets in its environment.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import IO, Any

from core.parsing.messages import Broken, Exceeded, Limits, Message

__all__ = ["Broken", "Exceeded", "Limits", "Message", "prepare", "run_task", "stream_task"]

# The functions import `processes` when they are called. Children import this package too, and would otherwise import
# the loggers and the HTTP client of the parent, which takes longer than all that they need.


def prepare(task: str) -> None:
    """Start a child for `task` if none is free, without waiting for it, because a request is likely to follow."""
    from core.parsing import processes

    processes.answer_pool.prepare(task)


def run_task(
    task: str, arguments: Mapping[str, Any], parts: Sequence[bytes | IO[bytes]] = (), *, limits: Limits,
    is_patient: bool = False, deadline: float | None = None,
) -> Message:  # fmt: skip
    """Return a task's only answer. Raises Exceeded, Broken, and Busy.

    is_patient: wait for a place without limit. deadline: a time of `time.monotonic` at which this ends in any case,
    with Busy if the task has not begun, else with Exceeded.
    """
    from core.parsing import processes

    return processes.run_task(task, arguments, parts, limits, is_patient=is_patient, deadline=deadline)


def stream_task(
    task: str, arguments: Mapping[str, Any], parts: Sequence[bytes | IO[bytes]] = (), *, limits: Limits
) -> Iterator[Message]:
    """Yield the answers of a task; its child is in use until all are read. Raises Exceeded, Broken, and Busy."""
    from core.parsing import processes

    return processes.stream_pool.answers(task, arguments, parts, limits)
