"""Choose the endpoint of queued jobs: the endpoint that they were planned for, or one of its run's alternates.

Jobs move from an endpoint that is down or lacks the memory for them, that would keep them longer than the campaign's
patience, or that is slower than another one that costs no more. Each move has a reason (selectors/endpoints.py)
and a new reservation. Only waiting jobs move, so nothing is made twice.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Any

from django.db import transaction
from django.db.models import Exists, OuterRef, Q
from django.utils.translation import gettext as _

from campaigns.models import Campaign
from core.errors import Conflict, Invalid, NotFound, Problem
from core.models import User
from generation import events
from generation.choices import HoldReason, JobState, MoveReason, RunState
from generation.engines.base import Engine, ErrorKind, Spec
from generation.models import Endpoint, Job, JobMove, JobSpec, Run
from generation.selectors import endpoints
from generation.services import budget, runs
from generation.services.dispatch import claims
from generation.services.planning import estimates, fingerprints, plan_requests

MOVED_AT_ONCE = 500
WORTH_MOVING_SECONDS = 10.0
"""Another endpoint of the same price gets jobs only if it would finish them so much sooner."""
_MOVED_COLUMNS = ["endpoint", "lane", "batch_key", "not_before", "status", "hold_reason", "error_kind", "error"]
#: Jobs that wait for an endpoint: in its queue, or because its account is empty.
_WAITING = Q(status=JobState.QUEUED) | Q(status=JobState.HELD, hold_reason=HoldReason.QUOTA)
_DID_NOT_FIT = Q(status=JobState.QUEUED, error_kind=ErrorKind.MEMORY)


@dataclass(frozen=True)
class EndpointState:
    """An endpoint with its engine and maker of now."""

    endpoint: Endpoint
    engine: Engine
    maker: fingerprints.Maker

    @classmethod
    def read(cls, endpoint: Endpoint) -> EndpointState:
        """Return the state of now. It may read files, so call it before rows are locked. Raises Invalid."""
        engine = plan_requests.open_engine(endpoint)
        return cls(endpoint, engine, plan_requests.maker_of(endpoint, engine))

    def fingerprint(self, frozen: JobSpec, spec: Spec) -> str:
        return fingerprints.fingerprint_spec(
            brand_id=frozen.brand_id, maker=self.maker, engine=self.engine, spec=spec.to_json()
        )

    def set_spec(self, job: Job, frozen: JobSpec, spec: Spec, fingerprint: str) -> None:
        """Set the spec, with all that follows from it, in a job and its frozen spec, without saving them."""
        frozen.spec, frozen.fingerprint, frozen.maker = spec.to_json(), fingerprint, self.maker.to_json()
        frozen.quoted_cost, _seconds = estimates.quote(self.endpoint, self.engine.quote(spec))
        job.batch_key, job.lane = fingerprints.short_key(self.engine.batch_key(spec)), self.endpoint.lane


def _adapt_spec(plain: dict[str, Any], engine: Engine) -> tuple[Spec, list[str]]:
    """Return the spec for another engine: same prompt, seed and images, parameters that it obeys, a size it makes.
    Also return why that engine cannot make it."""
    capabilities, spec = engine.capabilities(), Spec.from_json(plain)
    width, height = plan_requests.master_size(spec.width, spec.height, capabilities)
    supported = capabilities.needs_images | capabilities.optional_images
    adapted = replace(
        spec,
        negative=spec.negative if "negative" in capabilities.obeys else "",
        width=width,
        height=height,
        parameters={name: value for name, value in spec.parameters.items() if name in capabilities.obeys},
        images={role: ref for role, ref in spec.images.items() if role in supported},
    )
    return adapted, image_problems(spec, engine) or list(engine.validate(adapted))


def image_problems(spec: Spec, engine: Engine) -> list[str]:
    """Return the problems of the engine with the images of a spec."""
    capabilities = engine.capabilities()
    lost = sorted(set(spec.images) - capabilities.needs_images - capabilities.optional_images)
    lacking = sorted(capabilities.needs_images - set(spec.images))
    return [f"It takes no image “{role}”." for role in lost] + [f"It needs an image “{role}”." for role in lacking]


@transaction.atomic
def set_alternates(*, run_id: int, endpoints: Sequence[Endpoint], by: User) -> Run:
    """Set the endpoints to which a run's jobs may move. Raises NotAllowed, NotFound, Conflict and Invalid."""
    run = runs.lock_for(run_id, by)
    runs.require_unfinished(run)
    for endpoint in endpoints:
        if endpoint.brand_id not in (None, run.campaign.brand_id):
            raise NotFound(_("There is no endpoint %(slug)s.") % {"slug": endpoint.slug})
    chosen = [endpoint for endpoint in endpoints if endpoint.pk != run.endpoint_id]
    frozen = JobSpec.objects.filter(job__run=run).first()
    problems = [
        Problem("alternates", f"{endpoint.name}: {problem}", endpoint.slug)
        for endpoint in chosen
        if frozen is not None
        for problem in _adapt_spec(frozen.spec, plan_requests.open_engine(endpoint))[1]
    ]
    if problems:
        raise Invalid(_("Not every one of these can make the images of this run."), problems)
    run.alternates.set(chosen)
    runs.publish(events.RunAlternatesSet, run, {"alternates": [endpoint.slug for endpoint in chosen]}, by)
    return run


def route_all() -> int:
    """Move waiting jobs of every running run with alternates to better endpoints; returns how many jobs."""
    at_work = Run.objects.filter(state=RunState.RUNNING, alternates__isnull=False)
    with_work = at_work.filter(Exists(Job.objects.filter(_WAITING, run=OuterRef("pk")))).distinct().order_by("pk")
    return sum(_route(run) for run in with_work.select_related("campaign").prefetch_related("alternates"))


def _route(run: Run) -> int:
    allowed_ids = {run.endpoint_id, *(endpoint.pk for endpoint in run.alternates.all())}
    moved = 0
    waiting_jobs = Job.objects.filter(_WAITING, run=run).order_by("endpoint_id")
    for endpoint_id in list(waiting_jobs.values_list("endpoint_id", flat=True).distinct()):
        waits_by_id = endpoints.load_waits(allowed_ids | {endpoint_id})
        here = waits_by_id[endpoint_id]
        alternates = sorted(
            (wait for pk, wait in waits_by_id.items() if pk != endpoint_id and pk in allowed_ids and not wait.down),
            key=lambda wait: (_price(wait.endpoint), wait.seconds),
        )
        for there in alternates:
            if Job.objects.filter(_DID_NOT_FIT, run=run, endpoint=here.endpoint).exists():
                sentence = f"{here.endpoint.name} had not enough memory for it; {there.endpoint.name} may have."
                moved += _move(run, here.endpoint, there.endpoint, MOVED_AT_ONCE, MoveReason.MEMORY, sentence)
            if (move := _decide_move(run.campaign, here, there)) is None:
                continue
            count, reason, sentence = move
            if done := _move(run, here.endpoint, there.endpoint, min(count, MOVED_AT_ONCE), reason, sentence):
                moved += done
                break  # the next call counts again
    return moved


def _decide_move(campaign: Campaign, here: endpoints.Wait, there: endpoints.Wait) -> tuple[int, MoveReason, str] | None:
    """Return (how many jobs should move from here to there, the reason, a sentence); None for none."""
    names = f"{here.endpoint.name} {here.down}" if here.down else here.endpoint.name
    if here.down:
        return MOVED_AT_ONCE, MoveReason.DOWN, f"{names}; {there.endpoint.name} works."
    gain = here.seconds - there.seconds
    if _price(there.endpoint) <= _price(here.endpoint):
        if gain < WORTH_MOVING_SECONDS:
            return None
        even = int(gain / (1 / here.per_second + 1 / there.per_second))
        sentence = f"{names} has {_span(here.seconds)} of work before it, {there.endpoint.name} {_span(there.seconds)}."
        return (even, MoveReason.OVERFLOW, sentence) if even else None
    patience = campaign.patience_seconds
    surplus = min(here.queued - here.within(patience), there.within(patience) - there.queued)
    if here.seconds <= patience or surplus <= 0:
        return None
    sentence = (
        f"{names} has {_span(here.seconds)} of work before it, more than the {_span(patience)} that the campaign "
        f"allows; {there.endpoint.name} is done in time."
    )
    return surplus, MoveReason.OVERFLOW, sentence


def _price(endpoint: Endpoint) -> Decimal:
    return estimates.estimate_price(endpoint, width=1024, height=1024).money


def _span(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min"


def _move(run: Run, here: Endpoint, there: Endpoint, count: int, reason: MoveReason, sentence: str) -> int:
    """Move up to `count` waiting jobs, the last ones first; returns how many, 0 if the budget does not suffice."""
    try:
        place = EndpointState.read(there)
        with transaction.atomic():
            return _move_jobs(run.pk, here, place, count, reason, sentence)
    except (Conflict, Invalid):
        return 0


def _move_jobs(run_id: int, here: Endpoint, place: EndpointState, count: int, reason: MoveReason, sentence: str) -> int:
    run, there = runs.lock(run_id), place.endpoint
    # A job that was moved once because of a queue stays; otherwise two busy endpoints would move it to and fro.
    unlocked = Job.objects.select_for_update(skip_locked=True, of=("self",))
    jobs_to_move = unlocked.filter(_WAITING, run=run, endpoint=here)
    if reason == MoveReason.OVERFLOW:
        jobs_to_move = jobs_to_move.filter(status=JobState.QUEUED).exclude(moves__reason=MoveReason.OVERFLOW)
    elif reason == MoveReason.MEMORY:
        jobs_to_move = jobs_to_move.filter(_DID_NOT_FIT)
        jobs_to_move = jobs_to_move.exclude(moves__to_endpoint=there).exclude(moves__from_endpoint=there)
    jobs = list(jobs_to_move.order_by("priority", "-id")[:count])
    frozen = JobSpec.objects.in_bulk([job.pk for job in jobs])
    moved = [job for job in jobs if _refreeze(job, frozen[job.pk], place)]
    if not moved:
        return 0
    Job.objects.bulk_update(moved, _MOVED_COLUMNS)
    JobSpec.objects.bulk_update([frozen[job.pk] for job in moved], ["spec", "fingerprint", "maker", "quoted_cost"])
    JobMove.objects.bulk_create(
        JobMove(job=job, from_endpoint=here, to_endpoint=there, reason=reason, sentence=sentence[:300]) for job in moved
    )
    reserved = budget.reserve_for_run(run)
    claims.activate(lane=there.lane, campaign_id=run.campaign_id)
    payload = {"jobs": len(moved), "from": here.slug, "to": there.slug, "reason": str(reason), "sentence": sentence}
    runs.publish(events.RunRerouted, run, {**payload, "reserved": str(reserved)}, None)
    return len(moved)


def _refreeze(job: Job, frozen: JobSpec, there: EndpointState) -> bool:
    """Change the job and its spec for the other endpoint; False if its engine cannot make this image."""
    spec, problems = _adapt_spec(frozen.spec, there.engine)
    if problems:
        return False
    there.set_spec(job, frozen, spec, there.fingerprint(frozen, spec))
    job.endpoint, job.not_before = there.endpoint, None
    job.status, job.hold_reason, job.error_kind, job.error = JobState.QUEUED, "", "", ""
    return True
