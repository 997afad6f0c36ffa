"""Explain in sentences why a job moved between endpoints and what it waits for."""

from __future__ import annotations

from dataclasses import dataclass

from django.db.models import Count, Max
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from core import fetching
from core.errors import NotFound
from core.models import User
from generation.choices import HoldReason, JobState
from generation.models import Job, JobMove, Run
from generation.selectors import waits

_HELD = {
    HoldReason.NOT_RELEASED: gettext_lazy("It waits for its run to be released."),
    HoldReason.PAUSED: gettext_lazy("It waits because its run is paused."),
    HoldReason.QUOTA: gettext_lazy("It waits because the endpoint's account is empty or its credentials were refused."),
    HoldReason.CHANGED: gettext_lazy("Its engine was changed after it was planned; somebody has to plan it anew."),
    HoldReason.UNCERTAIN: gettext_lazy(
        "It was sent and its answer was lost; a person has to look whether it was paid for."
    ),
}


@dataclass(frozen=True)
class JobMoves:
    """Jobs of a run that moved from one endpoint to another for one reason. sentence: the one of the latest move."""

    jobs: int
    to: str
    sentence: str


def list_moves(run: Run) -> list[JobMoves]:
    """Return the moves of the run's jobs to other endpoints, the latest first. Two queries, one without moves."""
    rows = JobMove.objects.filter(job__run=run).values("reason", "to_endpoint__name")
    grouped = list(rows.annotate(jobs=Count("job", distinct=True), last=Max("pk")).order_by("-last"))
    sentences = dict(JobMove.objects.filter(pk__in=[row["last"] for row in grouped]).values_list("pk", "sentence"))
    return [JobMoves(row["jobs"], row["to_endpoint__name"], sentences[row["last"]]) for row in grouped]


def explain(*, job_id: int, user: User) -> list[str]:
    """Return sentences about the job's endpoint, its moves and its present wait. Raises NotFound."""
    job = Job.objects.visible_to(user).select_related("run__endpoint", "endpoint").filter(pk=job_id).first()
    if job is None:
        raise NotFound(_("There is no job %(id)s.") % {"id": job_id})
    planned = _("Planned for %(endpoint)s.") % {"endpoint": job.run.endpoint.name}
    others = ", ".join(endpoint.name for endpoint in job.run.alternates.all())
    allowed = _("It may also go to %(endpoints)s.") if others else _("Its run names no other endpoint.")
    sentences = [f"{planned} {allowed % {'endpoints': others}}"]
    for move in job.moves.select_related("from_endpoint", "to_endpoint"):
        sentences.append(f"{move.at:%H:%M:%S} {move.from_endpoint.name} → {move.to_endpoint.name}: {move.sentence}")
    return [*sentences, *_now(job)]


def _now(job: Job) -> list[str]:
    if job.status == JobState.HELD:
        return [str(_HELD[HoldReason(job.hold_reason)])]
    names = {"endpoint": job.endpoint.name, "id": fetching.redact_address(job.remote_id), "error": job.error}
    if job.status == JobState.WAITING:
        if not job.remote_id:
            return [_("%(endpoint)s has it, as far as is known.") % names]
        sentences = [_("%(endpoint)s has it as %(id)s.") % names]
        return [*sentences, _("It is made and could not be fetched yet: %(error)s") % names] if job.error else sentences
    if job.status == JobState.RUNNING:
        return [_("It is being made on %(endpoint)s.") % names]
    if job.status != JobState.QUEUED:
        return []
    if job.not_before and job.not_before > timezone.now():
        return [_("It is tried again at %(time)s: %(error)s") % {**names, "time": f"{job.not_before:%H:%M:%S}"}]
    wait = waits.load_waits([job.endpoint_id])[job.endpoint_id]
    if wait.down:
        return [_("It waits: %(endpoint)s %(reason)s.") % {**names, "reason": wait.down}]
    sentence = _("It waits for its turn: %(n)d jobs are queued for %(endpoint)s, about %(seconds).0f s.")
    return [sentence % {**names, "n": wait.queued, "seconds": wait.seconds}]
