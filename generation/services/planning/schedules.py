"""Schedules: planned runs that a periodic task releases once, in the name of the person who planned them."""

from __future__ import annotations

from datetime import datetime, timedelta

from django.db import transaction
from django.utils import timezone
from django.utils.translation import gettext as _

from core import clock
from core.errors import Conflict, DomainError, Invalid, NotAllowed, Problem
from core.models import User
from generation import events
from generation.choices import RunState
from generation.models import Run
from generation.services import runs

FARTHEST = timedelta(days=366)
LABEL = "the schedule"


@transaction.atomic
def schedule(*, run_id: int, by: User, at: datetime) -> Run:
    """Schedule the release of a planned run (aware time). Raises NotAllowed, Conflict unless planned, and Invalid."""
    return _set(run_id, by, validate_release_time(at))


@transaction.atomic
def unschedule(*, run_id: int, by: User) -> Run:
    """Remove the release time of a planned run. Raises NotAllowed, and Conflict unless planned."""
    return _set(run_id, by, None)


def validate_release_time(at: datetime) -> datetime:
    """Return the time if it is valid for a release. Raises Invalid for a naive, past or too distant time."""
    now = clock.now()
    if timezone.is_naive(at):
        message = _("Say in which time zone this time is.")
    elif at <= now:
        message = _("This time has passed; choose a later one.")
    elif at > now + FARTHEST:
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
    run = runs.lock(run_id)
    if run.state != RunState.PLANNED or run.release_at is None or run.release_at > clock.now():
        return False
    asker = run.requested_by
    try:
        if not asker.is_active:
            sentence = _("%(name)s, who planned it, has no account here any more.")
            raise NotAllowed(sentence % {"name": asker.display_name})
        with transaction.atomic():
            runs.release(run_id=run_id, by=asker, label=f"{LABEL}, for {asker.display_name}")
    except DomainError as refusal:
        message = f"It was not released on schedule: {refusal}"
        Run.objects.filter(pk=run.pk).update(release_at=None, pause_reason=message[:300])
        payload = {"message": str(refusal), "at": run.release_at.isoformat()}
        runs.publish(events.RunReleaseRefused, run, payload, None, LABEL)
        return False
    return True


def _set(run_id: int, by: User, at: datetime | None) -> Run:
    run = runs.lock_for(run_id, by)
    if run.state != RunState.PLANNED:
        message = _("%(run)s is %(state)s; only a planned run can be scheduled.")
        raise Conflict(message % {"run": run.name, "state": run.state}, state=run.state)
    was = run.release_at
    if was == at:
        return run
    run.release_at = at
    # A new time clears the message of a failed scheduled release.
    run.pause_reason = "" if at else run.pause_reason
    Run.objects.filter(pk=run.pk).update(release_at=at, pause_reason=run.pause_reason)
    payload = {"at": at and at.isoformat(), "was": was and was.isoformat()}
    runs.publish(events.RunScheduled, run, payload, by)
    return run
