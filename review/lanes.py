"""The work of the delivery lane, and of this app on the io lane. Only workers import this module."""

from __future__ import annotations

import time

from core.choices import Lane
from core.services import wake_ups
from core.tasks import serve_lane
from review.services import deliveries, released_files, webhook_messages  # noqa: F401 - two register their work

SLICE_SECONDS = 5.0
"""The time for which a worker delivers at a stretch. It stops between two slices, if it is asked to."""


@serve_lane(Lane.DELIVERY)
def deliver() -> bool:
    """Try the deliveries that are due, for a time slice; return True if some are left."""
    wake_ups.clear_pending(Lane.DELIVERY)
    until = time.monotonic() + SLICE_SECONDS
    while time.monotonic() < until and deliveries.attempt_due(limit=1):
        pass
    is_left = deliveries.has_due()
    if is_left:
        wake_ups.send(Lane.DELIVERY)
    return is_left
