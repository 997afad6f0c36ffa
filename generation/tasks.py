"""What RQ calls: JSON scalars in, safe to run twice. The messages are nudges; the rows decide what is done."""

from django.db import close_old_connections

from generation.workers import process


def drain(lane: str) -> bool:
    """Work on a lane for a time slice; True if work was left."""
    close_old_connections()
    try:
        return process.drain(lane)
    finally:
        close_old_connections()
