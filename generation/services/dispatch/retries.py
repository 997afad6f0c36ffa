"""Retry failed images: all of a run, one group of equal failures, or single ones."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django.db import transaction
from django.urls import reverse

from core import clock
from core.choices import Role
from core.errors import Conflict
from core.models import Brand, User
from core.services import notices, wake_ups
from generation import events
from generation.choices import AssetState, HoldReason, JobState, RunState
from generation.engines.base import ErrorKind
from generation.models import Asset, Endpoint, Job, Run
from generation.selectors import failures
from generation.services import budget, runs
from generation.services.dispatch import claims


def retry_failed(*, run_id: int, by: User) -> int:
    """Queue every failed and quarantined job of a run again and reserve their cost; returns how many."""
    return _retry(run_id, by, None, None)


def retry_group(*, run_id: int, by: User, group: str, at_most: int | None = None) -> int:
    """Queue the jobs of one group of `failures.groups` again, also those that wait for an empty account.

    With `at_most` only its first jobs. Returns how many. Raises Conflict if the group is empty by now.
    """
    return _retry(run_id, by, group, None, at_most)


def retry_jobs(*, run_id: int, by: User, job_ids: Sequence[int]) -> int:
    """Queue those of these jobs again that belong to this run and have failed; returns how many."""
    return _retry(run_id, by, None, list(job_ids))


def retry_endpoint(*, brand: Brand, endpoint: Endpoint, by: User) -> int:
    """Queue the brand's images again that failed because this endpoint was set up wrongly; returns how many.

    Each run has its own transaction, so that a used-up budget of one does not stop the others. Raises NotAllowed, and
    Conflict, with the reasons, if no run could be retried.
    """
    failed = Job.objects.filter(endpoint=endpoint, status=JobState.FAILED, campaign__brand=brand)
    failed = failed.filter(error_kind=ErrorKind.ENDPOINT)
    by_run: dict[int, list[int]] = {}
    for run_id, job_id in failed.order_by("run_id", "pk").values_list("run_id", "pk"):
        by_run.setdefault(run_id, []).append(job_id)
    queued, refusals = 0, []
    for run_id, job_ids in by_run.items():
        try:
            queued += retry_jobs(run_id=run_id, by=by, job_ids=job_ids)
        except Conflict as refusal:
            refusals.append(refusal.message)
    if not queued:
        raise Conflict(" ".join(dict.fromkeys(refusals)) or f"No image failed because of {endpoint.name}.")
    return queued


@transaction.atomic
def notify_operators(*, run_id: int, by: User, group: str) -> int:
    """Notify the operators (superusers and the brand's admins) of one group of failures; returns how many.

    Raises Conflict if the group is empty by now, or if there is nobody to notify.
    """
    run, campaign = runs.lock(run_id)
    runs.require_run(by, run, campaign)
    run.campaign = campaign
    matching = next((failure for failure in failures.groups(run) if failure.key == group), None)
    if matching is None:
        raise Conflict(f"{run.name} has no such failure any more; load the page again.", state=run.state)
    operators = [*notices.list_operators(), *notices.list_people_with_roles(campaign.brand, Role.ADMIN)]
    images = "1 image" if matching.count == 1 else f"{matching.count} images"
    notified = notices.notify(
        brand=campaign.brand,
        users=[user for user in operators if user != by],
        kind="operator_asked",
        sentence=f"{by.display_name} asks you to look at {run.endpoint.name}: {images} of {run.name} "
        f"({matching.cause.word}). {matching.message}",
        href=reverse("run", args=[campaign.brand.slug, run.pk]),
    )
    if not notified:
        raise Conflict("There is no operator to tell: nobody is an admin of this brand or a superuser, but you.")
    return notified


@transaction.atomic
def _retry(run_id: int, by: User, group: str | None, job_ids: list[int] | None, at_most: int | None = None) -> int:
    """Queue jobs again under the run's lock: if two people retry the same jobs, the second finds none.

    Money is reserved for the queued jobs; if the budget does not suffice, nothing is queued.
    """
    run, campaign = runs.lock(run_id)
    runs.require_run(by, run, campaign)
    if run.state not in (RunState.RUNNING, RunState.FINISHED):
        raise Conflict(f"{run.name} is {run.state}; its failed jobs cannot be retried.", state=run.state)
    if group is not None:
        run.campaign = campaign
        job_ids = failures.list_group_job_ids(run, group)[:at_most]
    stuck = _find_failed_jobs(run, job_ids)
    cells = list(stuck.values_list("cell_id", flat=True))
    if not cells:
        reason = "no failed job" if job_ids is None else "no such failed job any more; somebody may have tried it again"
        raise Conflict(f"{run.name} has {reason}.", state=run.state)
    claims.activate(lane=run.endpoint.lane, campaign_id=campaign.pk)
    fresh = {"deaths": 0, "tries": 0, "error": "", "error_kind": "", "not_before": None, "hold_reason": ""}
    queued: int = stuck.update(status=JobState.QUEUED, **fresh)
    Asset.objects.filter(cell_id__in=cells, state=AssetState.FAILED).update(
        state=AssetState.MAKING, changed_at=clock.now()
    )
    reserved = budget.reserve_for_run(run=run, campaign=campaign)
    if run.state == RunState.FINISHED:
        runs.move(run, RunState.RUNNING, finished_at=None, watched_from=clock.now())
    payload: dict[str, Any] = {"queued": queued, "reserved": str(reserved)}
    runs.publish(events.RunRetried, run, campaign, payload, by)
    wake_ups.wake(run.endpoint.lane)
    return queued


def _find_failed_jobs(run: Run, job_ids: list[int] | None) -> Any:
    """Return the failed jobs of the run; with `job_ids` only these, including those held for an account or a change."""
    rows = Job.objects.filter(run=run)
    ended = rows.filter(status__in=(JobState.FAILED, JobState.QUARANTINED))
    if job_ids is None:
        return ended
    held_jobs = rows.filter(
        status=JobState.HELD, hold_reason__in=(HoldReason.QUOTA, HoldReason.UNCERTAIN, HoldReason.CHANGED)
    )
    return (ended | held_jobs).filter(pk__in=job_ids)
