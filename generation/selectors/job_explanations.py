"""Explain in sentences why a job moved between endpoints and what it waits for."""

from __future__ import annotations

from dataclasses import dataclass

from django.db.models import Count, Max
from django.utils import timezone

from core import fetching
from core.errors import NotFound
from core.models import User
from generation.choices import HoldReason, JobState
from generation.models import Job, JobMove, Run
from generation.selectors import waits

_HELD = {
    HoldReason.NOT_RELEASED: "It waits for its run to be released.",
    HoldReason.PAUSED: "It waits because its run is paused.",
    HoldReason.QUOTA: "It waits because the endpoint's account is empty or its credentials were refused.",
    HoldReason.CHANGED: "Its engine was changed after it was planned; somebody has to plan it anew.",
    HoldReason.UNCERTAIN: "It was sent and its answer was lost; a person has to look whether it was paid for.",
}


@dataclass(frozen=True)
class JobMoves:
    """Jobs of a run that moved from one endpoint to another for one reason. sentence: the one of the latest move."""

    jobs: int
    to: str
    sentence: str


def list_moves(run: Run) -> list[JobMoves]:
    """Return the moves of the run's jobs to other endpoints, the latest first. Two queries, one without moves."""
    rows = (
        JobMove.objects.filter(job__run=run)
        .values("reason", "to_endpoint__name")
        .annotate(jobs=Count("job", distinct=True), last=Max("pk"))
        .order_by("-last")
    )
    grouped = list(rows)
    sentences = dict(JobMove.objects.filter(pk__in=[row["last"] for row in grouped]).values_list("pk", "sentence"))
    return [JobMoves(row["jobs"], row["to_endpoint__name"], sentences[row["last"]]) for row in grouped]


def explain(*, job_id: int, user: User) -> list[str]:
    """Return sentences about the job's first endpoint, each move with its reason, and its present wait.

    Raises NotFound.
    """
    job = Job.objects.visible_to(user).select_related("run__endpoint", "endpoint").filter(pk=job_id).first()
    if job is None:
        raise NotFound(f"There is no job {job_id}.")
    run = job.run
    others = ", ".join(endpoint.name for endpoint in run.alternates.all())
    allowed = f" It may also go to {others}." if others else " Its run names no other endpoint."
    sentences = [f"Planned for {run.endpoint.name}.{allowed}"]
    for move in job.moves.select_related("from_endpoint", "to_endpoint"):
        sentences.append(f"{move.at:%H:%M:%S} {move.from_endpoint.name} → {move.to_endpoint.name}: {move.sentence}")
    return [*sentences, *_now(job)]


def _now(job: Job) -> list[str]:
    if job.status == JobState.HELD:
        return [_HELD.get(HoldReason(job.hold_reason), "It is held.")]
    if job.status == JobState.WAITING:
        if not job.remote_id:
            return [f"{job.endpoint.name} has it, as far as is known."]
        sentences = [f"{job.endpoint.name} has it as {fetching.redact_address(job.remote_id)}."]
        return [*sentences, f"It is made and could not be fetched yet: {job.error}"] if job.error else sentences
    if job.status == JobState.RUNNING:
        return [f"It is being made on {job.endpoint.name}."]
    if job.status != JobState.QUEUED:
        return []
    if job.not_before and job.not_before > timezone.now():
        return [f"It is tried again at {job.not_before:%H:%M:%S}: {job.error}"]
    wait = waits.load_waits([job.endpoint_id])[job.endpoint_id]
    if wait.down:
        return [f"It waits: {job.endpoint.name} {wait.down}."]
    before = f"{wait.queued} jobs are queued for {job.endpoint.name}, about {wait.seconds:.0f} s."
    return [f"It waits for its turn: {before}"]
