"""The function that RQ calls for a wake-up message. It is safe to run twice; the database says what work there is."""

from django.db import close_old_connections

from core import lanes


def drain(lane: str) -> bool:
    """Work on a lane for a time slice; return True if work is left."""
    close_old_connections()
    try:
        return lanes.drain(lane)
    finally:
        close_old_connections()
