"""What RQ calls: JSON scalars in, safe to run twice. The messages are nudges; the rows decide what is done."""

from typing import Any

from django.db import close_old_connections

from generation.models import Endpoint
from generation.services import asking
from generation.workers import process


def drain(lane: str) -> bool:
    """Work on a lane for a time slice; True if work was left."""
    close_old_connections()
    try:
        return process.drain(lane)
    finally:
        close_old_connections()


def ask_endpoint(endpoint_id: int) -> dict[str, Any]:
    """Ask an endpoint how it is; what it says is the message's result."""
    close_old_connections()
    try:
        endpoint = Endpoint.objects.filter(pk=endpoint_id).first()
        return asking.look(endpoint) if endpoint else {}
    finally:
        close_old_connections()
