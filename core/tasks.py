"""The function that RQ calls for a wake-up message. It is safe to run twice; the database says what work there is."""

from collections.abc import Iterator
from contextlib import contextmanager

from django.db import close_old_connections

from core import lanes


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
    """Work on a lane for a time slice; return True if work is left."""
    return lanes.drain(lane)
