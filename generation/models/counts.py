"""The model of the numbers of assets by campaign, state and check."""

from __future__ import annotations

from django.db import models

from campaigns.models import Campaign
from core.counts import Count, Counts
from core.models import Brand
from generation.choices import AssetState

EVERY, PROBLEM = "", "any"
"""Instead of a check's name: all assets, and those with a finding that is not a pass."""


class AssetCount(Count):
    """The number of assets with these keys. check_name: of a finding of the current version that is not a pass."""

    brand = models.ForeignKey(Brand, on_delete=models.CASCADE, related_name="+", db_constraint=False, db_index=False)
    campaign = models.ForeignKey(
        Campaign, on_delete=models.CASCADE, related_name="+", db_constraint=False, db_index=False
    )
    state = models.CharField(max_length=10, choices=AssetState.choices)
    is_sandbox = models.BooleanField()
    check_name = models.CharField(max_length=40, blank=True)

    keys = ("brand_id", "campaign_id", "state", "is_sandbox", "check_name")
    counted = ("generation_asset", "generation_assetversion", "generation_finding")
    counted_by = """
        SELECT brand_id, campaign_id, state, is_sandbox, '' AS check_name, count(*) AS number
        FROM generation_asset GROUP BY 1, 2, 3, 4
        UNION ALL
        SELECT brand_id, campaign_id, state, is_sandbox, 'any', count(*)
        FROM generation_asset a JOIN generation_assetversion v ON v.id = a.current_version_id
        WHERE v.worst_outcome <> 'pass' GROUP BY 1, 2, 3, 4
        UNION ALL
        SELECT brand_id, campaign_id, state, is_sandbox, check_name, count(*)
        FROM generation_asset a JOIN generation_finding f ON f.version_id = a.current_version_id
        WHERE f.outcome <> 'pass' GROUP BY 1, 2, 3, 4, 5
    """
    objects = Counts.as_manager()

    class Meta:
        ordering = ["id"]
        indexes = [
            models.Index(fields=["brand", "check_name", "campaign"], name="asset_count_brand"),
            models.Index(fields=["campaign"], name="asset_count_campaign"),
        ]

    def __str__(self) -> str:
        return f"{self.number} {self.state} in campaign {self.campaign_id}"
