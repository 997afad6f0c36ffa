"""Release, schedule, pause, resume, cancel and finish runs. retries.py retries failed images.

Each function locks the row of the campaign first and that of the run second, so that money and gates are checked for
one release at a time.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

from django.db import transaction
from django.db.models import Count, Exists, Q
from django.utils import timezone
from django.utils.translation import gettext as _

from campaigns.services import campaigns
from core import clock, sql
from core import events as core_events
from core.access import Action, require
from core.errors import Conflict, DomainError, Invalid, NotAllowed, NotFound, Problem
from core.models import User
from generation import events
from generation.choices import AssetState, HoldReason, JobState, RunState, Stage
from generation.models import Asset, Cell, Job, JobSpec, Run
from generation.selectors import budgets, gates
from generation.services import budget
from generation.services.dispatch import claims
from generation.services.images import assets
from generation.states import RUN

REJECTED_BEFORE = "rejected_before"
LATEST_RELEASE = timedelta(days=366)
SCHEDULE = "the schedule"


@transaction.atomic
def release(*, run_id: int, by: User, override_reason: str = "", reuse_rejected: bool = False, label: str = "") -> Run:
    """Queue a planned run's jobs and reserve their cost.

    A full run needs the campaign's pilot and an approved prompt version; a lead may override with a reason. Jobs whose
    master the brand already has cost nothing: a worker makes a new version of it. If that master was rejected, the job
    is cancelled with a reason, unless `reuse_rejected`. `label` names the process that releases on the person's behalf.
    Raises NotAllowed, Conflict (state, gate, budget) and Invalid.
    """
    run = lock_for(run_id, by)
    require_state(run, _("%(run)s is %(state)s; only a planned run can be released."), RunState.PLANNED)
    gate = _pass_gate(run, by, override_reason)
    left_out = 0 if reuse_rejected else _leave_out_rejected(run)
    claims.activate(lane=run.endpoint.lane, campaign_id=run.campaign_id)
    unreleased = _jobs(run, JobState.HELD, hold_reason=HoldReason.NOT_RELEASED)
    queued = unreleased.update(status=JobState.QUEUED, hold_reason="")
    reserved = budget.reserve_for_run(run)
    queued_specs = JobSpec.objects.filter(job__run=run, job__status=JobState.QUEUED)
    reused = queued_specs.filter(Exists(budgets.masters_of_spec())).count()
    now, reason = clock.now(), override_reason.strip()
    fields = {"reused_count": reused, "override_reason": reason, "pause_reason": ""}
    move(run, RunState.RUNNING, released_at=now, watched_from=now, **fields)
    if left_out:
        _settle_fruitless(run)
    payload: dict[str, Any] = {"queued": queued, "reused": reused, "left_out": left_out, "reserved": str(reserved)}
    if reason:
        payload |= {"override_reason": reason, "pilot": gate.message}
    publish(events.RunReleased, run, payload, by, label)
    _finish_if_done(run)
    return run


@transaction.atomic
def schedule(*, run_id: int, by: User, at: datetime | None) -> Run:
    """Schedule the release of a planned run (aware time), in the person's name; None removes the time.

    Raises NotAllowed, Conflict unless planned, and Invalid as `validate_release_time`.
    """
    at = at and validate_release_time(at)
    run = lock_for(run_id, by)
    require_state(run, _("%(run)s is %(state)s; only a planned run can be scheduled."), RunState.PLANNED)
    was = run.release_at
    if was == at:
        return run
    run.release_at = at
    # A new time clears the message of a failed scheduled release.
    run.pause_reason = "" if at else run.pause_reason
    run.save(update_fields=["release_at", "pause_reason"])
    publish(events.RunScheduled, run, {"at": at and at.isoformat(), "was": was and was.isoformat()}, by)
    return run


def validate_release_time(at: datetime) -> datetime:
    """Return the time if it is valid for a release. Raises Invalid for a naive, past or too distant time."""
    now = clock.now()
    if timezone.is_naive(at):
        message = _("Say in which time zone this time is.")
    elif at <= now:
        message = _("This time has passed; choose a later one.")
    elif at > now + LATEST_RELEASE:
        message = _("Choose a time within a year.")
    else:
        return at
    raise Invalid(_("The run cannot be scheduled like this."), [Problem("release_at", message, at.isoformat())])


def release_due() -> int:
    """Release every planned run whose time has come, as a periodic task; returns how many were released."""
    due = Run.objects.filter(state=RunState.PLANNED, release_at__lte=clock.now()).order_by("release_at", "pk")
    return sum(release_if_due(run_id) for run_id in list(due.values_list("pk", flat=True)))


@transaction.atomic
def release_if_due(run_id: int) -> bool:
    """Release one run if its time has come; True if this call did. A refused run stays planned and loses its time."""
    run = lock(run_id)
    if run.state != RunState.PLANNED or run.release_at is None or run.release_at > clock.now():
        return False
    person = run.requested_by
    try:
        if not person.is_active:
            sentence = _("%(name)s, who planned it, has no account here any more.")
            raise NotAllowed(sentence % {"name": person.display_name})
        with transaction.atomic():
            release(run_id=run_id, by=person, label=f"{SCHEDULE}, for {person.display_name}")
    except DomainError as refusal:
        message = f"It was not released on schedule: {refusal}"
        Run.objects.filter(pk=run.pk).update(release_at=None, pause_reason=message[:300])
        payload = {"message": str(refusal), "at": run.release_at.isoformat()}
        publish(events.RunReleaseRefused, run, payload, None, SCHEDULE)
        return False
    return True


@transaction.atomic
def pause(*, run_id: int, by: User) -> Run:
    """Pause a run: queued jobs are held, running jobs are finished. Raises Conflict unless running."""
    return _pause(lock_for(run_id, by), f"Paused by {by.display_name}.", by)


@transaction.atomic
def resume(*, run_id: int, by: User) -> Run:
    """Resume a paused run; only outputs from now on count for its health. Raises Conflict unless paused."""
    run = lock_for(run_id, by)
    require_state(run, _("%(run)s is %(state)s; only a paused run can be resumed."), RunState.PAUSED)
    claims.activate(lane=run.endpoint.lane, campaign_id=run.campaign_id)
    queued = _jobs(run, JobState.HELD, hold_reason=HoldReason.PAUSED).update(status=JobState.QUEUED, hold_reason="")
    move(run, RunState.RUNNING, pause_reason="", watched_from=clock.now())
    publish(events.RunResumed, run, {"queued": queued}, by)
    _finish_if_done(run)
    return run


@transaction.atomic
def cancel(*, run_id: int, by: User) -> Run:
    """Cancel the waiting jobs of a run, ask running ones to stop, and free its money. Existing images stay."""
    run = lock_for(run_id, by)
    RUN.ensure(run.state, RunState.CANCELLED)
    waiting = _jobs(run, JobState.QUEUED, JobState.HELD, JobState.QUARANTINED)
    cancelled = waiting.update(status=JobState.CANCELLED, hold_reason="")
    stopping = _jobs(run, JobState.RUNNING).update(is_cancel_requested=True)
    # A service has these jobs: the lane cancels them there before it ends them.
    stopping += _jobs(run, JobState.WAITING).update(is_cancel_requested=True, poll_at=timezone.now())
    superseded = _settle_fruitless(run)
    # Assets that have only some of their candidates go to review; these are the few that were being made.
    unmade = Asset.objects.filter(cell__run=run, state__in=(AssetState.MAKING, AssetState.REVISING))
    for asset_id in list(unmade.values_list("pk", flat=True)):
        assets.settle_round(assets.lock(asset_id), label=by.display_name)
    move(run, RunState.CANCELLED, finished_at=clock.now())
    freed = budget.release_unneeded(run)
    payload = {"cancelled": cancelled, "asked_to_stop": stopping, "superseded": superseded, "freed": str(freed)}
    publish(events.RunCancelled, run, payload, by)
    return run


@transaction.atomic
def set_priority(*, run_id: int, by: User, priority: int) -> Run:
    """Set the priority of a run within its campaign, -100 … 100 (higher goes first). Raises Invalid and Conflict."""
    run = lock_for(run_id, by)
    if not -100 <= priority <= 100:
        problem = Problem("priority", _("Give -100 to 100."), str(priority))
        raise Invalid(_("This priority cannot be set."), [problem])
    require_unfinished(run)
    if run.priority == priority:
        return run
    payload = {"from": run.priority, "to": priority}
    _jobs(run, JobState.QUEUED, JobState.HELD).update(priority=priority)
    run.priority = priority
    run.save(update_fields=["priority"])
    publish(events.RunPrioritised, run, payload, by)
    return run


def finish_if_done(run_id: int) -> bool:
    """Finish a running run that has no open job; True if this call did.

    Call it after the transaction that ended a job has committed: of two workers that end the last two jobs at once,
    neither sees the other's job ended before its commit. `finish_done` finishes runs that were missed.
    """
    if _has_work(run_id) or not Run.objects.filter(pk=run_id, state=RunState.RUNNING).exists():
        return False
    with transaction.atomic():
        return _finish_if_done(lock(run_id))


def finish_done() -> int:
    """Call `finish_if_done` for every running run, as a periodic task; returns how many finished."""
    running = Run.objects.filter(state=RunState.RUNNING).values_list("pk", flat=True)
    return sum(finish_if_done(run_id) for run_id in list(running))


def pause_if_unhealthy(run_id: int) -> bool:
    """Pause a running run if more than 30 % of its last 20 outputs failed checks or were rejected; True if it did.

    Call it after an output that failed its checks and after a rejection (only these can make a run unhealthy), once
    their transaction has committed: it locks the campaign, which must not be done while holding the lock of an asset.
    """
    return _pause_running(run_id, lambda run: gates.health(run).problem)


def pause_for_storage(run_id: int, reason: str) -> bool:
    """Pause a running run whose images cannot be stored; True if this call did.

    A sandbox run is never paused: the person who started it gets the error at once instead.
    """
    sentence = f"{reason} Then resume the run: nothing that was made is lost."
    return _pause_running(run_id, lambda run: "" if run.stage == Stage.SANDBOX else sentence)


def _pause_running(run_id: int, find_reason: Callable[[Run], str]) -> bool:
    """Pause a running run for which there is a reason, before and after it is locked; True if this call did."""
    run = Run.objects.filter(pk=run_id, state=RunState.RUNNING).first()
    if run is None or not find_reason(run):
        return False
    with transaction.atomic():
        run = lock(run_id)
        reason = find_reason(run) if run.state == RunState.RUNNING else ""
        if reason:
            _pause(run, reason, None)
        return bool(reason)


def lock(run_id: int) -> Run:
    """Return the run with its campaign, both rows locked until the transaction ends. Raises NotFound."""
    campaign_id = Run.objects.filter(pk=run_id).values_list("campaign_id", flat=True).first()
    if campaign_id is None:
        raise NotFound(_("There is no run %(id)s.") % {"id": run_id})
    campaign = campaigns.lock(campaign_id)
    run = Run.objects.select_for_update(of=("self",)).select_related("endpoint", "prompt_version").get(pk=run_id)
    run.campaign = campaign
    return run


def lock_for(run_id: int, by: User) -> Run:
    """Return the run as `lock` does, if the person may change its state. Raises NotFound and NotAllowed."""
    run = lock(run_id)
    require_run(by, run)
    return run


def require_run(by: User, run: Run) -> None:
    """Raise NotAllowed unless the person may change the state of this run."""
    require(by, Action.RUN_SANDBOX if run.stage == Stage.SANDBOX else Action.RUN, run.campaign.brand)


def require_unfinished(run: Run) -> None:
    """Raise Conflict for a finished or cancelled run."""
    open_states = set(RunState) - {RunState.FINISHED, RunState.CANCELLED}
    require_state(run, _("%(run)s is %(state)s; nothing of it waits."), *open_states)


def require_state(run: Run, message: str, *states: str) -> None:
    """Raise Conflict with the message, which names %(run)s and %(state)s, unless the run is in one of the states."""
    if run.state not in states:
        raise Conflict(message % {"run": run.name, "state": run.state}, state=run.state)


def _pass_gate(run: Run, by: User, override_reason: str) -> gates.FullRun:
    """Return the gate of a full run if it is open, or if a lead overrides it with a reason. Raises Conflict."""
    gate = gates.full_run(run.campaign, run.prompt_version)
    if run.stage != Stage.FULL or gate.is_open:
        return gate
    if not override_reason.strip():
        pilot = gate.pilot
        raise Conflict(
            _("A full run is locked. %(reason)s A lead may release it with a reason.") % {"reason": gate.message},
            gate="pilot" if gate.is_approved else "approval",
            decided=pilot.decided,
            approved=pilot.approved,
            decisions_needed=pilot.decisions_needed,
            percent_needed=pilot.percent_needed,
        )
    require(by, Action.OVERRIDE_GATE, run.campaign.brand)
    return gate


def move(run: Run, to: str, **fields: Any) -> None:
    """Compare-and-set the run's state, with other columns. Raises Conflict."""
    old = run.state
    RUN.ensure(old, to)
    if not Run.objects.filter(pk=run.pk, state=old).update(state=to, **fields):
        message = _("%(run)s is no longer %(state)s.")
        raise Conflict(message % {"run": run.name, "state": old}, state=old, wanted=to)
    for name, value in {"state": to, **fields}.items():
        setattr(run, name, value)


def _pause(run: Run, reason: str, by: User | None) -> Run:
    move(run, RunState.PAUSED, pause_reason=reason[:300])
    held = _jobs(run, JobState.QUEUED).update(status=JobState.HELD, hold_reason=HoldReason.PAUSED)
    publish(events.RunPaused, run, {"reason": reason, "held": held, "by_itself": by is None}, by)
    return run


def _leave_out_rejected(run: Run) -> int:
    """Cancel the unreleased jobs whose very image the brand has made before and rejected. Returns how many."""
    specs = JobSpec.objects.filter(Exists(budgets.masters_of_spec().filter(was_rejected=True)), job__run=run)
    unreleased = _jobs(run, JobState.HELD, hold_reason=HoldReason.NOT_RELEASED).filter(pk__in=specs.values("pk"))
    return int(
        unreleased.update(
            status=JobState.CANCELLED,
            hold_reason="",
            error_kind=REJECTED_BEFORE,
            error="This very image was made before and rejected; change the prompt, its values or the seed.",
        )
    )


def _jobs(run: Run, *states: str, **where: Any) -> Any:
    return Job.objects.filter(run=run, status__in=states, **where)


def _has_work(run_id: int) -> bool:
    statement = "SELECT 1 FROM generation_job WHERE run_id = %s AND status = ANY(%s) LIMIT 1"
    return bool(sql.rows(statement, [run_id, [state.value for state in assets.UNDECIDED]]))


def _finish_if_done(run: Run) -> bool:
    if run.state != RunState.RUNNING or _has_work(run.pk):
        return False
    move(run, RunState.FINISHED, finished_at=clock.now())
    budget.release_unneeded(run)
    ends = Job.objects.filter(run=run).aggregate(
        succeeded=Count("pk", filter=Q(status=JobState.SUCCEEDED)),
        failed=Count("pk", filter=Q(status__in=(JobState.FAILED, JobState.QUARANTINED))),
        cancelled=Count("pk", filter=Q(status=JobState.CANCELLED)),
    )
    publish(events.RunFinished, run, ends, None)
    return True


def _settle_fruitless(run: Run) -> int:
    """Move assets that will get no image: from making to superseded, in a later round to failed. Returns how many."""
    cells = Cell.objects.filter(run=run)  # in a subquery: a join would compare `state` outside the UPDATE
    fruitless = Asset.objects.filter(~assets.HAS_IMAGE, ~assets.HAS_OPEN_JOB, cell__in=cells)
    moves = ((AssetState.MAKING, AssetState.SUPERSEDED), (AssetState.REVISING, AssetState.FAILED))
    return sum(fruitless.filter(state=old).update(state=new, changed_at=clock.now()) for old, new in moves)


def publish(
    kind: type[core_events.DomainEvent], run: Run, payload: dict[str, Any], by: User | None, label: str = ""
) -> None:
    """Publish an event about a run. A `label` is used instead of the person; without both it is "system"."""
    label = label or ("" if by else "system")
    event = kind(brand_id=run.campaign.brand_id, object_id=run.pk, payload=payload)
    core_events.publish(event, by=None if label else by, label=label)
