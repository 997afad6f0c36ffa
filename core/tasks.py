"""The function that RQ calls for a nudge: JSON scalars in, safe to run twice. The rows decide what is done."""

from django.db import close_old_connections

from core import lanes


def drain(lane: str) -> bool:
    """Work on a lane for a time slice; True if work was left."""
    close_old_connections()
    try:
        return lanes.drain(lane)
    finally:
        close_old_connections()
