"""Endpoints for work: which ones a brand may use, what their engines can do, how long jobs wait for them, and why."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from django.db.models import Count, Max, Q, QuerySet
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext

from campaigns.prompts.tokens import Encoder
from core import fetching
from core.choices import Lane
from core.models import Brand, User
from core.selectors.rows import first_or_refuse
from generation.choices import Breaker, HoldReason, JobState
from generation.engines import base as engines
from generation.models import Endpoint, Job, JobMove, Run, Worker
from generation.selectors import endpoint_limits

NOTICED_SECONDS = 5.0
SILENT_AFTER_SECONDS = 60
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
class Offer:
    """One endpoint and the capabilities of its engine, without loading a model. problem: why the endpoint cannot be
    used; then the other fields are None."""

    endpoint: Endpoint
    capabilities: engines.Capabilities | None
    encoder: Encoder | None
    problem: str = ""


@dataclass(frozen=True)
class Wait:
    """The wait at one endpoint. queued: jobs that wait for it. per_second: about how many it finishes. down: why it
    makes nothing now, "" while it works."""

    endpoint: Endpoint
    queued: int
    per_second: float
    down: str = ""

    @property
    def seconds(self) -> float:
        """Return the seconds until a job that is queued now would begin."""
        return self.queued / self.per_second

    def within(self, seconds: float) -> int:
        """Return how many jobs the endpoint finishes in this time."""
        return int(seconds * self.per_second)


def list_usable(brand: Brand) -> QuerySet[Any]:
    """Return the enabled endpoints that serve this brand, by name."""
    return Endpoint.objects.filter(Q(brand=None) | Q(brand=brand), is_enabled=True).order_by("name")


def list_offered(brand: Brand, *, chosen: str = "") -> list[Endpoint]:
    """Return the usable endpoints without those whose circuit breaker is open after failures. `chosen`, the id of an
    endpoint that was chosen before, stays in the list. Where all breakers are open, all are offered."""
    listed = list(list_usable(brand).select_related("status"))
    awake = [endpoint for endpoint in listed if not _is_resting(endpoint) or str(endpoint.pk) == chosen]
    return awake if any(not _is_resting(endpoint) for endpoint in awake) else listed


def _is_resting(endpoint: Endpoint) -> bool:
    status = getattr(endpoint, "status", None)
    return status is not None and status.breaker != Breaker.CLOSED


def list_offers(brand: Brand) -> list[Offer]:
    """Return every offered endpoint as its engine describes it; one query."""
    return [build_offer(endpoint) for endpoint in list_offered(brand)]


def build_offer(endpoint: Endpoint) -> Offer:
    try:
        engine = engines.build(endpoint.engine, endpoint.config)
        return Offer(endpoint, engine.capabilities(), engines.encoder_of(engine))
    except (ValueError, TypeError, KeyError, OSError, engines.EngineError) as error:
        problem = _("%(endpoint)s cannot be used: %(error)s") % {"endpoint": endpoint.name, "error": error}
        return Offer(endpoint, None, None, problem)


def live_workers(lane: str) -> int:
    """Return how many workers of the lane sent a heartbeat in the last minute."""
    since = timezone.now() - timedelta(seconds=SILENT_AFTER_SECONDS)
    return Worker.objects.filter(seen_at__gte=since, lanes__contains=[lane]).count()


def live_workers_by_lane(endpoints: Iterable[Endpoint]) -> dict[str, int]:
    """Return the numbers of live workers of the endpoints' lanes. One query per lane."""
    return {lane: live_workers(lane) for lane in {endpoint.lane for endpoint in endpoints}}


def load_waits(endpoint_ids: Iterable[int]) -> dict[int, Wait]:
    """Return the waits by endpoint id. Four queries for any number of endpoints, and one per local lane."""
    endpoints = Endpoint.objects.select_related("status").filter(pk__in=set(endpoint_ids))
    jobs = Job.objects.filter(endpoint__in=[endpoint.pk for endpoint in endpoints])
    queued = count_by_endpoint(jobs.filter(status=JobState.QUEUED))
    unpaid = count_by_endpoint(jobs.filter(status=JobState.HELD, hold_reason=HoldReason.QUOTA))
    alive = live_workers_by_lane(endpoints)
    waits = {}
    for endpoint in endpoints:
        down, _next_step = _down_reason(endpoint, alive, unpaid)
        waits[endpoint.pk] = Wait(
            endpoint, queued.get(endpoint.pk, 0), _per_second(endpoint, alive[endpoint.lane]), down
        )
    return waits


def list_wait_reasons(run: Run) -> list[str]:
    """Return why queued jobs of a run are not being made, a sentence for each endpoint that makes nothing now. Two
    queries and one per lane; one if nothing is queued."""
    if not (queued := count_by_endpoint(Job.objects.filter(run=run, status=JobState.QUEUED))):
        return []
    endpoints = list(Endpoint.objects.select_related("status").filter(pk__in=queued).order_by("name"))
    alive = live_workers_by_lane(endpoints)
    sentences = []
    for endpoint in endpoints:
        reason, next_step = _down_reason(endpoint, alive, {})  # what waits for an empty account is held, not queued
        if reason := reason or _pause_reason(endpoint):
            sentence = ngettext(
                "%(n)d image waits for %(endpoint)s, which %(reason)s.",
                "%(n)d images wait for %(endpoint)s, which %(reason)s.",
                queued[endpoint.pk],
            )
            words = {"n": queued[endpoint.pk], "endpoint": endpoint.name, "reason": reason}
            sentences.append(f"{sentence % words} {next_step}".strip())
    return sentences


def count_by_endpoint(rows: QuerySet[Any]) -> dict[int, int]:
    """Return the numbers of jobs or attempts by endpoint id. One query."""
    return dict(rows.values_list("endpoint_id").annotate(Count("pk")).order_by())


def _per_second(endpoint: Endpoint, workers: int) -> float:
    seconds = max(endpoint.seconds_per_image, 0.001)
    if endpoint.lane != Lane.CLOUD:
        return max(workers, 1) / seconds
    rates = [
        endpoint_limits.concurrency_limit(endpoint, getattr(endpoint, "status", None)) / seconds,
        endpoint_limits.per_second(endpoint),
        (endpoint_limits.per_minute(endpoint) or 0) / 60,
    ]
    return max(min(filter(None, rates)), 1e-6)


def _down_reason(endpoint: Endpoint, alive: dict[str, int], unpaid: dict[int, int]) -> tuple[str, str]:
    """Return (why the endpoint makes nothing now, what will happen or has to be done); empty texts while it works."""
    status = getattr(endpoint, "status", None)
    now = timezone.now()
    if not endpoint.is_enabled:
        return _("is switched off"), _("Somebody has to switch it on.")
    if not alive[endpoint.lane]:
        return _("has no worker on its lane %(lane)s") % {"lane": endpoint.lane}, _("The operator has to start one.")
    if unpaid.get(endpoint.pk):
        return _("has an empty account, or its credentials were refused"), _("The operator has to see to it.")
    if status is not None and status.breaker != Breaker.CLOSED:
        if status.open_until is not None and status.open_until > now:
            reason = _("rests after %(n)d failures in a row") % {"n": status.failures}
            return reason, _("It is asked every few seconds and goes on by itself when it answers.")
        return _("is only just tried again"), _("It goes on by itself when that works.")
    return "", ""


def _pause_reason(endpoint: Endpoint) -> str:
    """Return that the service asked to slow down, if for longer than NOTICED_SECONDS; "" otherwise."""
    resume_at = getattr(getattr(endpoint, "status", None), "resume_at", None)
    if resume_at is None or (resume_at - timezone.now()).total_seconds() < NOTICED_SECONDS:
        return ""
    return _("asked to slow down until %(time)s") % {"time": f"{timezone.localtime(resume_at):%H:%M:%S}"}


def list_moves(run: Run) -> list[dict[str, Any]]:
    """Return the moves of the run's jobs to other endpoints ("to") with the number of "jobs" and the "sentence" of the
    latest move, the latest first. Two queries, one without moves."""
    rows = JobMove.objects.filter(job__run=run).values("reason", "to_endpoint__name")
    grouped = list(rows.annotate(jobs=Count("job", distinct=True), last=Max("pk")).order_by("-last"))
    sentences = dict(JobMove.objects.filter(pk__in=[row["last"] for row in grouped]).values_list("pk", "sentence"))
    return [
        {"jobs": row["jobs"], "to": row["to_endpoint__name"], "sentence": sentences[row["last"]]} for row in grouped
    ]


def explain_job(*, job_id: int, user: User) -> list[str]:
    """Return sentences about the job's endpoint, its moves and its present wait. Raises NotFound."""
    rows = Job.objects.visible_to(user).select_related("run__endpoint", "endpoint").filter(pk=job_id)
    job = first_or_refuse(rows, _("There is no job %(id)s.") % {"id": job_id})
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
    wait = load_waits([job.endpoint_id])[job.endpoint_id]
    if wait.down:
        return [_("It waits: %(endpoint)s %(reason)s.") % {**names, "reason": wait.down}]
    sentence = _("It waits for its turn: %(n)d jobs are queued for %(endpoint)s, about %(seconds).0f s.")
    return [sentence % {**names, "n": wait.queued, "seconds": wait.seconds}]
