"""The lanes of this process: each app registers the function that a worker runs for messages of its lane."""

from __future__ import annotations

from collections.abc import Callable

WorkSlice = Callable[[], bool]  # does a slice of the work of a lane; returns True if some is left

_handlers: dict[str, WorkSlice] = {}


def serve_lane(lane: str) -> Callable[[WorkSlice], WorkSlice]:
    """Decorator: make workers of this process call the function for messages of `lane`."""

    def register(work: WorkSlice) -> WorkSlice:
        _handlers[lane] = work
        return work

    return register


def drain(lane: str) -> bool:
    """Do a slice of the lane's work; return True if some is left. Raises RuntimeError if nothing serves the lane."""
    if lane not in _handlers:
        raise RuntimeError("no worker was started in this process; use `manage.py worker`")
    return _handlers[lane]()
