"""Decisions about images: approve, reject, request changes. Taking a decision back is in retractions.py.

Every decision locks the asset, then the task. If two people decide at the same time, the second one gets a Conflict.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.conf import settings
from django.db import transaction
from django.utils import timezone
from django.utils.translation import gettext as _

from core import access, clock
from core.access import Action
from core.errors import Conflict, Invalid, NotAllowed, Problem, Stale
from core.events import DomainEvent, publish
from core.models import User
from core.selectors.rows import first_or_refuse
from generation.choices import AssetState
from generation.models import Asset, AssetVersion
from generation.services import runs
from generation.services.images import assets, rounds
from generation.services.planning import inputs
from review.choices import DecisionKind, TaskState
from review.events import RevisionRequested, VersionApproved, VersionRejected
from review.models import Decision, DecisionSlot, Reason, ReviewTask
from review.pins import ReviewedState, current_state
from review.services import checklists, queue, reasons
from review.services.checklists import Answers
from review.services.queue import skip
from review.services.retractions import reopen, revoke, undo

__all__ = ["approve", "reject", "reopen", "request_revision", "revoke", "skip", "undo"]

#: A key of `controls`: no engine can make this change; a person will upload the next version.
RETOUCH = "retouch"


@dataclass(frozen=True)
class _DecisionContext:
    """The objects of one decision, loaded and locked."""

    asset: Asset
    task: ReviewTask
    version: AssetVersion
    by: User
    now: datetime


@transaction.atomic
def approve(
    *, task_id: int, version_id: int, by: User, seen: str, answers: Answers | None = None, note: str = ""
) -> Decision:
    """Approve one version of an asset at one stage; it becomes the asset's current version.

    `seen`: the token of what was on screen (`pins.ReviewedState.token`). Approving twice returns the first decision.
    Raises NotAllowed, Stale (something seen has changed), Conflict (already decided) or Invalid (an item is open).
    """
    context = _load_and_lock(task_id, version_id, by)
    if existing := _find_same_decision(context, DecisionKind.APPROVED):
        return existing
    pins = _ensure_decidable(context, seen)
    _ensure_four_eyes(context)
    _ensure_same_candidate(context)
    complete = checklists.ensure_complete(context.task.checklist_version, answers or {})
    decision = _record_decision(context, DecisionKind.APPROVED, pins, answers=complete, note=note)
    context.asset.current_version = context.version
    inputs.pin_current_inputs(context.asset)
    closes_stage = not DecisionSlot.objects.filter(task=context.task, decision__isnull=True).exists()
    if closes_stage:
        queue.move(context.task, TaskState.DECIDED)
        _open_next_stage(context)
    _publish(VersionApproved, context, decision, closes_stage=closes_stage)
    return decision


@transaction.atomic
def reject(*, task_id: int, version_id: int, by: User, seen: str, reason: str, note: str = "") -> Decision:
    """Reject the asset for the reason with this code. Raises like `approve`, and NotFound for an unknown reason."""
    context = _load_and_lock(task_id, version_id, by)
    if existing := _find_same_decision(context, DecisionKind.REJECTED):
        return existing
    pins = _ensure_decidable(context, seen)
    reason_row = reasons.get_active_reason(brand_id=context.asset.brand_id, code=reason)
    decision = _record_decision(context, DecisionKind.REJECTED, pins, reason=reason_row, note=note)
    queue.move(context.task, TaskState.DECIDED)
    context.asset.current_version = context.version
    assets.move(context.asset, AssetState.REJECTED, by=by, decision=decision.pk)
    _publish(VersionRejected, context, decision)
    _pause_run_if_unhealthy(context)
    return decision


@transaction.atomic
def request_revision(
    *,
    task_id: int,
    version_id: int,
    by: User,
    seen: str,
    reason: str = "",
    controls: Mapping[str, Any] | None = None,
    note: str = "",
    needs_retouch: bool = False,
) -> Decision:
    """Request changes to one version, as values of the engine's controls. The next round begins 30 s later.

    `needs_retouch`: no engine can make the change, so a person uploads the next version. Otherwise the changes must
    give another image: Invalid if the fingerprint equals the parent's. Raises like `approve`.
    """
    context = _load_and_lock(task_id, version_id, by)
    if existing := _find_same_decision(context, DecisionKind.NEEDS_REVISION):
        return existing
    pins = _ensure_decidable(context, seen)
    reason_row = reasons.get_active_reason(brand_id=context.asset.brand_id, code=reason) if reason else None
    changes = dict(controls or {})
    if needs_retouch:
        if not note.strip():
            raise Invalid(_("Say what should be retouched."), [Problem("note", _("must not be empty for a retouch"))])
        changes = {RETOUCH: True}
    else:
        rounds.apply_controls(version=context.version, controls=changes)
    decision = _record_decision(
        context, DecisionKind.NEEDS_REVISION, pins, reason=reason_row, note=note, controls=changes
    )
    queue.move(context.task, TaskState.AWAITING_VERSION)
    context.asset.current_version = context.version
    assets.move(context.asset, AssetState.REVISING, by=by, decision=decision.pk)
    _publish(RevisionRequested, context, decision, controls=changes)
    _pause_run_if_unhealthy(context)
    return decision


def _load_and_lock(task_id: int, version_id: int, by: User) -> _DecisionContext:
    task = queue.get(task_id, by)
    access.require(by, Action.REVIEW, task.brand)
    asset = assets.lock(task.asset_id)
    rows = AssetVersion.objects.select_related("master").filter(pk=version_id, asset=asset)
    message = _("Asset %(asset)d has no version %(version)d.") % {"asset": asset.pk, "version": version_id}
    version = first_or_refuse(rows, message)
    return _DecisionContext(asset, queue.lock(task_id), version, by, clock.now())


def _find_same_decision(context: _DecisionContext, kind: str) -> Decision | None:
    """Return the same decision by the same person about the same version, if it exists (such as a double click)."""
    same = Decision.objects.filter(slot__task=context.task, decided_by=context.by, kind=kind, version=context.version)
    return same.first()


def _ensure_decidable(context: _DecisionContext, seen: str) -> ReviewedState:
    """Return the current pins. Raises Conflict (decided already, or claimed by another person) or Stale."""
    last = Decision.objects.filter(slot__task=context.task).select_related("decided_by").order_by("-id").first()
    if context.task.state != TaskState.OPEN:
        raise Conflict(_conflict_message(context, last), task=context.task.pk, state=context.task.state)
    if last and Decision.objects.filter(slot__task=context.task, decided_by=context.by).exists():
        raise Conflict(_("You have decided this image already; undo that first, or leave the rest to the others."))
    queue.ensure_not_claimed_by_another(context.task, context.by)
    now = current_state(context.version, context.task)
    if context.version.round != context.asset.round or now.token != seen:
        message = _("The image, its files, its inputs or its checklist changed since you opened it; look at it again.")
        raise Stale(message, seen=seen)
    return now


def _conflict_message(context: _DecisionContext, last: Decision | None) -> str:
    """Return the message for the person who decided second: "Ana approved this 4 s ago."."""
    if last is None:
        return _("This image is not open for review now.")
    seconds = max(0, int((context.now - last.decided_at).total_seconds()))
    ago = _("%(seconds)d s ago") % {"seconds": seconds}
    if seconds >= 120:
        ago = _("at %(time)s") % {"time": f"{timezone.localtime(last.decided_at):%H:%M on %d %b}"}
    name = _("You") if last.decided_by_id == context.by.pk else last.decided_by.display_name
    sentences = {
        DecisionKind.APPROVED: _("%(name)s approved this %(ago)s."),
        DecisionKind.REJECTED: _("%(name)s rejected this %(ago)s."),
        DecisionKind.NEEDS_REVISION: _("%(name)s sent this back %(ago)s."),
    }
    return sentences[DecisionKind(last.kind)] % {"name": name, "ago": ago}


def _ensure_four_eyes(context: _DecisionContext) -> None:
    """Raise NotAllowed if the campaign's owner would be the only approver of the stage."""
    if context.asset.campaign.owner_id == context.by.pk and context.task.checklist_version.checklist.slots < 2:
        message = _("You wrote this campaign's brief, so another person must approve its images.")
        raise NotAllowed(message, rule="four eyes")


def _ensure_same_candidate(context: _DecisionContext) -> None:
    """Raise Conflict if another version is approved already: all approvals of a round are about one version."""
    approvals = Decision.objects.filter(
        slot__isnull=False, task__asset=context.asset, kind=DecisionKind.APPROVED, version__round=context.asset.round
    )
    if other := approvals.exclude(version=context.version).select_related("decided_by", "version").first():
        message = _(
            "%(name)s approved candidate %(candidate)d; approve the same one, or have that decision undone first."
        ) % {"name": other.decided_by.display_name, "candidate": other.version.candidate}
        raise Conflict(message, version=other.version_id)


def _record_decision(
    context: _DecisionContext,
    kind: str,
    pins: ReviewedState,
    *,
    answers: Answers | None = None,
    reason: Reason | None = None,
    note: str = "",
    controls: Mapping[str, Any] | None = None,
) -> Decision:
    """Insert the decision and fill the first free slot with it. Raises Conflict if no slot is free."""
    decision = Decision.objects.create(
        task=context.task,
        version=context.version,
        kind=kind,
        decided_by=context.by,
        decided_at=context.now,
        effective_at=context.now + timedelta(seconds=settings.PROOFLINE["undo_seconds"]),
        reason=reason,
        note=note,
        answers=dict(answers or {}),
        controls=dict(controls or {}),
        pinned=pins.to_json(),
    )
    free_slots = DecisionSlot.objects.filter(task=context.task, decision__isnull=True)
    slot = free_slots.order_by("slot").first()
    if slot is None or not free_slots.filter(pk=slot.pk).update(decision=decision):
        raise Conflict(_("Every decision that this stage needs was made a moment ago."), task=context.task.pk)
    ReviewTask.objects.filter(pk=context.task.pk).update(claimed_by=None, claimed_until=None)
    return decision


def _open_next_stage(context: _DecisionContext) -> None:
    """Open the next stage, or approve the asset after the last one."""
    next_stage = checklists.next_stage(brand_id=context.asset.brand_id, stage=context.task.stage)
    if next_stage is None:
        assets.move(context.asset, AssetState.APPROVED, by=context.by)
        return
    Asset.objects.filter(pk=context.asset.pk).update(current_version=context.version)
    queue.open_task(asset=context.asset, stage=next_stage, by=context.by)


def _publish(event: type[DomainEvent], context: _DecisionContext, decision: Decision, **more: Any) -> None:
    payload = {
        "decision": decision.pk,
        "task": context.task.pk,
        "stage": context.task.stage,
        "version": context.version.pk,
        "reason": decision.reason.code if decision.reason else None,
        "note": decision.note,
        "pinned": decision.pinned,
        **more,
    }
    publish(event.of(context.asset, **payload), by=context.by)


def _pause_run_if_unhealthy(context: _DecisionContext) -> None:
    """Pause the run if too many of its images are refused. Runs after commit, so no reviewer waits for its lock."""
    run_id = context.asset.cell.run_id
    transaction.on_commit(lambda: runs.pause_if_unhealthy(run_id))
