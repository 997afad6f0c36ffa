"""Numbers of assets by campaign, state and check, and the assets with problems. Triggers write both."""

from __future__ import annotations

from django.db import models

from campaigns.models import Campaign
from core.access import BrandOwned
from core.counts import Count, Counts
from core.models import Brand
from generation.choices import AssetState
from generation.models.assets import Asset
from generation.models.runs import Run

ANY_CHECK = "any"
"""Instead of a check's name: assets with a problem of any check."""


class AssetProblem(models.Model):
    """A check of which the current version of an asset has a finding that is not a pass; another row is ANY_CHECK.

    Written by triggers only, so that the newest images with a problem are found without reading the others.
    """

    id = models.BigAutoField(primary_key=True)
    brand = models.ForeignKey(Brand, on_delete=models.CASCADE, related_name="+", db_constraint=False, db_index=False)
    asset = models.ForeignKey(Asset, on_delete=models.CASCADE, related_name="problems", db_constraint=False)
    check_name = models.CharField(max_length=40)

    objects = BrandOwned.as_manager()

    class Meta:
        ordering = ["-asset"]
        indexes = [
            # The library: a brand's images with a problem, newest first.
            models.Index(fields=["brand", "check_name", "-asset"], name="asset_problem_newest"),
        ]

    def __str__(self) -> str:
        return f"{self.check_name} of asset {self.asset_id}"


class AssetCount(Count):
    """The number of assets with these keys.

    check_name: "" for all assets, or those with an AssetProblem of this name.
    """

    brand = models.ForeignKey(Brand, on_delete=models.CASCADE, related_name="+", db_constraint=False, db_index=False)
    campaign = models.ForeignKey(
        Campaign, on_delete=models.CASCADE, related_name="+", db_constraint=False, db_index=False
    )
    run = models.ForeignKey(Run, on_delete=models.CASCADE, related_name="+", db_constraint=False, db_index=False)
    state = models.CharField(max_length=10, choices=AssetState.choices)
    is_sandbox = models.BooleanField()
    check_name = models.CharField(max_length=40, blank=True)

    keys = ("brand_id", "campaign_id", "run_id", "state", "is_sandbox", "check_name")
    counted = ("generation_asset", "generation_assetversion", "generation_finding", "generation_cell")
    counted_by = """
        SELECT brand_id, campaign_id, run_id, state, is_sandbox, check_name, count(*) AS number
        FROM generation_asset a
        JOIN generation_cell c ON c.id = a.cell_id
        CROSS JOIN LATERAL (
            SELECT '' AS check_name
            UNION ALL
            SELECT 'any' FROM generation_assetversion v WHERE v.id = a.current_version_id AND v.worst_outcome <> 'pass'
            UNION ALL
            SELECT f.check_name FROM generation_finding f
            WHERE f.version_id = a.current_version_id AND f.outcome <> 'pass'
        ) checks
        GROUP BY 1, 2, 3, 4, 5, 6
    """
    objects = Counts.as_manager()

    class Meta:
        ordering = ["id"]
        indexes = [
            models.Index(fields=["brand", "check_name", "campaign"], name="asset_count_brand"),
            models.Index(fields=["campaign"], name="asset_count_campaign"),
            models.Index(fields=["run"], name="asset_count_run"),
        ]

    def __str__(self) -> str:
        return f"{self.number} {self.state} in campaign {self.campaign_id}"
