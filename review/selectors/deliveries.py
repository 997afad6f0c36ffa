"""Read a brand's deliveries and destinations, and say which assets are live."""

from __future__ import annotations

from typing import Any

from django.db.models import Count, F, QuerySet
from django.utils.translation import gettext_lazy as _

from core.models import Brand, User
from generation.selectors import coverage
from review.choices import DesiredState, ObservedState
from review.models import Delivery, Destination

_STATE_LABELS = {
    "failed": _("failed"),
    "sending": _("being sent"),
    "present": _("live"),
    "removing": _("being removed"),
    "absent": _("not there"),
}


def matching_deliveries(user: User, brand: Brand, *, state: str = "", destination: str = "") -> QuerySet[Delivery]:
    """Return deliveries, newest first, of one observed state and to one destination where these are given."""
    rows: QuerySet[Delivery] = Delivery.objects.visible_to(user).filter(destination__brand=brand).order_by("-pk")
    rows = rows.select_related(
        "asset__subject", "asset__campaign", "destination", "version__master", "version__job__endpoint"
    )
    if state in ObservedState.values:
        rows = rows.filter(observed=state)
    return rows.filter(destination__slug=destination) if destination else rows


def destinations(user: User, brand: Brand) -> QuerySet[Destination]:
    rows: QuerySet[Destination] = Destination.objects.visible_to(user).filter(brand=brand)
    return rows


def count_by_state(user: User, brand: Brand) -> list[tuple[str, str, int]]:
    """Return (observed state, its label, count); failed ones come first. One query."""
    rows = Delivery.objects.visible_to(user).filter(destination__brand=brand).order_by()
    totals = dict(rows.values_list("observed").annotate(count=Count("pk")))
    return [(state, str(label), totals[state]) for state, label in _STATE_LABELS.items() if state in totals]


@coverage.register_live_query
def delivered_asset_ids(campaign_id: int) -> QuerySet[Any]:
    """Return the ids of the campaign's assets whose current version is desired and present at a destination."""
    present = Delivery.objects.filter(
        asset__campaign_id=campaign_id, desired=DesiredState.PRESENT, observed=ObservedState.PRESENT
    )
    return present.filter(version=F("asset__current_version")).values("asset_id")
