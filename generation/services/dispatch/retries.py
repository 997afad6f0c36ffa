"""Retry failed images: all of a run, one group of equal failures, or single ones."""

from __future__ import annotations

from collections.abc import Sequence

from django.db import transaction
from django.db.models import Q
from django.urls import reverse
from django.utils.translation import gettext as _

from core import clock
from core.access import Action, require
from core.choices import Role
from core.errors import Conflict
from core.models import Brand, User
from core.services import notices
from generation import events
from generation.choices import AssetState, HoldReason, JobState, RunState
from generation.engines.base import ErrorKind
from generation.models import Asset, Endpoint, Job
from generation.selectors import failures
from generation.services import budget, runs
from generation.services.dispatch import claims

_FAILED = Q(status__in=(JobState.FAILED, JobState.QUARANTINED))
#: Jobs that wait for an account, a person or a changed engine.
_HELD = Q(status=JobState.HELD, hold_reason__in=(HoldReason.QUOTA, HoldReason.UNCERTAIN, HoldReason.CHANGED))


@transaction.atomic
def retry(
    *, run_id: int, by: User, group: str | None = None, job_ids: Sequence[int] | None = None, at_most: int | None = None
) -> int:
    """Queue failed and quarantined jobs of a run again and reserve their cost; returns how many.

    group: only those of one of `failures.groups`, with `at_most` its first ones; job_ids: only these. Both include jobs
    that are held for an account, a person or a changed engine. Of two people who retry the same jobs, the second finds
    none. Raises NotAllowed, and Conflict if there are none or the budget does not suffice.
    """
    run = runs.lock_for(run_id, by)
    message = _("%(run)s is %(state)s; its failed jobs cannot be retried.")
    runs.require_state(run, message, RunState.RUNNING, RunState.FINISHED)
    if group is not None:
        job_ids = failures.list_group_job_ids(run, group)[:at_most]
    stuck = Job.objects.filter(_FAILED if job_ids is None else _FAILED | _HELD, run=run)
    if job_ids is not None:
        stuck = stuck.filter(pk__in=job_ids)
    if not (cells := list(stuck.values_list("cell_id", flat=True))):
        message = _("%(run)s has no such failed job any more; somebody may have tried it again.")
        if job_ids is None:
            message = _("%(run)s has no failed job.")
        raise Conflict(message % {"run": run.name}, state=run.state)
    claims.activate(lane=run.endpoint.lane, campaign_id=run.campaign_id)
    fresh = {"deaths": 0, "tries": 0, "error": "", "error_kind": "", "not_before": None, "hold_reason": ""}
    queued: int = stuck.update(status=JobState.QUEUED, **fresh)
    Asset.objects.filter(cell_id__in=cells, state=AssetState.FAILED).update(
        state=AssetState.MAKING, changed_at=clock.now()
    )
    reserved = budget.reserve_for_run(run)
    if run.state == RunState.FINISHED:
        runs.move(run, RunState.RUNNING, finished_at=None, watched_from=clock.now())
    runs.publish(events.RunRetried, run, {"queued": queued, "reserved": str(reserved)}, by)
    return queued


def retry_endpoint(*, brand: Brand, endpoint: Endpoint, by: User) -> int:
    """Queue the brand's images again that failed because this endpoint was set up wrongly; returns how many.

    Each run has its own transaction, so that a used-up budget of one does not stop the others. Raises NotAllowed before
    any run is retried, and Conflict, with the reasons, if none could be.
    """
    require(by, Action.RUN, brand)
    failed = Job.objects.filter(
        endpoint=endpoint, status=JobState.FAILED, error_kind=ErrorKind.ENDPOINT, campaign__brand=brand
    )
    by_run: dict[int, list[int]] = {}
    for run_id, job_id in failed.order_by("run_id", "pk").values_list("run_id", "pk"):
        by_run.setdefault(run_id, []).append(job_id)
    queued, refusals = 0, []
    for run_id, job_ids in by_run.items():
        try:
            queued += retry(run_id=run_id, by=by, job_ids=job_ids)
        except Conflict as refusal:
            refusals.append(refusal.message)
    if not queued:
        message = _("No image failed because of %(endpoint)s.") % {"endpoint": endpoint.name}
        raise Conflict(" ".join(dict.fromkeys(refusals)) or message)
    return queued


@transaction.atomic
def notify_operators(*, run_id: int, by: User, group: str) -> int:
    """Notify superusers and the brand's admins of a group of failures; returns how many. Raises Conflict for nobody."""
    run = runs.lock_for(run_id, by)
    matching = next((failure for failure in failures.groups(run) if failure.key == group), None)
    if matching is None:
        message = _("%(run)s has no such failure any more; load the page again.") % {"run": run.name}
        raise Conflict(message, state=run.state)
    operators = [*notices.list_operators(), *notices.list_people_with_roles(run.campaign.brand, Role.ADMIN)]
    images = "1 image" if matching.count == 1 else f"{matching.count} images"
    notified = notices.notify(
        brand=run.campaign.brand,
        users=[user for user in operators if user != by],
        kind="operator_asked",
        sentence=f"{by.display_name} asks you to look at {run.endpoint.name}: {images} of {run.name} "
        f"({matching.cause.word}). {matching.message}",
        href=reverse("run", args=[run.campaign.brand.slug, run.pk]),
    )
    if not notified:
        raise Conflict(_("There is no operator to tell: nobody is an admin of this brand or a superuser, but you."))
    return notified
