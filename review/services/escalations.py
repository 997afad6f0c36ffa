"""Escalate images that used up their rounds or that no engine can correct: the campaign manager decides."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django.db import transaction
from django.utils.translation import gettext as _

from core import access
from core.access import Action
from core.errors import Conflict
from core.events import publish
from core.models import User
from generation.choices import AssetState
from generation.models import Asset
from generation.services.images import assets, rounds
from review.choices import TaskState
from review.events import TaskEscalated, TaskReturned
from review.models import ReviewTask
from review.services import queue


def escalate(*, asset: Asset, task: ReviewTask, cause: str) -> None:
    """Escalate the task to the owner of the campaign. The caller holds the asset's lock."""
    owner = asset.campaign.owner
    ReviewTask.objects.filter(pk=task.pk).update(escalated_to=owner)
    payload = {"task": task.pk, "round": asset.round, "to": owner.display_name, "cause": cause}
    publish(TaskEscalated(brand_id=asset.brand_id, object_id=asset.pk, payload=payload), label="review")


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
    """Return the image to the reviewers as it is, with a note."""
    asset, task = _load_and_lock(task_id, by)
    assets.move(asset, AssetState.IN_REVIEW, by=by)
    reopened = queue.open_task(asset=asset, stage=task.stage, by=by)
    payload = {"task": task.pk, "note": note}
    publish(TaskReturned(brand_id=asset.brand_id, object_id=asset.pk, payload=payload), by=by)
    return reopened


def _load_and_lock(task_id: int, by: User) -> tuple[Asset, ReviewTask]:
    task = queue.get(task_id, by)
    access.require(by, Action.RUN, task.brand)
    asset = assets.lock(task.asset_id)
    task = queue.lock(task_id)
    if task.escalated_to_id is None or task.state != TaskState.AWAITING_VERSION:
        raise Conflict(_("This image does not wait for a campaign manager."))
    return asset, task
