"""Review stale images again: send them to the first stage, withdraw them if the brand wants that, or restore approvals.

Each function handles any number of images with few statements. The caller holds the locks of the assets.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

from django.db.models import Exists, F, OuterRef

from core import clock
from core.choices import Lane, StaleUse
from core.events import DomainEvent, publish
from core.models import Brand
from core.services import wake_ups
from generation.models import Asset, StaleAsset
from generation.services.images import staleness
from review.choices import DecisionKind, DesiredState, TaskState
from review.events import AssetRecalled, DeliveryRequested, TaskOpened
from review.models import ChecklistVersion, Decision, DecisionSlot, Delivery, ReviewTask
from review.services import checklists, queue
from review.states import TASK

LABEL = "review"
_CAUSE = "went stale"


def return_to_first_stage(*, brand_id: int, asset_ids: Sequence[int]) -> None:
    """Send stale images back to the first stage. They stay published, but their approvals fill no slot any more."""
    in_effect = Decision.objects.standing().filter(
        task__asset=OuterRef("asset"), kind=DecisionKind.APPROVED, consequences_at__isnull=False
    )
    unpublished = StaleAsset.objects.filter(~Exists(in_effect), asset__in=asset_ids)
    if ids := list(unpublished.values_list("asset_id", flat=True)):
        staleness.withdraw(ids)
    _reopen_tasks(brand_id, asset_ids)
    if Brand.objects.get(pk=brand_id).stale_use == StaleUse.WITHDRAW:
        _withdraw_published(brand_id, asset_ids)


def reset_approvals(*, brand_id: int, asset_ids: Sequence[int]) -> None:
    """Reset the images in review that have approvals already, because an input changed since."""
    begun = DecisionSlot.objects.filter(task__asset__in=asset_ids, decision__isnull=False)
    if ids := list(begun.values_list("task__asset_id", flat=True).distinct()):
        _reopen_tasks(brand_id, ids)


def restore_approvals(*, asset_ids: Sequence[int]) -> list[int]:
    """Restore approvals if the inputs are as before and nobody has decided since; return the asset ids."""
    rows = StaleAsset.objects.filter(asset__in=asset_ids)
    decided = rows.filter(asset__tasks__decisions__decided_at__gte=F("began_at")).values_list("asset_id", flat=True)
    kept = rows.filter(is_published=True).exclude(pk__in=list(decided.distinct()))
    ids = list(kept.values_list("asset_id", flat=True))
    if not ids:
        return []
    restored = staleness.restore(ids)
    _fill_slots(restored)
    TASK.ensure(TaskState.OPEN, TaskState.DECIDED)
    open_tasks = ReviewTask.objects.filter(asset__in=restored, state=TaskState.OPEN)
    open_tasks.update(state=TaskState.DECIDED, claimed_by=None, claimed_until=None)
    return restored


def close_review(asset: Asset) -> None:
    """End the review of a stale image without a decision, because its approval is revoked."""
    if staleness.end(asset.pk) is not None:
        for task in ReviewTask.objects.select_for_update().filter(asset=asset, state=TaskState.OPEN):
            queue.move(task, TaskState.DECIDED)


def _reopen_tasks(brand_id: int, asset_ids: Sequence[int]) -> None:
    version = checklists.get_or_create_version(brand_id=brand_id)
    stage, slots = version.checklist.stage, version.checklist.slots
    DecisionSlot.objects.filter(task__asset__in=asset_ids).update(decision=None)
    tasks = ReviewTask.objects.filter(asset__in=asset_ids)
    TASK.ensure(TaskState.DECIDED, TaskState.OPEN)
    free = {"claimed_by": None, "claimed_until": None}
    tasks.filter(state=TaskState.OPEN).exclude(stage=stage).update(state=TaskState.AWAITING_VERSION, **free)
    fresh = {"checklist_version": version, "due_at": clock.now() + timedelta(hours=version.checklist.due_hours)}
    tasks.filter(stage=stage).update(state=TaskState.OPEN, skipped_at=None, escalated_to=None, **free, **fresh)
    _add_missing_tasks(brand_id, asset_ids, version)
    opened = dict(tasks.filter(stage=stage).values_list("pk", "asset_id"))
    DecisionSlot.objects.filter(task__in=opened, slot__gt=slots).delete()
    new_slots = [DecisionSlot(task_id=pk, slot=number) for pk in opened for number in range(1, slots + 1)]
    DecisionSlot.objects.bulk_create(new_slots, ignore_conflicts=True)
    rounds = dict(Asset.objects.filter(pk__in=asset_ids).values_list("pk", "round"))
    events = []
    for pk, asset_id in sorted(opened.items()):
        payload = {"task": pk, "stage": stage, "round": rounds[asset_id], "checklist_version": version.pk}
        events.append(TaskOpened(brand_id=brand_id, object_id=asset_id, payload=payload))
    publish(*events, label=LABEL)


def _add_missing_tasks(brand_id: int, asset_ids: Sequence[int], version: ChecklistVersion) -> None:
    """Add missing first-stage tasks: the brand had other stages when these assets were made."""
    stage = version.checklist.stage
    lacking = (
        Asset.objects.filter(pk__in=asset_ids)
        .exclude(tasks__stage=stage)
        .select_related("cell", "subject", "current_version")
    )
    due_at = clock.now() + timedelta(hours=version.checklist.due_hours)
    fresh = {"brand_id": brand_id, "stage": stage, "checklist_version": version, "due_at": due_at}
    ReviewTask.objects.bulk_create(
        ReviewTask(asset=asset, round=asset.round, run_id=asset.cell.run_id, product_key=asset.subject.key, **fresh)
        for asset in lacking
    )


def _fill_slots(asset_ids: Sequence[int]) -> None:
    """Put the newest of the earlier approvals back into the empty slots of their tasks."""
    slots: dict[int, list[DecisionSlot]] = {}
    for slot in DecisionSlot.objects.filter(task__asset__in=asset_ids, decision__isnull=True).order_by("task", "-slot"):
        slots.setdefault(slot.task_id, []).append(slot)
    approvals = Decision.objects.standing().filter(
        task__in=slots, kind=DecisionKind.APPROVED, version=F("task__asset__current_version")
    )
    filled = []
    for decision in approvals.order_by("-id"):
        if slots[decision.task_id]:
            slot = slots[decision.task_id].pop(0)
            slot.decision = decision
            filled.append(slot)
    DecisionSlot.objects.bulk_update(filled, ["decision"], batch_size=500)


def _withdraw_published(brand_id: int, asset_ids: Sequence[int]) -> None:
    """Withdraw published stale images everywhere, as `deliveries.withdraw_everywhere` does for one image."""
    rows = StaleAsset.objects.filter(asset__in=asset_ids, is_published=True)
    published = dict(rows.values_list("asset_id", "asset__subject__key"))
    versions = dict(Asset.objects.filter(pk__in=published).values_list("pk", "current_version_id"))
    deliveries = Delivery.objects.filter(asset__in=published, desired=DesiredState.PRESENT)
    listed = list(deliveries.values_list("pk", "asset_id", "version_id", "destination__slug"))
    listed_deliveries = Delivery.objects.filter(pk__in=[row[0] for row in listed])
    listed_deliveries.update(desired=DesiredState.ABSENT, wish=F("wish") + 1, error="", changed_at=clock.now())
    listed_deliveries.make_due()
    events: list[DomainEvent] = []
    for pk, asset_id, version, slug in listed:
        payload = {"delivery": pk, "destination": slug, "desired": "absent", "version": version, "cause": _CAUSE}
        events.append(DeliveryRequested(brand_id=brand_id, object_id=asset_id, payload=payload))
    for pk, key in sorted(published.items()):
        payload = {"version": versions[pk], "sku": key, "cause": _CAUSE}
        events.append(AssetRecalled(brand_id=brand_id, object_id=pk, payload=payload))
    staleness.withdraw(list(published))
    publish(*events, label=LABEL)
    if listed:
        wake_ups.wake(Lane.DELIVERY)
