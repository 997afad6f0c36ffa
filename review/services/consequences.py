"""Carry out decisions once their undo time is over: deliveries, the pull API, the next round.

An image that used up its rounds, or that no engine can correct, is escalated: the campaign manager decides.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

import structlog
from django.db import transaction
from django.utils.translation import gettext as _

from core import access, clock
from core.access import Action
from core.errors import Conflict, DomainError
from core.events import publish
from core.models import Event, User
from generation.choices import AssetState
from generation.models import Asset
from generation.selectors import inputs
from generation.services.images import assets, rounds, staleness
from review.choices import DecisionKind, TaskState
from review.events import AssetReleased, TaskEscalated, TaskReturned
from review.models import Decision, ReviewTask
from review.services import deliveries, queue, released_files, stale_assets

log = structlog.get_logger(__name__)

MAX_ROUNDS = 3  # then the campaign manager is asked


def carry_out_due(now: datetime | None = None, limit: int = 200) -> int:
    """Carry out the decisions that took effect, each in its own transaction; return how many. Safe to run twice."""
    now = now or clock.now()
    due = list(
        Decision.objects.filter(consequences_at__isnull=True, effective_at__lte=now)
        .order_by("effective_at", "id")
        .values_list("pk", "task__asset_id", "kind")[:limit]
    )
    done = sum(_carry_out(decision_id, asset_id, kind, now) for decision_id, asset_id, kind in due)
    released_files.request(asset_id for _decision_id, asset_id, kind in due if kind == DecisionKind.APPROVED)
    return done


@transaction.atomic
def _carry_out(decision_id: int, asset_id: int, kind: str, now: datetime) -> bool:
    if kind == DecisionKind.NEEDS_REVISION:
        rounds.lock_run_of(asset_id)  # campaign and run are locked before the asset, here as everywhere
    asset = assets.lock(asset_id)
    if not Decision.objects.filter(pk=decision_id, consequences_at__isnull=True).update(consequences_at=now):
        return False
    decision = Decision.objects.select_related("version__master", "task", "decided_by").get(pk=decision_id)
    in_force = Decision.objects.filter(slot__task__asset_id=asset_id).order_by("-id")  # the newest one counts
    if in_force.values_list("pk", flat=True).first() != decision.pk:
        return True
    if decision.kind == DecisionKind.APPROVED and asset.state == AssetState.APPROVED:
        staleness.end(asset.pk)
        _release(asset, decision)
        return True
    _withdraw_stale(asset, decision)
    if decision.kind == DecisionKind.REJECTED and asset.state == AssetState.REJECTED:
        assets.mark_rejected(decision.version.master_id)
    elif decision.kind == DecisionKind.NEEDS_REVISION and asset.state == AssetState.REVISING:
        _open_next_round(asset, decision)
    return True


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
    payload = {
        "version": decision.version_id,
        "decision": decision.pk,
        "sku": asset.subject.key,
        "replaces": _find_replaced(asset, decision.version_id),
        "renditions": decision.pinned.get("renditions", {}),
    }
    publish(AssetReleased.of(asset, **payload), label="review")
    released_files.forget(decision.version_id)
    cause = f"approved by {decision.decided_by.display_name}"
    deliveries.deliver_everywhere(asset=asset, version=decision.version, cause=cause)


def _find_replaced(asset: Asset, version_id: int) -> int | None:
    """Return the version that was released last before, or None if there is none or it is this one.

    It is read from the events, because deliveries exist only where a brand has destinations.
    """
    released = Event.objects.filter(
        object_type=AssetReleased.object_type, object_id=asset.pk, type=AssetReleased.type
    ).order_by("-id")
    last: int | None = released.values_list("payload__version", flat=True).first()
    return None if last == version_id else last


def _open_next_round(asset: Asset, decision: Decision) -> None:
    """Open the next round. Escalate instead if the image needs a retouch, used up its rounds, or cannot be made."""
    if decision.controls.get("retouch") or asset.round >= MAX_ROUNDS:
        cause = "retouch" if decision.controls.get("retouch") else f"{asset.round} rounds"
        escalate(asset=asset, task=decision.task, cause=cause)
        return
    try:
        with transaction.atomic():
            rounds.open_next_round(
                asset_id=asset.pk, version_id=decision.version_id, controls=decision.controls, by=decision.decided_by
            )
    except DomainError as error:
        log.warning("round.refused", asset=asset.pk, message=error.message)
        escalate(asset=asset, task=decision.task, cause=error.message)


def escalate(*, asset: Asset, task: ReviewTask, cause: str) -> None:
    """Escalate the task to the owner of the campaign. The caller holds the asset's lock."""
    owner = asset.campaign.owner
    ReviewTask.objects.filter(pk=task.pk).update(escalated_to=owner)
    payload = {"task": task.pk, "round": asset.round, "to": owner.display_name, "cause": cause}
    publish(TaskEscalated.of(asset, **payload), label="review")


@transaction.atomic
def allow_round(*, task_id: int, by: User, controls: Mapping[str, Any]) -> ReviewTask:
    """Open another round with these control values. Raises Invalid if they would give the same image."""
    asset, task = _load_and_lock(task_id, by)
    if asset.current_version_id is None:
        raise Conflict(_("This image has no version to start from."))
    rounds.open_next_round(asset_id=asset.pk, version_id=asset.current_version_id, controls=controls, by=by)
    ReviewTask.objects.filter(pk=task.pk).update(escalated_to=None)
    return task


@transaction.atomic
def return_to_review(*, task_id: int, by: User, note: str) -> ReviewTask:
    asset, task = _load_and_lock(task_id, by)
    assets.move(asset, AssetState.IN_REVIEW, by=by)
    reopened = queue.open_task(asset=asset, stage=task.stage, by=by)
    if inputs.find_changes([asset.cell_id]):
        stale_assets.reset_approvals(brand_id=asset.brand_id, asset_ids=[asset.pk])
    publish(TaskReturned.of(asset, task=task.pk, note=note), by=by)
    return reopened


def _load_and_lock(task_id: int, by: User) -> tuple[Asset, ReviewTask]:
    task = queue.get(task_id, by)
    access.require(by, Action.RUN, task.brand)
    asset = assets.lock(task.asset_id)
    task = queue.lock(task_id)
    if task.escalated_to_id is None or task.state != TaskState.AWAITING_VERSION:
        raise Conflict(_("This image does not wait for a campaign manager."))
    return asset, task
