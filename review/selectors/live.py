"""Live assets: approved ones whose current version some destination has."""

from __future__ import annotations

from typing import Any

from django.db.models import F, QuerySet

from generation.selectors import live
from review.choices import Desired, Observed
from review.models import Delivery


@live.provide
def delivered(campaign_id: int) -> QuerySet[Any]:
    """Ids of the campaign's assets that are wanted at a destination, are there, and are the version approved now."""
    there = Delivery.objects.filter(asset__campaign_id=campaign_id, desired=Desired.PRESENT, observed=Observed.PRESENT)
    return there.filter(version=F("asset__current_version")).values("asset_id")
