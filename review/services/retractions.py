"""Take a decision back: undo, revoke, reopen. Nothing is deleted; a new decision voids the earlier one."""

from __future__ import annotations

from django.db import transaction
from django.utils.translation import gettext as _

from core import access, clock
from core.access import Action
from core.errors import Conflict, Invalid, NotAllowed, Problem
from core.events import publish
from core.models import User
from core.selectors.rows import first_or_refuse
from generation.choices import AssetState
from generation.models import Asset, StaleAsset
from generation.selectors import inputs
from generation.services.images import assets, staleness
from review.choices import DecisionKind, DesiredState, TaskState
from review.events import ApprovalRevoked, AssetReopened, DecisionUndone
from review.models import Decision, DecisionSlot, Delivery, ReviewTask
from review.services import deliveries, queue, stale_assets


@transaction.atomic
def undo(*, decision_id: int, by: User, withdraws: bool = False, note: str = "") -> Decision:
    """Void a decision, so that the image waits for a decision again.

    Once an approval has consequences, Conflict lists the destinations in `extra["withdraws"]`; `withdraws=True` agrees
    to withdraw the image there. Only the person who decided, or a lead, may undo. A second call returns the first undo.
    """
    rows = Decision.objects.visible_to(by).select_related("task__brand").filter(pk=decision_id)
    unlocked = first_or_refuse(rows, _("There is no decision %(id)d.") % {"id": decision_id})
    access.require(by, Action.REVIEW, unlocked.task.brand)
    if unlocked.decided_by_id != by.pk and not access.can(by, Action.REVOKE, unlocked.task.brand):
        raise NotAllowed(_("Only the person who decided, or a lead, may undo this."))
    asset = assets.lock(unlocked.task.asset_id)
    task = queue.lock(unlocked.task_id)
    decision = Decision.objects.select_related("decided_by", "reason").get(pk=decision_id)
    if earlier_undo := Decision.objects.filter(voids=decision).first():
        return earlier_undo
    _ensure_newest_decision(asset, task, decision)
    has_begun = decision.consequences_at is not None
    if has_begun:
        _ensure_can_withdraw(asset, decision, withdraws)
    was_released = has_begun and decision.kind == DecisionKind.APPROVED and asset.state == AssetState.APPROVED
    voiding = _void(decision, DecisionKind.UNDONE, by, note)
    _return_to_review(asset, task, decision, by)
    if was_released:
        deliveries.withdraw_everywhere(asset=asset, by=by, cause="approval undone")
    if has_begun and decision.kind == DecisionKind.REJECTED:
        assets.mark_rejected(decision.version.master_id, is_rejected=False)
    payload = {"decision": voiding.pk, "voids": decision.pk, "kind": decision.kind, "note": note}
    publish(DecisionUndone.of(asset, **payload), by=by)
    return voiding


@transaction.atomic
def revoke(*, asset_id: int, by: User, note: str) -> Decision:
    """Revoke an approval at once: destinations remove the image, the API recalls it. Raises Conflict without one."""
    asset = _load_and_lock(asset_id, by)
    if not note.strip():
        raise Invalid(_("Say why the approval is revoked."), [Problem("note", _("must not be empty"))])
    approval = Decision.objects.valid_approvals().filter(task__asset=asset).order_by("-id").first()
    if asset.state not in {AssetState.APPROVED, AssetState.STALE} or approval is None:
        message = _("Only an approved image can be revoked; this one is %(state)s.")
        raise Conflict(message % {"state": asset.get_state_display().lower()})
    voiding = _void(approval, DecisionKind.REVOKED, by, note)
    stale_assets.close_review(asset)
    assets.move(asset, AssetState.REVOKED, by=by, decision=voiding.pk)
    deliveries.withdraw_everywhere(asset=asset, by=by, cause=f"revoked: {note}")
    payload = {"decision": voiding.pk, "voids": approval.pk, "version": approval.version_id, "note": note}
    publish(ApprovalRevoked.of(asset, **payload), by=by)
    return voiding


@transaction.atomic
def reopen(*, asset_id: int, by: User, note: str = "") -> ReviewTask:
    """Put an approved, rejected or revoked image back into review, at the first stage. Leads only."""
    asset = _load_and_lock(asset_id, by)
    if asset.state not in {AssetState.APPROVED, AssetState.REJECTED, AssetState.REVOKED}:
        message = _("This image is %(state)s; there is nothing to reopen.")
        raise Conflict(message % {"state": asset.get_state_display().lower()})
    before = asset.state
    for decision in Decision.objects.standing().filter(slot__task__asset=asset):
        _void(decision, DecisionKind.UNDONE, by, note)
        if decision.kind == DecisionKind.REJECTED:
            assets.mark_rejected(decision.version.master_id, is_rejected=False)
    stale = staleness.end(asset.pk)
    if before == AssetState.APPROVED or (stale is not None and stale.is_published):
        deliveries.withdraw_everywhere(asset=asset, by=by, cause="reopened")
    assets.move(asset, AssetState.IN_REVIEW, by=by)
    task = queue.open_task(asset=asset, by=by)
    publish(AssetReopened.of(asset, **{"from": before, "note": note}), by=by)
    return task


def _load_and_lock(asset_id: int, by: User) -> Asset:
    rows = Asset.objects.visible_to(by).select_related("brand").filter(pk=asset_id)
    asset = first_or_refuse(rows, _("There is no asset %(id)d.") % {"id": asset_id})
    access.require(by, Action.REVOKE, asset.brand)
    return assets.lock(asset_id)


def _ensure_newest_decision(asset: Asset, task: ReviewTask, decision: Decision) -> None:
    """Raise Conflict unless the decision still counts and is the asset's newest one."""
    if decision.kind not in {DecisionKind.APPROVED, DecisionKind.REJECTED, DecisionKind.NEEDS_REVISION}:
        raise Conflict(_("This was an undo itself; decide anew instead."))
    fills_slot = DecisionSlot.objects.filter(decision=decision).exists()
    if asset.state == AssetState.STALE and not fills_slot:
        raise Conflict(_("The inputs of this image have changed since; decide again."))
    if not fills_slot or task.round != asset.round:
        raise Conflict(_("A newer round of this image is there; judge that one instead."))
    if asset.state == AssetState.REVOKED:
        raise Conflict(_("This approval was revoked; a lead can reopen the image."))
    rows = Decision.objects.filter(slot__task__asset=asset, id__gt=decision.pk).select_related("decided_by")
    if later := rows.order_by("-id").first():
        message = _("%(name)s has decided after this (%(kind)s, stage %(stage)s); that decision must be undone first.")
        facts = {"name": later.decided_by.display_name, "kind": later.get_kind_display().lower()}
        raise Conflict(message % {**facts, "stage": later.task.stage}, decision=later.pk)


def _ensure_can_withdraw(asset: Asset, decision: Decision, withdraws: bool) -> None:
    if decision.kind == DecisionKind.NEEDS_REVISION and not decision.controls.get("retouch"):
        raise Conflict(_("The next round is being made already; judge it when it is here."))
    if decision.kind != DecisionKind.APPROVED or asset.state != AssetState.APPROVED or withdraws:
        return
    present = Delivery.objects.filter(asset=asset, desired=DesiredState.PRESENT)
    places = list(present.values_list("destination__name", flat=True))
    message = _("This approval took effect already. Undoing it withdraws the image from the API.")
    if places:
        message = _(
            "This approval took effect already. Undoing it withdraws the image from %(places)s and from the API."
        )
    raise Conflict(message % {"places": ", ".join(places)}, withdraws=places, can_withdraw=True)


def _void(decision: Decision, kind: str, by: User, note: str) -> Decision:
    """Insert the voiding decision, free the slot, and mark the voided decision as carried out, so it has no effect."""
    now = clock.now()
    voiding = Decision.objects.create(
        task_id=decision.task_id,
        version_id=decision.version_id,
        kind=kind,
        decided_by=by,
        decided_at=now,
        effective_at=now,
        consequences_at=now,
        note=note,
        pinned=decision.pinned,
        voids=decision,
    )
    DecisionSlot.objects.filter(decision=decision).update(decision=None)
    Decision.objects.filter(pk=decision.pk, consequences_at__isnull=True).update(consequences_at=now)
    return voiding


def _return_to_review(asset: Asset, task: ReviewTask, decision: Decision, by: User) -> None:
    """Restore task and asset as before the decision and claim the task; a later stage that it opened waits again.

    Approvals of earlier stages are reset if an input changed since: nobody looked at them while the image was decided.
    """
    if task.state != TaskState.OPEN:
        queue.move(task, TaskState.OPEN)
        if decision.kind == DecisionKind.APPROVED:
            for later in ReviewTask.objects.filter(asset=asset, state=TaskState.OPEN).exclude(pk=task.pk):
                queue.move(later, TaskState.AWAITING_VERSION)
    if asset.state not in {AssetState.IN_REVIEW, AssetState.STALE}:
        was_stale = StaleAsset.objects.filter(asset=asset).exists()
        assets.move(asset, AssetState.STALE if was_stale else AssetState.IN_REVIEW, by=by)
    queue.claim_task(task, by)
    if inputs.find_changes([asset.cell_id]):
        stale_assets.reset_approvals(brand_id=asset.brand_id, asset_ids=[asset.pk])
