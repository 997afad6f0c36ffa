"""The work of this app's lane: deliveries. Imported by workers only."""

from __future__ import annotations

from core.choices import Lane
from core.lanes import serve_lane
from core.services import nudges
from review.services import deliveries


@serve_lane(Lane.DELIVERY)
def deliver() -> bool:
    """A slice of the delivery lane's work; True if some is left."""
    nudges.taken(Lane.DELIVERY)
    deliveries.work_due()
    return deliveries.has_due()
