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

from core import access, clock
from core.access import Action
from core.errors import Conflict, Invalid, NotAllowed, NotFound, Problem, Stale
from core.events import publish
from core.models import User
from generation.choices import AssetState
from generation.models import Asset, AssetVersion
from generation.services import runs
from generation.services.images import assets, rounds
from generation.services.planning import inputs
from review.choices import DecisionKind, TaskState
from review.events import RevisionRequested, VersionApproved, VersionRejected
from review.models import Decision, DecisionSlot, Reason, ReviewTask
from review.pins import Pinned, pinned
from review.services import checklists, queue, reasons
from review.services.checklists import Answers
from review.services.queue import skip
from review.services.retractions import reopen, revoke, undo

__all__ = ["approve", "reject", "reopen", "request_revision", "revoke", "skip", "undo"]

#: A key of `controls`: no engine can make this change; a person will upload the next version.
RETOUCH = "retouch"


@dataclass(frozen=True)
class _Scene:
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

    `seen` is the token of what the reviewer had on screen (`pins.Pinned.token`). If the same person approves twice, the
    existing decision is returned. Raises NotAllowed, Stale (something seen has changed), Conflict (already decided) or
    Invalid (a required checklist item is open).
    """
    scene = _enter(task_id, version_id, by)
    if existing := _said_already(scene, DecisionKind.APPROVED):
        return existing
    pins = _ensure_decidable(scene, seen)
    _ensure_four_eyes(scene)
    _ensure_same_candidate(scene)
    complete = checklists.ensure_complete(scene.task.checklist_version, answers or {})
    decision = _write(scene, DecisionKind.APPROVED, pins, answers=complete, note=note)
    scene.asset.current_version = scene.version
    inputs.accept(scene.asset)
    closes_stage = not DecisionSlot.objects.filter(task=scene.task, decision__isnull=True).exists()
    if closes_stage:
        queue.move(scene.task, TaskState.DECIDED)
        _advance(scene)
    payload = _payload(scene, decision) | {"closes_stage": closes_stage}
    publish(VersionApproved(brand_id=scene.asset.brand_id, object_id=scene.asset.pk, payload=payload), by=by)
    return decision


@transaction.atomic
def reject(*, task_id: int, version_id: int, by: User, seen: str, reason: str, note: str = "") -> Decision:
    """Reject the asset for the reason with this code. Raises like `approve`, and NotFound for an unknown reason."""
    scene = _enter(task_id, version_id, by)
    if existing := _said_already(scene, DecisionKind.REJECTED):
        return existing
    pins = _ensure_decidable(scene, seen)
    reason_row = reasons.get(brand_id=scene.asset.brand_id, code=reason)
    decision = _write(scene, DecisionKind.REJECTED, pins, reason=reason_row, note=note)
    queue.move(scene.task, TaskState.DECIDED)
    scene.asset.current_version = scene.version
    assets.move(scene.asset, AssetState.REJECTED, by=by, decision=decision.pk)
    payload = _payload(scene, decision)
    publish(VersionRejected(brand_id=scene.asset.brand_id, object_id=scene.asset.pk, payload=payload), by=by)
    _look_after_run(scene)
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
    scene = _enter(task_id, version_id, by)
    if existing := _said_already(scene, DecisionKind.NEEDS_REVISION):
        return existing
    pins = _ensure_decidable(scene, seen)
    reason_row = reasons.get(brand_id=scene.asset.brand_id, code=reason) if reason else None
    changes = dict(controls or {})
    if needs_retouch:
        if not note.strip():
            raise Invalid("Say what should be retouched.", [Problem("note", "must not be empty for a retouch")])
        changes = {RETOUCH: True}
    else:
        rounds.ensure_changed(version=scene.version, controls=changes)
    decision = _write(scene, DecisionKind.NEEDS_REVISION, pins, reason=reason_row, note=note, controls=changes)
    queue.move(scene.task, TaskState.AWAITING_VERSION)
    scene.asset.current_version = scene.version
    assets.move(scene.asset, AssetState.REVISING, by=by, decision=decision.pk)
    payload = _payload(scene, decision) | {"controls": changes}
    publish(RevisionRequested(brand_id=scene.asset.brand_id, object_id=scene.asset.pk, payload=payload), by=by)
    _look_after_run(scene)
    return decision


def _enter(task_id: int, version_id: int, by: User) -> _Scene:
    """Load the objects, check the permission, and lock the asset, then the task."""
    task = queue.get(task_id, by)
    access.require(by, Action.REVIEW, task.brand)
    asset = assets.lock(task.asset_id)
    version = AssetVersion.objects.select_related("master").filter(pk=version_id, asset=asset).first()
    if version is None:
        raise NotFound(f"Asset {asset.pk} has no version {version_id}.")
    return _Scene(asset, queue.lock(task_id), version, by, clock.now())


def _said_already(scene: _Scene, kind: str) -> Decision | None:
    """Return the same decision by the same person about the same version, if it exists (such as a double click)."""
    return Decision.objects.filter(slot__task=scene.task, decided_by=scene.by, kind=kind, version=scene.version).first()


def _ensure_decidable(scene: _Scene, seen: str) -> Pinned:
    """Return the current pins.

    Raises Conflict (already decided, claimed by another person, or decided otherwise by the same person) or Stale.
    """
    last = Decision.objects.filter(slot__task=scene.task).select_related("decided_by").order_by("-id").first()
    if scene.task.state != TaskState.OPEN:
        raise Conflict(_who_did_what(scene, last), task=scene.task.pk, state=scene.task.state)
    if last and Decision.objects.filter(slot__task=scene.task, decided_by=scene.by).exists():
        raise Conflict("You have decided this image already; undo that first, or leave the rest to the others.")
    queue.ensure_free(scene.task, scene.by)
    now = pinned(scene.version, scene.task)
    if scene.version.round != scene.asset.round or now.token != seen:
        raise Stale(
            "The image, its files, its inputs or its checklist changed since you opened it; look at it again.",
            seen=seen,
        )
    return now


def _who_did_what(scene: _Scene, last: Decision | None) -> str:
    """Return the message for the person who decided second: "Ana approved this 4 s ago."."""
    if last is None:
        return "This image is not open for review now."
    seconds = max(0, int((scene.now - last.decided_at).total_seconds()))
    ago = f"{seconds} s ago" if seconds < 120 else f"at {timezone.localtime(last.decided_at):%H:%M on %d %b}"
    name = "You" if last.decided_by_id == scene.by.pk else last.decided_by.display_name
    phrases = {
        DecisionKind.APPROVED: "approved this",
        DecisionKind.REJECTED: "rejected this",
        DecisionKind.NEEDS_REVISION: "sent this back",
    }
    return f"{name} {phrases[DecisionKind(last.kind)]} {ago}."


def _ensure_four_eyes(scene: _Scene) -> None:
    """Raise NotAllowed if the campaign's owner would be the only approver of the stage."""
    if scene.asset.campaign.owner_id != scene.by.pk:
        return
    if scene.task.checklist_version.checklist.slots < 2:
        raise NotAllowed(
            "You wrote this campaign's brief, so another person must approve its images.", rule="four eyes"
        )


def _ensure_same_candidate(scene: _Scene) -> None:
    """Raise Conflict if another version is approved already: all approvals of a round are about one version."""
    other = (
        Decision.objects.filter(
            slot__isnull=False, task__asset=scene.asset, kind=DecisionKind.APPROVED, version__round=scene.asset.round
        )
        .exclude(version=scene.version)
        .select_related("decided_by", "version")
        .first()
    )
    if other:
        raise Conflict(
            f"{other.decided_by.display_name} approved candidate {other.version.candidate}; "
            "approve the same one, or have that decision undone first.",
            version=other.version_id,
        )


def _write(
    scene: _Scene,
    kind: str,
    pins: Pinned,
    *,
    answers: Answers | None = None,
    reason: Reason | None = None,
    note: str = "",
    controls: Mapping[str, Any] | None = None,
) -> Decision:
    """Insert the decision and fill the first free slot with it. Raises Conflict if no slot is free."""
    decision = Decision.objects.create(
        task=scene.task,
        version=scene.version,
        kind=kind,
        decided_by=scene.by,
        decided_at=scene.now,
        effective_at=scene.now + timedelta(seconds=settings.PROOFLINE["undo_seconds"]),
        reason=reason,
        note=note,
        answers=dict(answers or {}),
        controls=dict(controls or {}),
        pinned=pins.to_json(),
    )
    free_slot = DecisionSlot.objects.filter(task=scene.task, decision__isnull=True).order_by("slot").first()
    if free_slot is None or not DecisionSlot.objects.filter(pk=free_slot.pk, decision__isnull=True).update(
        decision=decision
    ):
        raise Conflict("Every decision that this stage needs was made a moment ago.", task=scene.task.pk)
    ReviewTask.objects.filter(pk=scene.task.pk).update(claimed_by=None, claimed_until=None)
    return decision


def _advance(scene: _Scene) -> None:
    """Open the next stage, or approve the asset after the last one."""
    next_stage = checklists.stage_after(brand_id=scene.asset.brand_id, stage=scene.task.stage)
    if next_stage is None:
        assets.move(scene.asset, AssetState.APPROVED, by=scene.by)
        return
    Asset.objects.filter(pk=scene.asset.pk).update(current_version=scene.version)
    queue.open_task(asset=scene.asset, stage=next_stage, by=scene.by)


def _payload(scene: _Scene, decision: Decision) -> dict[str, Any]:
    return {
        "decision": decision.pk,
        "task": scene.task.pk,
        "stage": scene.task.stage,
        "version": scene.version.pk,
        "reason": decision.reason.code if decision.reason else None,
        "note": decision.note,
        "pinned": decision.pinned,
    }


def _look_after_run(scene: _Scene) -> None:
    """Pause the run if too many of its images are refused. Runs after commit, so no reviewer waits for its lock."""
    run_id = scene.asset.cell.run_id
    transaction.on_commit(lambda: runs.pause_if_unhealthy(run_id))
