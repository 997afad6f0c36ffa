"""Carry out decisions once their undo time is over: deliveries, the pull API, the next round."""

from __future__ import annotations

from datetime import datetime

import structlog
from django.db import transaction

from core import clock
from core.errors import DomainError
from core.events import publish
from generation.choices import AssetState
from generation.models import Asset
from generation.services.images import assets, masters, rounds, staleness
from review.choices import DecisionKind
from review.events import AssetReleased
from review.models import Decision, Delivery
from review.services import deliveries, escalations

log = structlog.get_logger(__name__)

MAX_ROUNDS = 3  # then the campaign manager is asked


def carry_out_due(now: datetime | None = None, limit: int = 200) -> int:
    """Carry out the decisions that took effect; return how many. Safe to run twice and concurrently.

    Each decision has its own transaction. If one cannot be carried out, the campaign manager decides; the others go on.
    """
    now = now or clock.now()
    due = list(
        Decision.objects.filter(consequences_at__isnull=True, effective_at__lte=now)
        .order_by("effective_at", "id")
        .values_list("pk", "task__asset_id", "kind")[:limit]
    )
    return sum(_carry_out(decision_id, asset_id, kind, now) for decision_id, asset_id, kind in due)


@transaction.atomic
def _carry_out(decision_id: int, asset_id: int, kind: str, now: datetime) -> bool:
    if kind == DecisionKind.NEEDS_REVISION:
        rounds.lock_run_of(asset_id)  # campaign and run are locked before the asset, here as everywhere
    asset = assets.lock(asset_id)
    mine = Decision.objects.filter(pk=decision_id, consequences_at__isnull=True).update(consequences_at=now)
    if not mine:
        return False
    decision = Decision.objects.select_related("version__master", "task", "decided_by").get(pk=decision_id)
    if not _is_in_force(decision):
        return True
    if decision.kind == DecisionKind.APPROVED and asset.state == AssetState.APPROVED:
        staleness.end(asset.pk)
        _release(asset, decision)
        return True
    _withdraw_stale(asset, decision)
    if decision.kind == DecisionKind.REJECTED and asset.state == AssetState.REJECTED:
        masters.mark_rejected(decision.version.master_id)
    elif decision.kind == DecisionKind.NEEDS_REVISION and asset.state == AssetState.REVISING:
        _open_next_round(asset, decision)
    return True


def _is_in_force(decision: Decision) -> bool:
    """Return whether the decision fills a slot and is the asset's newest: of several approvals, the last one counts."""
    decisions = Decision.objects.filter(slot__task__asset_id=decision.task.asset_id)
    newest = decisions.order_by("-id").values_list("pk", flat=True).first()
    return newest == decision.pk


def _withdraw_stale(asset: Asset, decision: Decision) -> None:
    """Withdraw a stale image that was still published and has now been rejected or sent back."""
    if decision.kind == DecisionKind.APPROVED or asset.state not in {AssetState.REJECTED, AssetState.REVISING}:
        return
    stale = staleness.end(asset.pk)
    if stale is not None and stale.is_published:
        verb = "rejected" if decision.kind == DecisionKind.REJECTED else "sent back"
        deliveries.withdraw_everywhere(asset=asset, by=None, cause=f"{verb} by {decision.decided_by.display_name}")


def _release(asset: Asset, decision: Decision) -> None:
    """Let API clients pull the asset, and deliver it to every destination."""
    earlier = Delivery.objects.filter(asset=asset).exclude(version_id=decision.version_id)
    payload = {
        "version": decision.version_id,
        "decision": decision.pk,
        "sku": asset.subject.key,
        "replaces": earlier.values_list("version_id", flat=True).first(),
        "renditions": decision.pinned.get("renditions", {}),
    }
    publish(AssetReleased(brand_id=asset.brand_id, object_id=asset.pk, payload=payload), label="review")
    cause = f"approved by {decision.decided_by.display_name}"
    deliveries.deliver_everywhere(asset=asset, version=decision.version, cause=cause)


def _open_next_round(asset: Asset, decision: Decision) -> None:
    """Open the next round. Escalate instead if the image needs a retouch, used up its rounds, or cannot be made."""
    if decision.controls.get("retouch"):
        escalations.escalate(asset=asset, task=decision.task, cause="retouch")
        return
    if asset.round >= MAX_ROUNDS:
        escalations.escalate(asset=asset, task=decision.task, cause=f"{asset.round} rounds")
        return
    try:
        with transaction.atomic():
            rounds.open_next_round(
                asset_id=asset.pk, version_id=decision.version_id, controls=decision.controls, by=decision.decided_by
            )
    except DomainError as error:
        log.warning("round.refused", asset=asset.pk, message=error.message)
        escalations.escalate(asset=asset, task=decision.task, cause=error.message)
