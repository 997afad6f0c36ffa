"""The periodic tasks of this app: what follows from decisions, and deliveries that are due again."""

from __future__ import annotations

from core.choices import Lane
from core.periodic import periodic_task
from core.services import nudges
from review.services import consequences, deliveries


@periodic_task(every_seconds=2)
def carry_out_decisions() -> int:
    return consequences.carry_out_due()


@periodic_task(every_seconds=5)
def renudge_deliveries() -> int:
    """Announce deliveries whose time has come: a retry is due later than the nudge that asked for the first try."""
    if not deliveries.has_due():
        return 0
    nudges.send(Lane.DELIVERY)
    return 1
