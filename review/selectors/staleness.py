"""Explain why an image must be reviewed again, and select the approvals that are valid until then."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from django.db.models import Q

from generation.choices import AssetState
from generation.models import Asset, StaleAsset
from generation.selectors import inputs
from review.models import Decision

#: An asset whose approved files may be used.
PUBLISHED_ASSETS = Q(state=AssetState.APPROVED) | Q(state=AssetState.STALE, staleness__is_published=True)


def get_staleness(asset: Asset) -> dict[str, Any] | None:
    """Return why the image is stale, or what changed while it waits for its decision; None without a change.

    sentences: the changes since it was made. is_stale: it was approved before. is_published: its approved files are
    still in use.
    """
    row = StaleAsset.objects.filter(asset=asset).first() if asset.state == AssetState.STALE else None
    causes = row.causes if row else inputs.find_changes([asset.cell_id]).get(asset.cell_id, [])
    if asset.state not in {AssetState.IN_REVIEW, AssetState.STALE} or not causes:
        return None
    is_published = row is not None and row.is_published
    return {"sentences": inputs.sentences(causes), "is_stale": row is not None, "is_published": is_published}


def valid_approvals(version_ids: Iterable[int]) -> dict[int, Decision]:
    """Return the newest valid approval of each version that has one, by version id."""
    rows = Decision.objects.valid_approvals().filter(version__in=version_ids)
    return {approval.version_id: approval for approval in rows.select_related("decided_by", "task").order_by("id")}
