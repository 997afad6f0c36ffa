"""The function that RQ calls for a wake-up message, and the work of each lane. It is safe to run twice."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from django.db import close_old_connections

WorkSlice = Callable[[], bool]  # does a slice of the work of a lane; returns True if some is left

_handlers: dict[str, WorkSlice] = {}


def serve_lane(lane: str) -> Callable[[WorkSlice], WorkSlice]:
    """Decorator: make workers of this process call the function for messages of `lane`."""

    def register(work: WorkSlice) -> WorkSlice:
        _handlers[lane] = work
        return work

    return register


@contextmanager
def fresh_connections() -> Iterator[None]:
    """Close connections that are broken or too old, before and after a task. It also decorates functions."""
    close_old_connections()
    try:
        yield
    finally:
        close_old_connections()


@fresh_connections()
def drain(lane: str) -> bool:
    """Do a slice of the lane's work; return True if some is left. Raises RuntimeError if nothing serves the lane."""
    if lane not in _handlers:
        raise RuntimeError("no worker was started in this process; use `manage.py worker`")
    return _handlers[lane]()
