"""Live assets: approved assets whose current version is at a destination."""

from __future__ import annotations

from typing import Any

from django.db.models import F, QuerySet

from generation.selectors import coverage
from review.choices import DesiredState, ObservedState
from review.models import Delivery


@coverage.register_live_query
def delivered_asset_ids(campaign_id: int) -> QuerySet[Any]:
    """Return the ids of the campaign's assets whose current version is desired and present at a destination."""
    present = Delivery.objects.filter(
        asset__campaign_id=campaign_id, desired=DesiredState.PRESENT, observed=ObservedState.PRESENT
    )
    return present.filter(version=F("asset__current_version")).values("asset_id")
