"""Uncertain submissions: sent and never answered, at a service that cannot look them up.

If the endpoint's policy says so, they are resubmitted automatically, once their money is reserved again. Otherwise a
person resubmits them on the run's page (retries.py), or records that nothing was charged.
"""

from __future__ import annotations

from decimal import Decimal

from django.db import transaction
from django.db.models import Q
from django.utils.translation import gettext as _

from core.errors import Conflict
from core.models import User
from generation import events
from generation.choices import HoldReason, JobState, LedgerKind, RunState, WhenUncertain
from generation.models import Job, LedgerEntry
from generation.selectors import budgets
from generation.services import budget, runs
from generation.services.dispatch import claims

_HELD = Q(status=JobState.HELD, hold_reason=HoldReason.UNCERTAIN, endpoint__when_uncertain=WhenUncertain.RESUBMIT)


def resubmit_all() -> int:
    """Resubmit uncertain submissions at endpoints with that policy, where budgets suffice; returns how many jobs."""
    run_ids = Job.objects.filter(_HELD).values_list("run_id", flat=True).distinct()
    return sum(_resubmit(run_id) for run_id in list(run_ids))


def _resubmit(run_id: int) -> int:
    try:
        with transaction.atomic():
            run = runs.lock(run_id)
            if run.state != RunState.RUNNING:
                return 0
            jobs = Job.objects.filter(_HELD, run=run)
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
    amount = budgets.uncertain_cost(run)
    if not amount:
        message = _("Nothing is counted as spent for uncertain submissions of %(run)s.") % {"run": run.name}
        raise Conflict(message, state=run.state)
    LedgerEntry.objects.create(campaign=run.campaign, run=run, kind=LedgerKind.UNCERTAIN, amount=-amount)
    runs.publish(events.UncertaintyResolved, run, {"amount": str(amount)}, by)
    return amount
