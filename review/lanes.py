"""The work of the delivery lane, and of this app on the io lane. Only workers import this module."""

from __future__ import annotations

from core.choices import Lane
from core.services import wake_ups
from core.tasks import serve_lane
from review.services import deliveries, webhook_messages  # noqa: F401 - webhook_messages registers its work


@serve_lane(Lane.DELIVERY)
def deliver() -> bool:
    """Try the deliveries that are due; return True if some are left."""
    wake_ups.clear_pending(Lane.DELIVERY)
    deliveries.attempt_due()
    return deliveries.has_due()
