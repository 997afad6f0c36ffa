"""Claims: choose the jobs that a worker takes next, and grant, renew and return their leases.

The database row decides. A claim is one statement: the campaign that lags most in the lane, its first jobs by priority,
one batch key, up to the endpoint's batch size, SKIP LOCKED. The same statement writes the lease, the attempt rows and
the campaign's virtual time.
"""

from __future__ import annotations

import uuid
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from django.conf import settings
from django.db import transaction
from django.db.models import F, Min
from django.utils import timezone

from core import clock, sql
from core.services import wake_ups
from generation.choices import JobState
from generation.models import Attempt, Job, LaneShare

STICKY_SECONDS = 30.0
"""Lane seconds that another campaign may lag behind before a worker leaves the model that it has loaded."""

# Scalar subqueries instead of joins: only then does the planner read index job_claim in order and stop at the limit.
# With joins it sorts all queued rows of the campaign: 810 ms against 0.8 ms at 300,000 rows (benchmarks/plan.py).
_CLAIM = """
WITH share AS (
    SELECT s.id, s.campaign_id
    FROM generation_laneshare s
    WHERE s.lane = %(lane)s AND EXISTS (
        SELECT 1 FROM generation_job q
        WHERE q.lane = %(lane)s AND q.campaign_id = s.campaign_id AND q.status = 'queued' {q_only}
          AND (q.not_before IS NULL OR q.not_before <= now())
    )
    ORDER BY s.virtual_time - CASE WHEN s.campaign_id = %(sticky)s THEN %(bonus)s ELSE 0 END, s.id
    LIMIT 1
    {lock}
), head AS MATERIALIZED (
    SELECT j.campaign_id, j.priority, j.batch_key, j.endpoint_id
    FROM generation_job j
    WHERE j.lane = %(lane)s AND j.campaign_id = (SELECT campaign_id FROM share) AND j.status = 'queued' {j_only}
      AND (j.not_before IS NULL OR j.not_before <= now())
    ORDER BY j.priority DESC, j.batch_key, j.id
    LIMIT 1
    FOR UPDATE OF j SKIP LOCKED
), picked AS MATERIALIZED (
    SELECT j.id
    FROM generation_job j
    WHERE j.lane = %(lane)s AND j.campaign_id = (SELECT campaign_id FROM head)
      AND j.priority = (SELECT priority FROM head) {together} {j_only}
      AND j.status = 'queued' AND (j.not_before IS NULL OR j.not_before <= now())
    ORDER BY j.id
    LIMIT {most}
    FOR UPDATE OF j SKIP LOCKED
), claimed AS (
    UPDATE generation_job j
    SET status = 'running', lease_token = %(token)s, lease_expires_at = now() + %(lease)s * interval '1 second',
        attempts = j.attempts + 1, tries = j.tries + 1, step = 0, error = '', error_kind = '', remote_id = ''
    WHERE j.id = ANY(ARRAY(SELECT id FROM picked))
    RETURNING j.id, j.attempts, j.endpoint_id, j.campaign_id, j.run_id, j.cell_id, j.batch_key
), attempted AS (
    INSERT INTO generation_attempt
        (job_id, number, lease_token, endpoint_id, worker, outcome, error_kind, message, details, started_at)
    SELECT id, attempts, %(token)s, endpoint_id, %(worker)s, 'running', '', '', '{}', %(started)s FROM claimed
), charged AS (
    UPDATE generation_laneshare s
    SET virtual_time = s.virtual_time
        + (SELECT count(*) * max(e.seconds_per_image)
           FROM claimed JOIN generation_endpoint e ON e.id = claimed.endpoint_id)
    FROM share WHERE s.id = share.id AND EXISTS (SELECT 1 FROM claimed)
)
SELECT c.id, c.endpoint_id, c.campaign_id, c.run_id, c.cell_id, c.batch_key, f.spec, f.round, f.candidate,
       f.fingerprint, f.brand_id, f.maker
FROM claimed c JOIN generation_jobspec f ON f.job_id = c.id
ORDER BY c.id
"""


def _claims(**parts: str) -> tuple[str, str]:
    """Return two claim statements, to be tried in this order. The first skips campaigns from which others claim at this
    moment, so that claimers do not wait for one row. The second waits for them, because a single campaign must keep
    every worker busy."""
    statement = _CLAIM
    for name, part in parts.items():
        statement = statement.replace(f"{{{name}}}", part)
    return statement.replace("{lock}", "FOR UPDATE OF s SKIP LOCKED"), statement.replace("{lock}", "")


_OFF = "(SELECT id FROM generation_endpoint WHERE NOT is_enabled)"
_LOCAL = _claims(
    q_only=f"AND q.endpoint_id NOT IN {_OFF}",
    j_only=f"AND j.endpoint_id NOT IN {_OFF}",
    together="AND j.batch_key = (SELECT batch_key FROM head)",
    most="(SELECT LEAST(e.batch_size, %(limit)s) FROM generation_endpoint e JOIN head ON e.id = head.endpoint_id)",
)
#: Jobs are submitted to a service one by one: batch key and batch size do not matter, and other endpoints may be full.
_REMOTE = _claims(
    q_only="AND q.endpoint_id = %(endpoint)s", j_only="AND j.endpoint_id = %(endpoint)s", together="", most="%(limit)s"
)


# Jobs that are still ours are read without a lock; those whose lease is extended are locked, which may be fewer.
_RENEW = """
WITH held AS (
    SELECT * FROM unnest(%(ids)s::bigint[], %(tokens)s::uuid[]) AS held(id, token)
), ours AS (
    SELECT j.id, j.is_cancel_requested FROM generation_job j
    JOIN held ON held.id = j.id AND held.token = j.lease_token
    WHERE j.status = 'running'
), free AS (
    SELECT j.id FROM generation_job j
    JOIN held ON held.id = j.id AND held.token = j.lease_token
    WHERE j.status = 'running'
    FOR UPDATE OF j SKIP LOCKED
), renewed AS (
    UPDATE generation_job SET lease_expires_at = now() + %(lease)s * interval '1 second'
    WHERE id IN (SELECT id FROM free)
)
SELECT id, is_cancel_requested FROM ours
"""


@dataclass(frozen=True)
class ClaimedJob:
    """One claimed job as a worker needs it, its fields in the order of the columns that a claim returns.

    maker: the maker that it was planned for, {} if that was not recorded.
    """

    id: int
    endpoint_id: int
    campaign_id: int
    run_id: int
    cell_id: int
    batch_key: str
    spec: dict[str, Any]
    round: int
    candidate: int
    fingerprint: str
    brand_id: int
    maker: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Claim:
    """Jobs of one batch key held under one lease token; an empty claim is false."""

    token: uuid.UUID
    jobs: tuple[ClaimedJob, ...]

    def __bool__(self) -> bool:
        return bool(self.jobs)


NO_CLAIM = Claim(uuid.UUID(int=0), ())


def claim(
    *, lane: str, worker: str, limit: int = 64, sticky_campaign: int | None = None, endpoint_id: int | None = None
) -> Claim:
    """Take the next batch of `lane` for `worker`: at most `limit` jobs and the endpoint's batch size.

    `sticky_campaign` is preferred while no other campaign lags behind it by more than STICKY_SECONDS. With
    `endpoint_id` only jobs of this remote endpoint are taken: up to `limit`, with any batch keys.
    """
    token = uuid.uuid4()
    values = {
        "lane": lane,
        "worker": worker,
        "started": clock.now(),
        "limit": limit,
        "token": token,
        "lease": settings.PROOFLINE["lease_seconds"],
        "sticky": sticky_campaign or 0,
        "bonus": STICKY_SECONDS,
        "endpoint": endpoint_id,
    }
    answers = (sql.rows(statement, values) for statement in (_LOCAL if endpoint_id is None else _REMOTE))
    rows = next(filter(None, answers), [])
    return Claim(token, tuple(ClaimedJob(*row) for row in rows))


def has_work(lane: str) -> bool:
    """Return whether a job of the lane could be claimed now. One index probe."""
    return Job.objects.filter(lane=lane, status=JobState.QUEUED).exclude(not_before__gt=timezone.now()).exists()


def activate(*, lane: str, campaign_id: int) -> None:
    """Let a campaign take part in a lane, and wake the lane's workers after commit.

    The campaign's idle time gives it no advantage over the active campaigns.
    """
    wake_ups.wake(lane)
    busy = Job.objects.filter(lane=lane, status=JobState.QUEUED).exclude(campaign_id=campaign_id).values("campaign_id")
    floor = LaneShare.objects.filter(lane=lane, campaign_id__in=busy).aggregate(floor=Min("virtual_time"))["floor"]
    share, is_new = LaneShare.objects.get_or_create(
        lane=lane, campaign_id=campaign_id, defaults={"virtual_time": floor or 0.0}
    )
    if not is_new and floor is not None and share.virtual_time < floor:
        LaneShare.objects.filter(pk=share.pk, virtual_time__lt=floor).update(virtual_time=floor)


def renew(leases: Mapping[uuid.UUID, Collection[int]]) -> frozenset[int]:
    """Extend leases, given as token -> job ids; returns the ids that are still ours and are not to be cancelled.

    A row that is locked at this moment is left for the next heartbeat, because a heartbeat must not wait.
    """
    pairs = [(job_id, token) for token, job_ids in leases.items() for job_id in job_ids]
    ids, tokens = [pair[0] for pair in pairs], [pair[1] for pair in pairs]
    values = {"ids": ids, "tokens": tokens, "lease": settings.PROOFLINE["lease_seconds"]}
    return frozenset(job_id for job_id, is_cancel_requested in sql.rows(_RENEW, values) if not is_cancel_requested)


@transaction.atomic
def give_back(token: uuid.UUID, job_ids: Iterable[int]) -> int:
    """Put back claimed jobs that were not started (by a worker that stops); their attempts do not count."""
    running = Job.objects.select_for_update().filter(id__in=list(job_ids), status=JobState.RUNNING)
    claimed_ids = list(running.filter(lease_token=token).values_list("id", flat=True))
    Attempt.objects.filter(job_id__in=claimed_ids, lease_token=token).delete()
    uncounted = {"attempts": F("attempts") - 1, "tries": F("tries") - 1}
    Job.objects.filter(id__in=claimed_ids).update(
        status=JobState.QUEUED, lease_token=None, lease_expires_at=None, **uncounted
    )
    return len(claimed_ids)
