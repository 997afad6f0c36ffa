"""This app's periodic work: what follows from decisions, and deliveries that are due again."""

from __future__ import annotations

from campaigns.housekeeping import periodic
from generation.choices import Lane
from generation.services import nudges
from review.services import consequences, deliveries


@periodic(every_seconds=2)
def carry_out_decisions() -> int:
    return consequences.carry_out_due()


@periodic(every_seconds=5)
def renudge_deliveries() -> int:
    """Announce deliveries whose time has come: a retry is due later than the nudge that asked for the first try."""
    if not deliveries.has_due():
        return 0
    nudges.send(Lane.DELIVERY)
    return 1
