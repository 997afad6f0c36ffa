"""The work of the delivery lane. Only workers import this module."""

from __future__ import annotations

from core.choices import Lane
from core.lanes import serve_lane
from core.services import nudges
from review.services import deliveries


@serve_lane(Lane.DELIVERY)
def deliver() -> bool:
    """Try the deliveries that are due; return True if some are left."""
    nudges.taken(Lane.DELIVERY)
    deliveries.work_due()
    return deliveries.has_due()
