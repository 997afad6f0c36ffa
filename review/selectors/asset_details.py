"""Data of the asset detail page: the summary sentence, the timeline, and every record behind them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db.models import Prefetch

from core.errors import NotFound
from core.models import Event, User
from core.selectors.events import timeline
from generation.choices import AssetState
from generation.models import Asset, AssetVersion, Finding, Rendition
from review.choices import DecisionKind, DesiredState, ObservedState
from review.models import Decision, Delivery
from review.selectors import staleness
from review.selectors.lineage import lineage
from review.selectors.staleness import Staleness


@dataclass(frozen=True)
class AssetDetail:
    """Everything that the asset detail page shows.

    status: one sentence. versions: newest round first, with master, findings and renditions. deliveries: with
    destination and attempts. record: the technical record as plain JSON.
    """

    asset: Asset
    status: str
    versions: Sequence[AssetVersion]
    decisions: Sequence[Decision]
    deliveries: Sequence[Delivery]
    events: Sequence[Event]
    record: dict[str, Any]
    staleness: Staleness | None = None


def asset_detail(*, user: User, asset_id: int) -> AssetDetail:
    """Return everything about one image. Raises NotFound outside the user's brands."""
    asset = (
        Asset.objects.visible_to(user)
        .select_related(
            "brand",
            "campaign",
            "subject",
            "cell__run__prompt_version__template",
            "cell__run__endpoint",
            "current_version__master",
            "current_version__job__endpoint",
            "current_version__made_by",
        )
        .filter(pk=asset_id)
        .first()
    )
    if asset is None:
        raise NotFound(f"There is no image {asset_id}.")
    decisions = list(
        Decision.objects.filter(task__asset=asset)
        .select_related("decided_by", "reason", "version", "task", "voids")
        .order_by("id")
    )
    deliveries = list(
        Delivery.objects.filter(asset=asset)
        .select_related("destination")
        .prefetch_related("attempt_rows")
        .order_by("id")
    )
    version = asset.current_version
    approval = staleness.valid_approval(asset.pk, version.pk) if version else None
    return AssetDetail(
        asset=asset,
        status=status_sentence(asset, decisions, deliveries),
        versions=_versions(asset),
        decisions=decisions,
        deliveries=deliveries,
        events=list(timeline(user=user, object_type="asset", object_id=asset.pk)),
        record=lineage(version, approval) if version else {},
        staleness=staleness.get_staleness(asset),
    )


def _versions(asset: Asset) -> list[AssetVersion]:
    return list(
        AssetVersion.objects.filter(asset=asset)
        .select_related("master", "made_by", "job__endpoint")
        .prefetch_related(
            Prefetch("renditions", Rendition.objects.select_related("output_spec").order_by("output_spec_id")),
            Prefetch("findings", Finding.objects.select_related("duplicate__asset__subject").order_by("id")),
        )
        .order_by("-round", "candidate")
    )


def status_sentence(asset: Asset, decisions: Sequence[Decision], deliveries: Sequence[Delivery]) -> str:
    """Return the summary, such as "Approved by Ana Lopes on 14 Nov, live on Shopify since 15 Nov."."""
    valid = [decision for decision in decisions if decision.kind not in {DecisionKind.UNDONE}]
    last = valid[-1] if valid else None
    state = AssetState(asset.state)
    if state == AssetState.APPROVED and last:
        return f"Approved by {last.decided_by.display_name} on {_day(last.decided_at)}{_live_text(deliveries)}."
    if state == AssetState.REJECTED and last:
        why = f" ({last.reason.label})" if last.reason else ""
        return f"Rejected by {last.decided_by.display_name} on {_day(last.decided_at)}{why}."
    if state == AssetState.REVOKED and last:
        return f"Approval revoked by {last.decided_by.display_name} on {_day(last.decided_at)}: {last.note}"
    if state == AssetState.REVISING and last:
        return f"Sent back by {last.decided_by.display_name} on {_day(last.decided_at)}; round {asset.round} of it."
    plain = {
        AssetState.MAKING: "Being made.",
        AssetState.FAILED: "Could not be made; the run says why.",
        AssetState.IN_REVIEW: f"Waits for review, round {asset.round}.",
        AssetState.STALE: f"Was approved; waits for another look because something changed{_live_text(deliveries)}.",
        AssetState.SUPERSEDED: "Replaced by another image.",
    }
    return plain.get(state, f"{state.label}.")


def _live_text(deliveries: Sequence[Delivery]) -> str:
    live = [
        delivery
        for delivery in deliveries
        if delivery.desired == DesiredState.PRESENT and delivery.observed == ObservedState.PRESENT
    ]
    if live:
        return ", live on " + " and ".join(
            f"{delivery.destination.name} since {_day(delivery.changed_at)}" for delivery in live
        )
    failed = [delivery for delivery in deliveries if delivery.observed == ObservedState.FAILED]
    if failed:
        return f"; delivery to {failed[0].destination.name} failed: {failed[0].error}"
    return ", on its way" if any(delivery.desired == DesiredState.PRESENT for delivery in deliveries) else ""


def _day(at: datetime) -> str:
    return f"{at.day} {at:%b}"
