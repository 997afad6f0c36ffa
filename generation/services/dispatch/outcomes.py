"""Ending attempts: the image kept, its job tried again later, or given up; one transaction each, guarded
by the lease."""

from __future__ import annotations

import random
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from decimal import Decimal
from typing import Any

from django.db import transaction
from django.utils import timezone

from core import clock, crash_points
from core.events import publish
from core.services import nudges
from generation import events, prices
from generation.checks.base import Verdict
from generation.choices import AttemptOutcome, Breaker, HoldReason, JobState, LedgerKind, RunState, VersionSource
from generation.engines import base as engines
from generation.engines.base import EngineError, ErrorKind
from generation.models import (
    Asset,
    Attempt,
    Endpoint,
    EndpointStanding,
    Job,
    JobSpec,
    LedgerEntry,
    Master,
    Run,
)
from generation.services.dispatch.claims import ClaimedJob
from generation.services.endpoints import local_models
from generation.services.images import assets, duplicates
from generation.services.images.assets import StoredMaster, StoredRendition
from generation.services.planning.fingerprints import Maker
from generation.states import JOB

MAX_DEATHS = 3
LOOK_UP_SECONDS = 1.0
"""How long after its lease ran out an order is looked up: it was sent at least a lease ago."""
MEMORY_REST_SECONDS = 12.0
"""What did not fit is tried again when others have left the card; until then routing may take it elsewhere."""
OUTAGE_PAUSE_SECONDS = 1.0
"""Pause before a job that could not be sent may be claimed again."""
MAX_TRIES = {ErrorKind.TRANSIENT: 5, ErrorKind.RATE: 20, ErrorKind.MEMORY: 3, ErrorKind.LOST: 3}
"""Attempts since a person last queued the job after which a kind of error is given up; kinds that are missing
are never retried."""


@dataclass(frozen=True)
class Made:
    """Everything that one attempt brought, its files already in storage.

    fingerprint, maker: of what really made it, where the job was planned for something else.
    """

    master: StoredMaster
    verdicts: tuple[Verdict, ...] = ()
    renditions: tuple[StoredRendition, ...] = ()
    cost: float = 0.0
    usage: Mapping[str, float] = field(default_factory=dict)
    details: Mapping[str, Any] = field(default_factory=dict)
    is_reused: bool = False
    fingerprint: str = ""
    maker: Maker | None = None


class MadeMeanwhile(Exception):
    """Another image is already kept under the fingerprint: the version and its files have to be made of that master."""

    def __init__(self, master: Master) -> None:
        super().__init__(f"There is another master under the fingerprint {master.fingerprint}.")
        self.master = master


def _hold(job_id: int, token: uuid.UUID) -> Job | None:
    """The job, locked, if it still runs under this lease."""
    held = Job.objects.select_for_update(of=("self",)).filter(pk=job_id, lease_token=token, status=JobState.RUNNING)
    return held.select_related("endpoint").first()


def _end(job: Job, status: str, **fields: Any) -> None:
    JOB.ensure(JobState.RUNNING, status)
    if status == JobState.QUEUED and _is_paused(job.run_id):
        JOB.ensure(status, JobState.HELD)  # back to a queue that stands still
        status, fields = JobState.HELD, {**fields, "hold_reason": HoldReason.PAUSED}
    changes = {"status": status, "lease_token": None, "lease_expires_at": None, **fields}
    Job.objects.filter(pk=job.pk).update(**changes)


def _is_paused(run_id: int) -> bool:
    return Run.objects.filter(pk=run_id, state=RunState.PAUSED).exists()


def finish(*, job: ClaimedJob, token: uuid.UUID, made: Made, worker: str) -> bool:
    """Keep what was made: master, version, findings, renditions, attempt, ledger and event, in one transaction.

    False if the lease was lost meanwhile: then nothing is written, and the sweeper removes the files. A job that people
    cancelled in the meantime ends as cancelled. Raises MadeMeanwhile, and then nothing is written.
    """
    with transaction.atomic():
        held = _hold(job.id, token)
        if held is None:
            return False
        crash_points.point("finish.locked")
        if held.is_cancel_requested:
            _give_up(held, token, JobState.CANCELLED, ErrorKind.CANCELLED, "Cancelled while it was being made.", worker)
            _settle(job, _cost(held, made) if made.usage else Decimal(0))
            return True
        asset = assets.lock_of_cell(job.cell_id)
        fingerprint = made.fingerprint or job.fingerprint
        master = assets.keep_master(brand_id=job.brand_id, fingerprint=fingerprint, stored=made.master)
        if master.sha256 != made.master.sha256:
            raise MadeMeanwhile(master)
        if made.maker is not None:
            JobSpec.objects.filter(pk=job.id).update(fingerprint=fingerprint, maker=made.maker.to_json())
        verdicts, twins = _with_twin(asset, made)
        version = assets.add_version(
            asset=asset,
            round=job.round,
            candidate=job.candidate,
            master=master,
            job_id=job.id,
            source=VersionSource.REUSED if made.is_reused else VersionSource.GENERATED,
            verdicts=verdicts,
            twins=twins,
            renditions=made.renditions,
        )
        _end(held, JobState.SUCCEEDED)
        Attempt.objects.filter(job_id=job.id, lease_token=token).update(
            outcome=AttemptOutcome.SUCCEEDED, ended_at=clock.now(), details=local_models.recorded(made.details)
        )
        _settle(job, _cost(held, made))
        publish(
            events.JobSucceeded(
                brand_id=job.brand_id,
                object_id=job.id,
                payload={
                    "run": job.run_id,
                    "asset": asset.pk,
                    "version": version.pk,
                    "attempt": held.attempts,
                    "sha256": master.sha256,
                    "reused": made.is_reused,
                },
            ),
            label=worker,
        )
        assets.settle_round(asset, label=worker)
        crash_points.point("finish.written")
    return True


def _settle(job: ClaimedJob, amount: Decimal) -> None:
    LedgerEntry.objects.create(
        campaign_id=job.campaign_id, run_id=job.run_id, job_id=job.id, kind=LedgerKind.SETTLE, amount=amount
    )


def _cost(job: Job, made: Made) -> Decimal:
    """Return what the service counted at the endpoint's prices, else what the engine says; one that keeps no account
    takes the price that its operator set for it."""
    if made.is_reused:
        return Decimal(0)
    if made.usage and job.endpoint.prices:
        return prices.cost(job.endpoint.prices, made.usage) + job.endpoint.price_per_image
    return Decimal(str(made.cost)) or job.endpoint.price_per_image


def _with_twin(asset: Asset, made: Made) -> tuple[tuple[Verdict, ...], dict[str, int]]:
    """The verdicts, with a near-duplicate of another subject among them, and its version by check name."""
    twin = duplicates.nearest(brand_id=asset.brand_id, subject_id=asset.subject_id, hashes=made.master.hashes)
    if twin is None:
        return made.verdicts, {}
    return (*made.verdicts, twin.verdict), {duplicates.CHECK: twin.version_id}


def fail(*, job: ClaimedJob, token: uuid.UUID, error: EngineError, worker: str) -> bool:
    """End an attempt that brought nothing: again later by kind of error, or given up. False if the lease was lost."""
    with transaction.atomic():
        held = _hold(job.id, token)
        if held is None:
            return False
        if held.is_cancel_requested or error.kind == ErrorKind.CANCELLED:
            _give_up(held, token, JobState.CANCELLED, ErrorKind.CANCELLED, "Cancelled while it was being made.", worker)
        elif error.kind == ErrorKind.TRANSIENT and (error.is_unsent or _is_resting(held.endpoint_id)):
            _wait_out(held, token, error)
        elif held.tries < MAX_TRIES.get(error.kind, 0):
            wait = error.retry_after_seconds or backoff_seconds(held.tries)
            if error.kind == ErrorKind.MEMORY:
                wait = max(wait, MEMORY_REST_SECONDS)
            _close_attempt(held, token, AttemptOutcome.FAILED, error)
            _end(
                held,
                JobState.QUEUED,
                not_before=timezone.now() + timedelta(seconds=wait),
                error_kind=error.kind,
                error=error.message[:500],
            )
        elif error.kind == ErrorKind.QUOTA:
            _hold_endpoint(held, token, error)
        elif error.kind == ErrorKind.STORAGE and _is_paused(held.run_id):
            _close_attempt(held, token, AttemptOutcome.FAILED, error)
            _end(held, JobState.QUEUED, error_kind=error.kind, error=error.message[:500])
        elif error.kind == ErrorKind.CHANGED:
            _hold_changed(held, token, error, worker)
        elif error.kind == ErrorKind.DOUBT:
            _hold_in_doubt(held, error, worker)
        else:
            _give_up(held, token, JobState.FAILED, error.kind, error.message, worker, log=error.log)
    return True


def _is_resting(endpoint_id: int) -> bool:
    return EndpointStanding.objects.filter(pk=endpoint_id).exclude(breaker=Breaker.CLOSED).exists()


def _wait_out(job: Job, token: uuid.UUID, error: EngineError) -> None:
    """Queue a job again without counting the try, because the service is away for everybody, however long that lasts.

    The endpoint's breaker decides how soon it gets another order.
    """
    _close_attempt(job, token, AttemptOutcome.FAILED, error)
    later = timezone.now() + timedelta(seconds=OUTAGE_PAUSE_SECONDS)
    message = error.message[:500]
    _end(job, JobState.QUEUED, tries=job.tries - 1, not_before=later, error_kind=error.kind, error=message)


def _hold_endpoint(job: Job, token: uuid.UUID, error: EngineError) -> None:
    """Nothing more can be had from this endpoint until its operator acts: hold this job and all that wait for it."""
    _close_attempt(job, token, AttemptOutcome.FAILED, error)
    _end(job, JobState.QUEUED, error_kind=error.kind, error=error.message[:500])
    Job.objects.filter(endpoint_id=job.endpoint_id, status=JobState.QUEUED).update(
        status=JobState.HELD, hold_reason=HoldReason.QUOTA
    )


def _hold_changed(job: Job, token: uuid.UUID, error: EngineError, worker: str) -> None:
    """The engine found that it is not what was planned: hold this job until somebody plans it anew."""
    _close_attempt(job, token, AttemptOutcome.FAILED, error)
    _end(job, JobState.HELD, hold_reason=HoldReason.CHANGED, error_kind=error.kind, error=error.message[:500])
    brand_id = JobSpec.objects.values_list("brand_id", flat=True).get(pk=job.pk)
    payload = {"jobs": 1, "endpoint": job.endpoint.slug, "planned": "", "now": error.message}
    publish(events.RunEngineChanged(brand_id=brand_id, object_id=job.run_id, payload=payload), label=worker)


def _hold_in_doubt(job: Job, error: EngineError, worker: str) -> None:
    """The service may have taken and charged for this: hold it, and count the money as spent until it is known."""
    frozen = JobSpec.objects.only("brand_id", "quoted_cost").get(pk=job.pk)
    Attempt.objects.filter(job=job, number=job.attempts).update(
        outcome=AttemptOutcome.LOST, ended_at=clock.now(), error_kind=ErrorKind.DOUBT, message=error.message
    )
    _end(job, JobState.HELD, hold_reason=HoldReason.IN_DOUBT, error_kind=ErrorKind.DOUBT, error=error.message[:500])
    LedgerEntry.objects.create(
        campaign_id=job.campaign_id, run_id=job.run_id, job=job, kind=LedgerKind.DOUBT, amount=frozen.quoted_cost
    )
    payload = {"run": job.run_id, "attempt": job.attempts, "amount": str(frozen.quoted_cost)}
    publish(events.JobDoubtful(brand_id=frozen.brand_id, object_id=job.pk, payload=payload), label=worker)


def backoff_seconds(attempt: int) -> float:
    """Exponential with full jitter: about 2, 4, 8 … at most 300 seconds."""
    return random.uniform(0.5, 1.0) * min(300.0, 2.0**attempt)


def _close_attempt(job: Job, token: uuid.UUID, outcome: str, error: EngineError) -> None:
    attempt = Attempt.objects.filter(job=job, lease_token=token)
    log = {"log": error.log[-4000:]} if error.log else {}
    details = attempt.values_list("details", flat=True).first() or {}
    attempt.update(
        outcome=outcome,
        ended_at=clock.now(),
        error_kind=error.kind,
        message=error.message,
        details={**details, **log},
    )


def _give_up(
    job: Job, token: uuid.UUID | None, status: str, kind: str, message: str, worker: str, *, log: str = ""
) -> None:
    outcome = AttemptOutcome.CANCELLED if status == JobState.CANCELLED else AttemptOutcome.FAILED
    if token is not None:
        _close_attempt(job, token, outcome, EngineError(ErrorKind(kind), message, log=log))
    _end(job, status, error_kind=kind, error=message[:500])
    asset = assets.lock_of_cell(job.cell_id)
    if status != JobState.CANCELLED:
        publish(
            events.JobFailed(
                brand_id=asset.brand_id,
                object_id=job.pk,
                payload={"run": job.run_id, "asset": asset.pk, "kind": str(kind), "message": message[:300]},
            ),
            label=worker,
        )
    assets.settle_round(asset, label=worker)


@transaction.atomic
def reap() -> int:
    """Take back jobs whose lease ran out: queue them again, or quarantine what has cost MAX_DEATHS workers."""
    expired = list(
        Job.objects.select_for_update(skip_locked=True, of=("self",))
        .filter(status=JobState.RUNNING, lease_expires_at__lt=timezone.now())
        .select_related("campaign", "endpoint")
        .order_by("lease_expires_at")[:500]
    )
    for job in expired:
        if not _was_ordered(job):
            _take_back(job)
    for lane in {job.lane for job in expired}:
        nudges.wake(lane)
    return len(expired)


def _was_ordered(job: Job) -> bool:
    """Keep a job waiting that a remote service has, or may have; True if the job was such a one."""
    attempt = Attempt.objects.filter(job=job, number=job.attempts).only("sent_at", "remote_id").first()
    if attempt is None or attempt.sent_at is None:
        return False
    message = "The worker died or was cut off after the order was sent."
    if attempt.remote_id:
        if job.deaths + 1 >= MAX_DEATHS:
            return False
        _end(job, JobState.WAITING, remote_id=attempt.remote_id, poll_at=timezone.now(), deaths=job.deaths + 1)
    elif _looks_up(job.endpoint):
        # Nothing of this picture was in the worker's hands that could have killed it.
        later = timezone.now() + timedelta(seconds=LOOK_UP_SECONDS)
        _end(job, JobState.WAITING, remote_id="", poll_at=later)
    else:
        _hold_in_doubt(job, EngineError(ErrorKind.DOUBT, message), "reaper")
    return True


def _looks_up(endpoint: Endpoint) -> bool:
    try:
        return bool(getattr(engines.build(endpoint.engine, endpoint.config), "looks_up", False))
    except (ValueError, TypeError, KeyError, OSError, EngineError):
        return False  # it is in doubt, then


def _take_back(job: Job) -> None:
    deaths = job.deaths + 1
    message = f"The worker died or was cut off while making this ({deaths} of {MAX_DEATHS})."
    Attempt.objects.filter(job=job, number=job.attempts, outcome=AttemptOutcome.RUNNING).update(
        outcome=AttemptOutcome.LOST, ended_at=clock.now(), error_kind=ErrorKind.LOST, message=message
    )
    Job.objects.filter(pk=job.pk).update(deaths=deaths)
    if job.is_cancel_requested:
        _give_up(job, None, JobState.CANCELLED, ErrorKind.CANCELLED, "Cancelled.", "reaper")
        return
    status = JobState.QUARANTINED if deaths >= MAX_DEATHS else JobState.QUEUED
    publish(
        events.JobLost(
            brand_id=job.campaign.brand_id,
            object_id=job.pk,
            payload={"run": job.run_id, "deaths": deaths, "status": str(status)},
        ),
        label="reaper",
    )
    if status == JobState.QUARANTINED:
        _give_up(job, None, status, ErrorKind.LOST, message, "reaper")
    else:
        _end(job, status, error_kind=ErrorKind.LOST, error=message)
