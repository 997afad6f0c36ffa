"""Explanations of a job's way between endpoints, in sentences for a person."""

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
    HoldReason.IN_DOUBT: "It was sent and its answer was lost; a person has to look whether it was paid for.",
}


@dataclass(frozen=True)
class Moved:
    """Jobs of a run that went from one endpoint to another for one reason. sentence: of the latest."""

    jobs: int
    to: str
    sentence: str


def moves(run: Run) -> list[Moved]:
    """Return where jobs of the run went that were planned for its endpoint, the latest first. One query."""
    rows = (
        JobMove.objects.filter(job__run=run)
        .values("reason", "to_endpoint__name")
        .annotate(jobs=Count("job", distinct=True), last=Max("pk"))
        .order_by("-last")
    )
    found = list(rows)
    sentences = dict(JobMove.objects.filter(pk__in=[row["last"] for row in found]).values_list("pk", "sentence"))
    return [Moved(row["jobs"], row["to_endpoint__name"], sentences[row["last"]]) for row in found]


def explain(*, job_id: int, user: User) -> list[str]:
    """Return where the job was planned for, each move with its reason, and what it waits for now. Raises NotFound."""
    found = Job.objects.visible_to(user).select_related("run__endpoint", "endpoint").filter(pk=job_id).first()
    if found is None:
        raise NotFound(f"There is no job {job_id}.")
    run = found.run
    others = ", ".join(one.name for one in run.alternates.all())
    allowed = f" It may also go to {others}." if others else " Its run names no other endpoint."
    told = [f"Planned for {run.endpoint.name}.{allowed}"]
    for move in found.moves.select_related("from_endpoint", "to_endpoint"):
        told.append(f"{move.at:%H:%M:%S} {move.from_endpoint.name} → {move.to_endpoint.name}: {move.sentence}")
    return [*told, *_now(found)]


def _now(job: Job) -> list[str]:
    if job.status == JobState.HELD:
        return [_HELD.get(HoldReason(job.hold_reason), "It is held.")]
    if job.status == JobState.WAITING:
        if not job.remote_id:
            return [f"{job.endpoint.name} has it, as far as is known."]
        told = [f"{job.endpoint.name} has it as {fetching.shown(job.remote_id)}."]
        return [*told, f"It is made and could not be fetched yet: {job.error}"] if job.error else told
    if job.status == JobState.RUNNING:
        return [f"It is being made on {job.endpoint.name}."]
    if job.status != JobState.QUEUED:
        return []
    if job.not_before and job.not_before > timezone.now():
        return [f"It is tried again at {job.not_before:%H:%M:%S}: {job.error}"]
    wait = waits.waits([job.endpoint_id])[job.endpoint_id]
    if wait.down:
        return [f"It waits: {job.endpoint.name} {wait.down}."]
    before = f"{wait.queued} jobs are queued for {job.endpoint.name}, about {wait.seconds:.0f} s."
    return [f"It waits for its turn: {before}"]
