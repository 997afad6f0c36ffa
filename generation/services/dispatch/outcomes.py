"""End attempts: store the image, retry the job later, or give it up; one transaction each, guarded by the lease."""

from __future__ import annotations

import json
import random
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from decimal import Decimal
from typing import Any

from django.db import transaction
from django.utils import timezone

from core import clock, crash_points, sql
from core.events import publish
from core.services import wake_ups
from generation import events, prices
from generation.checks import histories
from generation.checks.base import CheckResult
from generation.choices import AttemptOutcome, Breaker, HoldReason, JobState, LedgerKind, RunState, VersionSource
from generation.engines import base as engines
from generation.engines.base import EngineError, ErrorKind
from generation.models import Asset, Attempt, Endpoint, EndpointStatus, Job, JobSpec, LedgerEntry, Master, Run
from generation.services.dispatch.claims import ClaimedJob
from generation.services.endpoints import local_models
from generation.services.images import assets, duplicates
from generation.services.images.assets import NewVersion, StoredMaster, StoredRendition
from generation.services.planning.fingerprints import Maker
from generation.states import JOB

MAX_DEATHS = 3
LOOK_UP_SECONDS = 1.0
"""Delay before a submission is looked up whose lease ran out; it was sent at least a lease ago."""
MEMORY_REST_SECONDS = 12.0
"""Pause before a job is retried that did not fit into memory; until then routing may move it to another endpoint."""
OUTAGE_PAUSE_SECONDS = 1.0
"""Pause before a job that could not be sent may be claimed again."""
MAX_TRIES = {ErrorKind.TRANSIENT: 5, ErrorKind.RATE: 20, ErrorKind.MEMORY: 3, ErrorKind.LOST: 3}
"""Attempts since a person last queued the job after which a kind of error is given up; other kinds are not retried."""

# These are written by hand, because a worker runs them for every image, and they are prepared.
# The first ends a job and its attempt, if the job still runs under this lease and nobody cancelled it, and returns the
# asset that it made, locked.
_SUCCEED = f"""
WITH ended AS (
    UPDATE generation_job SET status = 'succeeded', lease_token = NULL, lease_expires_at = NULL
    WHERE id = %(job)s AND lease_token = %(token)s AND status = 'running' AND NOT is_cancel_requested
    RETURNING id, cell_id, endpoint_id, attempts
), attempted AS (
    UPDATE generation_attempt a SET outcome = 'succeeded', ended_at = %(now)s,
        details = %(details)s::jsonb || coalesce(({local_models.DETAILS_OF_REVISION}), '{{}}')
    FROM ended WHERE a.job_id = ended.id AND a.lease_token = %(token)s
)
SELECT asset.*, ended.attempts, e.prices, e.price_per_image
FROM ended
JOIN generation_endpoint e ON e.id = ended.endpoint_id
JOIN generation_asset asset ON asset.cell_id = ended.cell_id
FOR UPDATE OF asset
"""  # noqa: S608 - the query in it is ours
_SETTLE = """
INSERT INTO generation_ledgerentry (campaign_id, run_id, job_id, kind, amount, at) VALUES (%s, %s, %s, %s, %s, %s)
"""


@dataclass(frozen=True)
class StoredResult:
    """The result of an attempt, its files stored. fingerprint, maker: of the real maker, if another was planned."""

    master: StoredMaster
    check_results: tuple[CheckResult, ...] = ()
    renditions: tuple[StoredRendition, ...] = ()
    cost: float = 0.0
    usage: Mapping[str, float] = field(default_factory=dict)
    details: Mapping[str, Any] = field(default_factory=dict)
    is_reused: bool = False
    fingerprint: str = ""
    maker: Maker | None = None


class MasterAlreadyStored(Exception):
    """Another master is already stored under the fingerprint: the version and its files must be made from it."""

    def __init__(self, master: Master) -> None:
        super().__init__(f"There is another master under the fingerprint {master.fingerprint}.")
        self.master = master


def _lock_job(job_id: int, token: uuid.UUID) -> Job | None:
    """Return the locked job if it still runs under this lease."""
    running = Job.objects.select_for_update(of=("self",)).filter(pk=job_id, lease_token=token, status=JobState.RUNNING)
    return running.select_related("endpoint").first()


def _end(job: Job, status: str, **fields: Any) -> None:
    JOB.ensure(JobState.RUNNING, status)
    if status == JobState.QUEUED and _is_paused(job.run_id):
        JOB.ensure(status, JobState.HELD)  # the queue of a paused run is held
        status, fields = JobState.HELD, {**fields, "hold_reason": HoldReason.PAUSED}
    changes = {"status": status, "lease_token": None, "lease_expires_at": None, **fields}
    Job.objects.filter(pk=job.pk).update(**changes)


def _is_paused(run_id: int) -> bool:
    return Run.objects.filter(pk=run_id, state=RunState.PAUSED).exists()


def finish(*, job: ClaimedJob, token: uuid.UUID, made: StoredResult, worker: str) -> bool:
    """Store a result: master, version, findings, renditions, attempt, ledger and event, in one transaction.

    False if the lease was lost meanwhile: then nothing is written, and the sweeper removes the files. A job that was
    cancelled meanwhile ends as cancelled. If it raises MasterAlreadyStored, nothing is written.
    """
    JOB.ensure(JobState.RUNNING, JobState.SUCCEEDED)
    values = {"details": json.dumps(dict(made.details)), "revision": str(made.details.get("revision") or "")}
    with transaction.atomic():
        ended = sql.rows(_SUCCEED, {"job": job.id, "token": token, "now": clock.now(), **values})
        if not ended:
            return _finish_cancelled(job, token, made, worker)
        crash_points.point("finish.locked")
        [row] = ended
        asset = sql.instance(Asset, row)
        fingerprint = made.fingerprint or job.fingerprint
        master = assets.store_master(brand_id=job.brand_id, fingerprint=fingerprint, stored=made.master)
        if master.sha256 != made.master.sha256:
            raise MasterAlreadyStored(master)
        if made.maker is not None:
            JobSpec.objects.filter(pk=job.id).update(fingerprint=fingerprint, maker=made.maker.to_json())
        version = assets.add_version(asset, _new_version(job, asset.subject_id, master, made))
        _settle(job, _cost(made, row.prices, row.price_per_image))
        payload: dict[str, Any] = {"run": job.run_id, "asset": asset.pk, "version": version.pk}
        payload |= {"attempt": row.attempts, "sha256": master.sha256, "reused": made.is_reused}
        succeeded = events.JobSucceeded(brand_id=job.brand_id, object_id=job.id, payload=payload)
        assets.settle_round(asset, label=worker, before=[succeeded])
        crash_points.point("finish.written")
    return True


def _finish_cancelled(job: ClaimedJob, token: uuid.UUID, made: StoredResult, worker: str) -> bool:
    """End a job that was cancelled while it was made, and settle what its usage cost. False if the lease was lost."""
    if (locked := _lock_job(job.id, token)) is None:
        return False
    _cancel(locked, worker)
    endpoint = locked.endpoint
    _settle(job, _cost(made, endpoint.prices, endpoint.price_per_image) if made.usage else Decimal(0))
    return True


def _new_version(job: ClaimedJob, subject_id: int, master: Master, made: StoredResult) -> NewVersion:
    """Return the version of a result, with a finding if it is a near-duplicate."""
    duplicate = duplicates.find_nearest(brand_id=job.brand_id, subject_id=subject_id, hashes=made.master.hashes)
    return NewVersion(
        round=job.round,
        candidate=job.candidate,
        master=master,
        job_id=job.id,
        source=VersionSource.REUSED if made.is_reused else VersionSource.GENERATED,
        check_results=(*made.check_results, duplicate.check_result) if duplicate else made.check_results,
        duplicates={histories.NEAR_DUPLICATE: duplicate.version_id} if duplicate else {},
        renditions=made.renditions,
    )


def _settle(job: ClaimedJob, amount: Decimal) -> None:
    values = [job.campaign_id, job.run_id, job.id, LedgerKind.SETTLE.value, amount, clock.now()]
    sql.execute(_SETTLE, values)


def _cost(made: StoredResult, unit_prices: Mapping[str, Any], price_per_image: Decimal) -> Decimal:
    """Return the cost of a result: usage at the endpoint's prices, else the engine's cost, else the price per image."""
    if made.is_reused:
        return Decimal(0)
    if made.usage and unit_prices:
        return prices.cost(unit_prices, made.usage) + price_per_image
    return Decimal(str(made.cost)) or price_per_image


def fail(*, job: ClaimedJob, token: uuid.UUID, error: EngineError, worker: str) -> bool:
    """End a failed attempt: retry it later, hold it, or give it up, by kind of error. False if the lease was lost."""
    with transaction.atomic():
        if (locked := _lock_job(job.id, token)) is None:
            return False
        if locked.is_cancel_requested or error.kind == ErrorKind.CANCELLED:
            _cancel(locked, worker)
        elif error.kind == ErrorKind.TRANSIENT and (error.is_unsent or _is_resting(locked.endpoint_id)):
            # The service is down for all jobs, for however long: this attempt does not count. The endpoint's circuit
            # breaker decides how soon it gets another submission.
            later = timezone.now() + timedelta(seconds=OUTAGE_PAUSE_SECONDS)
            _fail_attempt(locked, error, tries=locked.tries - 1, not_before=later)
        elif locked.tries < MAX_TRIES.get(error.kind, 0):
            pause = error.retry_after_seconds or backoff_seconds(locked.tries)
            if error.kind == ErrorKind.MEMORY:
                pause = max(pause, MEMORY_REST_SECONDS)
            _fail_attempt(locked, error, not_before=timezone.now() + timedelta(seconds=pause))
        elif error.kind == ErrorKind.QUOTA:
            _fail_attempt(locked, error)
            # With this job all queued ones of its endpoint are held: it makes nothing more until its operator acts.
            queued = Job.objects.filter(endpoint_id=locked.endpoint_id, status=JobState.QUEUED)
            queued.update(status=JobState.HELD, hold_reason=HoldReason.QUOTA)
        elif error.kind == ErrorKind.STORAGE and _is_paused(locked.run_id):
            _fail_attempt(locked, error)
        elif error.kind == ErrorKind.CHANGED:
            _hold_changed(locked, error, worker)
        elif error.kind == ErrorKind.UNCERTAIN:
            _hold_uncertain(locked, error, worker)
        else:
            _close_attempt(locked, AttemptOutcome.FAILED, error)
            _give_up(locked, JobState.FAILED, error.kind, error.message, worker)
    return True


def _is_resting(endpoint_id: int) -> bool:
    return EndpointStatus.objects.filter(pk=endpoint_id).exclude(breaker=Breaker.CLOSED).exists()


def _fail_attempt(job: Job, error: EngineError, status: str = JobState.QUEUED, **fields: Any) -> None:
    _close_attempt(job, AttemptOutcome.FAILED, error)
    _end(job, status, error_kind=error.kind, error=error.message[:500], **fields)


def _hold_changed(job: Job, error: EngineError, worker: str) -> None:
    """Hold a job until somebody plans it again, because the engine is no longer the one that was planned."""
    _fail_attempt(job, error, JobState.HELD, hold_reason=HoldReason.CHANGED)
    brand_id = JobSpec.objects.values_list("brand_id", flat=True).get(pk=job.pk)
    payload = {"jobs": 1, "endpoint": job.endpoint.slug, "planned": "", "now": error.message}
    publish(events.RunEngineChanged(brand_id=brand_id, object_id=job.run_id, payload=payload), label=worker)


def _hold_uncertain(job: Job, error: EngineError, worker: str) -> None:
    """Hold an uncertain submission and count its cost as spent, because the service may have charged it."""
    frozen = JobSpec.objects.only("brand_id", "quoted_cost").get(pk=job.pk)
    Attempt.objects.filter(job=job, number=job.attempts).update(
        outcome=AttemptOutcome.LOST, ended_at=clock.now(), error_kind=ErrorKind.UNCERTAIN, message=error.message
    )
    fields = {"error_kind": ErrorKind.UNCERTAIN, "error": error.message[:500]}
    _end(job, JobState.HELD, hold_reason=HoldReason.UNCERTAIN, **fields)
    LedgerEntry.objects.create(
        campaign_id=job.campaign_id, run_id=job.run_id, job=job, kind=LedgerKind.UNCERTAIN, amount=frozen.quoted_cost
    )
    payload = {"run": job.run_id, "attempt": job.attempts, "amount": str(frozen.quoted_cost)}
    publish(events.SubmissionUncertain(brand_id=frozen.brand_id, object_id=job.pk, payload=payload), label=worker)


def backoff_seconds(attempt: int) -> float:
    """Return an exponential backoff with jitter: about 2, 4, 8 … at most 300 seconds."""
    return random.uniform(0.5, 1.0) * min(300.0, 2.0**attempt)


def _close_attempt(job: Job, outcome: str, error: EngineError) -> None:
    assert job.lease_token is not None  # the job runs
    attempt = Attempt.objects.filter(job=job, lease_token=job.lease_token)
    details = attempt.values_list("details", flat=True).first() or {}
    if error.log:
        details["log"] = error.log[-4000:]
    attempt.update(outcome=outcome, ended_at=clock.now(), error_kind=error.kind, message=error.message, details=details)


def _cancel(job: Job, worker: str) -> None:
    error = EngineError(ErrorKind.CANCELLED, "Cancelled while it was being made.")
    _close_attempt(job, AttemptOutcome.CANCELLED, error)
    _give_up(job, JobState.CANCELLED, error.kind, error.message, worker)


def _give_up(job: Job, status: str, kind: str, message: str, worker: str) -> None:
    _end(job, status, error_kind=kind, error=message[:500])
    asset = assets.lock_of_cell(job.cell_id)
    if status != JobState.CANCELLED:
        payload = {"run": job.run_id, "asset": asset.pk, "kind": str(kind), "message": message[:300]}
        publish(events.JobFailed(brand_id=asset.brand_id, object_id=job.pk, payload=payload), label=worker)
    assets.settle_round(asset, label=worker)


@transaction.atomic
def reap() -> int:
    """Take back jobs whose lease ran out: queue them again, or quarantine those at which MAX_DEATHS workers died."""
    running = Job.objects.select_for_update(skip_locked=True, of=("self",)).filter(status=JobState.RUNNING)
    late = running.filter(lease_expires_at__lt=timezone.now()).order_by("lease_expires_at")
    expired = list(late.select_related("campaign", "endpoint")[:500])
    for job in expired:
        if not _keep_submitted(job):
            _requeue_or_quarantine(job)
    for lane in {job.lane for job in expired}:
        wake_ups.wake(lane)
    return len(expired)


def _keep_submitted(job: Job) -> bool:
    """Keep a job waiting that was, or may have been, submitted to a remote service; True if it was such a job."""
    attempt = Attempt.objects.filter(job=job, number=job.attempts).only("submitted_at", "remote_id").first()
    if attempt is None or attempt.submitted_at is None:
        return False
    if attempt.remote_id:
        if job.deaths + 1 >= MAX_DEATHS:
            return False
        _end(job, JobState.WAITING, remote_id=attempt.remote_id, poll_at=timezone.now(), deaths=job.deaths + 1)
    elif _can_look_up(job.endpoint):
        # The worker had no data of this image yet, so this job cannot have killed it: it counts no death.
        _end(job, JobState.WAITING, remote_id="", poll_at=timezone.now() + timedelta(seconds=LOOK_UP_SECONDS))
    else:
        message = "The worker died or was cut off after the submission was sent."
        _hold_uncertain(job, EngineError(ErrorKind.UNCERTAIN, message), "reaper")
    return True


def _can_look_up(endpoint: Endpoint) -> bool:
    try:
        return bool(getattr(engines.build(endpoint.engine, endpoint.config), "can_find_submissions", False))
    except (ValueError, TypeError, KeyError, OSError, EngineError):
        return False  # then the submission is uncertain


def _requeue_or_quarantine(job: Job) -> None:
    deaths = job.deaths + 1
    message = f"The worker died or was cut off while making this ({deaths} of {MAX_DEATHS})."
    Attempt.objects.filter(job=job, number=job.attempts, outcome=AttemptOutcome.RUNNING).update(
        outcome=AttemptOutcome.LOST, ended_at=clock.now(), error_kind=ErrorKind.LOST, message=message
    )
    Job.objects.filter(pk=job.pk).update(deaths=deaths)
    if job.is_cancel_requested:
        _give_up(job, JobState.CANCELLED, ErrorKind.CANCELLED, "Cancelled.", "reaper")
        return
    status = JobState.QUARANTINED if deaths >= MAX_DEATHS else JobState.QUEUED
    payload = {"run": job.run_id, "deaths": deaths, "status": str(status)}
    publish(events.JobLost(brand_id=job.campaign.brand_id, object_id=job.pk, payload=payload), label="reaper")
    if status == JobState.QUARANTINED:
        _give_up(job, status, ErrorKind.LOST, message, "reaper")
    else:
        _end(job, status, error_kind=ErrorKind.LOST, error=message)
