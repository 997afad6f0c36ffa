"""Hold jobs whose endpoint has changed since they were planned, before anything is made, and plan them again on request
(docs/adr/0021)."""

from __future__ import annotations

import uuid
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from django.db import transaction
from django.utils.translation import gettext as _

from core import clock, sql
from core.errors import Conflict, Invalid
from core.events import publish
from core.models import User
from generation import events
from generation.choices import AttemptOutcome, HoldReason, JobState, RunState
from generation.engines.base import ErrorKind, Spec
from generation.models import Attempt, Endpoint, Job, JobSpec, Run
from generation.selectors import runs as run_selectors
from generation.services import budget, runs
from generation.services.dispatch import claims, routing
from generation.services.planning import fingerprints, plan_requests
from generation.states import JOB

ROWS_AT_ONCE = 1000

# Jobs that are locked at this moment are left out: they are compared when they are claimed. One statement for any
# number of jobs, because their ids would be sent to Python and back.
_HOLD_QUEUED = """
WITH stale AS MATERIALIZED (
    SELECT j.id FROM generation_job j JOIN generation_jobspec f ON f.job_id = j.id
    WHERE j.endpoint_id = %(endpoint)s AND j.status = 'queued' AND f.maker = %(planned)s::jsonb
    ORDER BY j.id
    FOR UPDATE OF j SKIP LOCKED
)
UPDATE generation_job SET status = 'held', hold_reason = 'changed', error_kind = 'changed', error = %(error)s,
    not_before = NULL
WHERE id = ANY(ARRAY(SELECT id FROM stale))
RETURNING run_id
"""


def is_changed(job: claims.ClaimedJob, now: fingerprints.Maker) -> bool:
    """Return whether the job was planned for another maker than the current one."""
    return fingerprints.Maker.from_json(job.maker) not in (None, now)


@transaction.atomic
def hold(
    *, jobs: Sequence[claims.ClaimedJob], token: uuid.UUID, endpoint: Endpoint, now: fingerprints.Maker, worker: str
) -> set[int]:
    """Hold these claimed jobs, and all jobs that are queued for the endpoint and were planned for the same maker.
    Images that may have been made for them are not stored, their money stays reserved, and their runs wait. Returns the
    ids of the claimed jobs that are held; the others have lost their lease, or are to be cancelled."""
    locked = Job.objects.select_for_update(of=("self",)).filter(
        pk__in=[job.id for job in jobs], lease_token=token, status=JobState.RUNNING, is_cancel_requested=False
    )
    ours = set(locked.order_by("pk").values_list("pk", flat=True))
    counts: Counter[tuple[fingerprints.Maker, int]] = Counter()
    JOB.ensure(JobState.RUNNING, JobState.HELD)
    JOB.ensure(JobState.QUEUED, JobState.HELD)
    for planned in {fingerprints.Maker(**job.maker) for job in jobs if job.id in ours}:
        message = f"Planned for {planned}; the endpoint now has {now}."
        alike = [job for job in jobs if job.id in ours and fingerprints.Maker(**job.maker) == planned]
        alike_ids = [job.id for job in alike]
        Attempt.objects.filter(job_id__in=alike_ids, lease_token=token).update(
            outcome=AttemptOutcome.FAILED, ended_at=clock.now(), error_kind=ErrorKind.CHANGED, message=message
        )
        error = {"hold_reason": HoldReason.CHANGED, "error_kind": ErrorKind.CHANGED, "error": message[:500]}
        Job.objects.filter(pk__in=alike_ids).update(
            status=JobState.HELD, lease_token=None, lease_expires_at=None, **error
        )
        counts.update((planned, job.run_id) for job in alike)
        values = {"endpoint": endpoint.pk, "planned": fingerprints.canonical(planned.to_json()), "error": message[:500]}
        counts.update((planned, run_id) for (run_id,) in sql.rows(_HOLD_QUEUED, values))
    brands = dict(
        Run.objects.filter(pk__in={run_id for _planned, run_id in counts}).values_list("pk", "campaign__brand_id")
    )
    for (planned, run_id), count in counts.items():
        payload = {"jobs": count, "endpoint": endpoint.slug, "planned": str(planned), "now": str(now)}
        publish(events.RunEngineChanged(brand_id=brands[run_id], object_id=run_id, payload=payload), label=worker)
    return ours


@dataclass(frozen=True)
class ReplanResult:
    """The number of jobs that were planned again, and the number `left` that the engine cannot make; they stay held."""

    jobs: int
    left: int


def replan_held_jobs(*, run_id: int, by: User) -> ReplanResult:
    """Plan the run's jobs that are held because their engine was changed, for the present engines of their endpoints.

    Prompts, seeds and input images stay, and with them cells, rounds and candidates; price, size limits and fingerprint
    are the present ones. A job stays held, with the reason, if the engine cannot make it as it was planned, or would
    make the same image as for another of these jobs. Raises NotFound, NotAllowed, Invalid if an endpoint cannot be used
    or nothing can be planned again, and Conflict if no job waits for it or the budget does not suffice.
    """
    runs.require_run(by, run_selectors.get(by, run_id))
    endpoints = Endpoint.objects.filter(pk__in=_waiting(run_id).values("endpoint")).order_by("pk")
    return _replan(run_id, by, {endpoint.pk: routing.EndpointState.read(endpoint) for endpoint in endpoints})


def _waiting(run_id: int) -> Any:
    return Job.objects.filter(run_id=run_id, status=JobState.HELD, hold_reason=HoldReason.CHANGED)


@transaction.atomic
def _replan(run_id: int, by: User, places: dict[int, routing.EndpointState]) -> ReplanResult:
    run = runs.lock_for(run_id, by)
    jobs = list(_waiting(run_id).filter(endpoint_id__in=places).select_for_update(of=("self",)).order_by("pk"))
    if not jobs:
        message = _("%(run)s has no image that waits for this any more; load the page again.") % {"run": run.name}
        raise Conflict(message, state=run.state)
    frozen = JobSpec.objects.in_bulk([job.pk for job in jobs])
    refused = _update_specs(jobs, frozen, places)
    if not (ready := [job for job in jobs if job.pk not in refused]):
        message = _("None of these images can be planned again. %(reason)s")
        raise Invalid(message % {"reason": next(iter(refused.values()))})
    is_paused = run.state == RunState.PAUSED
    for job in jobs:
        if job.pk in refused:
            job.error = refused[job.pk][:500]
            continue
        JOB.ensure(job.status, JobState.QUEUED)
        job.status, job.hold_reason = (JobState.HELD, HoldReason.PAUSED) if is_paused else (JobState.QUEUED, "")
        job.error_kind, job.error, job.tries, job.not_before = "", "", 0, None
    columns = ["batch_key", "lane", "status", "hold_reason", "error_kind", "error", "tries", "not_before"]
    Job.objects.bulk_update(jobs, columns, batch_size=ROWS_AT_ONCE)
    JobSpec.objects.bulk_update(
        [frozen[job.pk] for job in ready], ["spec", "fingerprint", "maker", "quoted_cost"], batch_size=ROWS_AT_ONCE
    )
    return _settle(run, by, ready, len(refused), places)


def _update_specs(
    jobs: Sequence[Job], frozen: dict[int, JobSpec], places: dict[int, routing.EndpointState]
) -> dict[int, str]:
    """Update each spec for the present state of its endpoint. Returns the reasons by job for those that cannot be."""
    refused: dict[int, str] = {}
    planned_before = {pk: job_spec.fingerprint for pk, job_spec in frozen.items()}
    used_fingerprints: dict[str, str] = {}
    for job in jobs:
        place, job_spec = places[job.endpoint_id], frozen[job.pk]
        spec = Spec.from_json(job_spec.spec)
        width, height = plan_requests.master_size(spec.width, spec.height, place.engine.capabilities())
        spec = replace(spec, width=width, height=height)
        problems = routing.image_problems(spec, place.engine) or place.engine.validate(spec)
        fingerprint = place.fingerprint(job_spec, spec)
        if not problems and used_fingerprints.setdefault(fingerprint, planned_before[job.pk]) != planned_before[job.pk]:
            problems = [f"{place.endpoint.name} would now make the same image for it as for another one of this run."]
        if problems:
            refused[job.pk] = f"{place.maker} cannot make it as it was planned. {' '.join(problems)}"
            continue
        place.set_spec(job, job_spec, spec, fingerprint)
    return refused


def _settle(
    run: Run, by: User, ready: Sequence[Job], left: int, places: dict[int, routing.EndpointState]
) -> ReplanResult:
    """Reserve the money, publish the event and wake the workers."""
    reserved = budget.reserve_for_run(run)
    for lane in sorted({job.lane for job in ready}):
        claims.activate(lane=lane, campaign_id=run.campaign_id)
    now = {places[job.endpoint_id].endpoint.slug: str(places[job.endpoint_id].maker) for job in ready}
    payload = {"jobs": len(ready), "left": left, "reserved": str(reserved), "now": now}
    runs.publish(events.RunPlannedAnew, run, payload, by)
    return ReplanResult(len(ready), left)
