"""Submissions to remote services: the intent before the call, the remote id after it, and the wait for the image.

    running ─ record_intent ─► (the call) ─ record_submission ─► waiting ─ take_due, poll_again … ─ resume ─► running
                                     └── no answer, or a crash ── look_up_later or hold ──┘

Each write is guarded by the lease, or by the state and remote id. The call itself is made by workers/service_calls.py.

A webhook only makes a job due to be polled now, so it does not matter how often it comes, or whether it comes at all.
An uncertain submission was never answered, at a service that cannot look it up. It is resubmitted automatically if the
endpoint's policy says so, else by a person (retries.py), who may also record that nothing was charged.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal

import structlog
from django.conf import settings
from django.db import transaction
from django.db.models import F, QuerySet
from django.db.models.functions import Now
from django.utils import timezone
from django.utils.translation import gettext as _

from core import encryption, signing, sql
from core.errors import Conflict
from core.models import User
from core.services import wake_ups
from generation import events
from generation.choices import AttemptOutcome, HoldReason, JobState, LedgerKind, RunState, WhenUncertain
from generation.engines.base import EngineError, ErrorKind, Pending
from generation.models import Attempt, Endpoint, Job, LedgerEntry
from generation.selectors import budgets
from generation.services import budget, runs
from generation.services.dispatch import claims
from generation.services.planning.fingerprints import Maker
from generation.states import JOB

log = structlog.get_logger(__name__)

POLL_LEASE_SHARE = 0.25
"""The part of a lease for which a thread has due jobs to itself; then another may poll them."""
ANSWERED = "answered"
SUBMITTED = "submitted_to"  # the key in an attempt's details for the maker to which it was submitted
SLACK_SECONDS = 600.0
"""The most by which a service's clock and ours, or two submissions on their way, may differ."""

# Claims, like those of dispatch/claims.py: each takes its jobs and reads what a worker needs in one statement, which
# the ORM cannot do without UPDATE … RETURNING. _POLL_AGAIN sets different values for many jobs that are still waiting.
_TAKE_DUE = """
UPDATE generation_job j SET poll_at = now() + %(lease)s * interval '1 second'
FROM generation_attempt a
WHERE j.id IN (
    SELECT id FROM generation_job
    WHERE endpoint_id = %(endpoint)s AND status = 'waiting' AND poll_at <= now()
    ORDER BY poll_at LIMIT %(limit)s FOR UPDATE SKIP LOCKED
) AND a.job_id = j.id AND a.number = j.attempts
RETURNING j.id, j.remote_id, j.is_cancel_requested, a.marker, a.submitted_at
"""

_POLL_AGAIN = """
UPDATE generation_job j SET poll_at = now() + %(seconds)s * interval '1 second', step = p.step, steps = p.steps
FROM unnest(%(ids)s::bigint[], %(step)s::int[], %(steps)s::int[]) AS p(id, step, steps)
WHERE j.id = p.id AND j.status = 'waiting'
"""

_RESUME = """
WITH resumed AS (
    UPDATE generation_job SET status = 'running', lease_token = %(token)s,
        lease_expires_at = now() + %(lease)s * interval '1 second', poll_at = NULL, error = '', error_kind = ''
    WHERE id = %(job)s AND status = 'waiting' AND remote_id = %(remote)s
    RETURNING *
), held AS (
    UPDATE generation_attempt a SET lease_token = %(token)s, worker = %(worker)s, answered_at = now()
    FROM resumed WHERE a.job_id = resumed.id AND a.number = resumed.attempts
)
SELECT j.id, j.endpoint_id, j.campaign_id, j.run_id, j.cell_id, j.batch_key, f.spec, f.round, f.candidate,
       f.fingerprint, f.brand_id, f.maker
FROM resumed j JOIN generation_jobspec f ON f.job_id = j.id
"""


@dataclass(frozen=True)
class DueJob:
    """A waiting job that is due to be polled. remote_id: "" if it is unknown whether the service has it; then `marker`
    and `submitted_at` identify the submission."""

    job_id: int
    remote_id: str
    is_cancel_requested: bool
    marker: uuid.UUID
    submitted_at: datetime


def record_intent(*, job_id: int, token: uuid.UUID, maker: Maker | None = None) -> uuid.UUID | None:
    """Record the intent to submit a job; returns its marker, None if the job is no longer ours or was cancelled.
    maker: the maker to which it is submitted. The image is made by it, even if the endpoint is changed meanwhile."""
    marker = uuid.uuid4()
    details = {SUBMITTED: maker.to_json()} if maker else {}
    ours = Job.objects.filter(pk=job_id, lease_token=token, status=JobState.RUNNING, is_cancel_requested=False)
    attempt = Attempt.objects.filter(job__in=ours, lease_token=token)
    return marker if attempt.update(submitted_at=timezone.now(), marker=marker, details=details) else None


def get_submitted_maker(job_id: int) -> Maker | None:
    """Return the maker to which the job was last submitted; None if that was not recorded."""
    attempts = Attempt.objects.filter(job_id=job_id, number=F("job__attempts"))
    details = attempts.values_list("details", flat=True).first() or {}
    return Maker.from_json(details.get(SUBMITTED, {}))


@transaction.atomic
def record_submission(
    *, job_id: int, token: uuid.UUID, remote_id: str, poll_seconds: float, problem: EngineError | None = None
) -> bool:
    """Let a job wait that the service has under `remote_id`; False if it was not ours. problem: why a fetch failed."""
    Attempt.objects.filter(job_id=job_id, lease_token=token).update(remote_id=remote_id)
    JOB.ensure(JobState.RUNNING, JobState.WAITING)
    moved = Job.objects.filter(pk=job_id, lease_token=token, status=JobState.RUNNING).update(
        status=JobState.WAITING,
        remote_id=remote_id,
        poll_at=timezone.now() + timedelta(seconds=poll_seconds),
        lease_token=None,
        lease_expires_at=None,
        error_kind=problem.kind if problem else "",
        error=problem.message[:500] if problem else "",
    )
    return bool(moved)


@transaction.atomic
def record_answer(*, job_id: int, token: uuid.UUID) -> None:
    """Record that the service has answered with the image itself, so the submission is no longer open there."""
    if Job.objects.filter(pk=job_id, lease_token=token, status=JobState.RUNNING).update(remote_id=ANSWERED):
        Attempt.objects.filter(job=job_id, number=F("job__attempts")).update(answered_at=Now())


def record_refusal(*, job_id: int, token: uuid.UUID) -> None:
    """Remove the intent of a submission that the service has refused, so that it counts as never sent."""
    Attempt.objects.filter(job_id=job_id, lease_token=token).update(submitted_at=None, marker=None)


def take_due(*, endpoint_id: int, limit: int) -> list[DueJob]:
    """Return the jobs of the endpoint that are due to be polled; nobody else gets them for a part of a lease."""
    lease = settings.PROOFLINE["lease_seconds"] * POLL_LEASE_SHARE
    rows = sql.rows(_TAKE_DUE, {"endpoint": endpoint_id, "limit": limit, "lease": lease})
    return [DueJob(*row) for row in rows]


def poll_again(pending: Mapping[int, Pending], *, seconds: float) -> None:
    """Record the progress of jobs that are still being made, and poll them again in `seconds`."""
    if pending:
        step, steps = zip(*((answer.step, answer.steps) for answer in pending.values()), strict=True)
        values = {"ids": list(pending), "step": list(step), "steps": list(steps), "seconds": seconds}
        sql.execute(_POLL_AGAIN, values)


@transaction.atomic
def record_found(*, job_id: int, remote_id: str) -> None:
    """Record that a looked-up job exists under `remote_id`; it is polled at once."""
    waiting = Job.objects.filter(pk=job_id, status=JobState.WAITING, remote_id="")
    if waiting.update(remote_id=remote_id, poll_at=timezone.now(), error="", error_kind=""):
        Attempt.objects.filter(job_id=job_id, number=F("job__attempts")).update(remote_id=remote_id)


@transaction.atomic
def requeue_unsubmitted(*, job_id: int) -> None:
    """Record that a looked-up job does not exist there: it is queued again, to be submitted under a new marker."""
    waiting = Job.objects.select_for_update(of=("self",)).filter(pk=job_id, status=JobState.WAITING, remote_id="")
    if (job := waiting.first()) is None:
        return
    Attempt.objects.filter(job=job, number=job.attempts).update(
        outcome=AttemptOutcome.LOST,
        ended_at=timezone.now(),
        error_kind=ErrorKind.LOST,
        message="The submission never arrived at the service.",
    )
    JOB.ensure(JobState.WAITING, JobState.RUNNING)
    JOB.ensure(JobState.RUNNING, JobState.QUEUED)
    Job.objects.filter(pk=job_id).update(status=JobState.QUEUED, poll_at=None, error="", error_kind="")


def claim_waiting(*, job_id: int, remote_id: str, worker: str) -> claims.Claim:
    """Claim a waiting job to end it, under a new lease; an empty claim if somebody else has claimed it."""
    token = uuid.uuid4()
    values = {"job": job_id, "remote": remote_id, "token": token, "worker": worker}
    rows = sql.rows(_RESUME, {**values, "lease": settings.PROOFLINE["lease_seconds"]})
    return claims.Claim(token, tuple(claims.ClaimedJob(*row) for row in rows))


def remote_ids_since(endpoint_id: int, since: datetime) -> frozenset[str]:
    """Return the known remote ids of submissions to this endpoint since shortly before `since` (SLACK_SECONDS)."""
    earliest = since - timedelta(seconds=SLACK_SECONDS)
    attempts = Attempt.objects.filter(endpoint_id=endpoint_id, submitted_at__gte=earliest).exclude(remote_id="")
    return frozenset(attempts.values_list("remote_id", flat=True))


@transaction.atomic
def receive_webhook(*, slug: str, marker: uuid.UUID, headers: Mapping[str, str], body: bytes) -> bool:
    """Process one signed message: make the waiting job with this `marker` due to be polled now, and wake its lane.

    headers: names in lower case. False if no endpoint `slug` has the key of the signature; then nothing happens. An
    unknown marker, or one of a submission that has ended, is no error: messages are repeated and arrive in any order.
    A job whose answer was lost keeps its time: looked up too early, it would seem never to have arrived.
    """
    endpoint = Endpoint.objects.filter(slug=slug).first()
    if endpoint is None or not _is_signed(endpoint, headers, body):
        return False
    now = timezone.now()
    submissions = Attempt.objects.filter(endpoint=endpoint, marker=marker, number=F("job__attempts"))
    waiting = Job.objects.filter(pk__in=submissions.values("job_id"), status=JobState.WAITING, poll_at__gt=now)
    if waiting.exclude(remote_id="").update(poll_at=now):
        wake_ups.wake(endpoint.lane)
    return True


def _is_signed(endpoint: Endpoint, headers: Mapping[str, str], body: bytes) -> bool:
    try:
        key = endpoint.plugin.webhook_key(endpoint.secret)
        return bool(key) and signing.is_signed(key, headers, body, now=time.time())
    except (signing.BadSecret, encryption.Unreadable) as error:
        log.warning("hook.secret_unusable", endpoint=endpoint.slug, error=str(error))
        return False


def resubmit_uncertain() -> int:
    """Resubmit uncertain submissions at endpoints with that policy, where budgets suffice; returns how many jobs."""
    held = Job.objects.filter(status=JobState.HELD, hold_reason=HoldReason.UNCERTAIN)
    held = held.filter(endpoint__when_uncertain=WhenUncertain.RESUBMIT)
    return sum(_resubmit(run_id, held) for run_id in list(held.values_list("run_id", flat=True).distinct()))


def _resubmit(run_id: int, held: QuerySet[Job]) -> int:
    try:
        with transaction.atomic():
            run = runs.lock(run_id)
            if run.state != RunState.RUNNING:
                return 0
            jobs = held.filter(run=run)
            lanes = list(jobs.values_list("lane", flat=True).distinct())
            queued = Job.objects.filter(pk__in=list(jobs.values_list("pk", flat=True))).update(
                status=JobState.QUEUED, hold_reason="", not_before=None
            )
            reserved = budget.reserve_for_run(run)
            for lane in lanes:
                claims.activate(lane=lane, campaign_id=run.campaign_id)
            payload = {"queued": queued, "reserved": str(reserved), "uncertain": True}
            runs.publish(events.RunRetried, run, payload, None)
            return queued
    except Conflict:  # no money left: they wait for a person
        return 0


@transaction.atomic
def mark_not_charged(*, run_id: int, by: User) -> Decimal:
    """Free the money of uncertain submissions, which were not charged; returns it. Raises NotAllowed and Conflict."""
    run = runs.lock_for(run_id, by)
    if not (amount := budgets.uncertain_cost(run)):
        message = _("Nothing is counted as spent for uncertain submissions of %(run)s.") % {"run": run.name}
        raise Conflict(message, state=run.state)
    LedgerEntry.objects.create(campaign=run.campaign, run=run, kind=LedgerKind.UNCERTAIN, amount=-amount)
    runs.publish(events.UncertaintyResolved, run, {"amount": str(amount)}, by)
    return amount
