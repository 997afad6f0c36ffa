"""The periodic tasks of this app: lost leases, forgotten nudges, files without a row, workers that are gone."""

from __future__ import annotations

from datetime import timedelta

from django.utils import timezone

from core.choices import Lane
from core.periodic import periodic_task
from core.services import nudges
from generation.models import Worker
from generation.services import runs
from generation.services.dispatch import claims, outcomes, routing
from generation.services.endpoints import alarms
from generation.services.images import regenerations, staleness, sweeper
from generation.services.planning import schedules, standing
from generation.services.remote import uncertain


@periodic_task(every_seconds=5)
def reap_leases() -> int:
    return outcomes.reap()


@periodic_task(every_seconds=5)
def renudge_lanes() -> int:
    """Announce queued work again: a nudge is lost when Redis is, or when a process dies between commit and enqueue."""
    waiting = [lane for lane in (Lane.GPU, Lane.CLOUD, Lane.CPU) if claims.has_work(lane)]
    for lane in waiting:
        nudges.send(lane)
    return len(waiting)


@periodic_task(every_seconds=10)
def finish_runs() -> int:
    """Finish runs whose last worker died between ending its job and saying so."""
    return runs.finish_done()


@periodic_task(every_seconds=5)
def release_scheduled_runs() -> int:
    """Release planned runs whose time has come."""
    return schedules.release_due()


@periodic_task(every_seconds=30)
def regenerate_left_behind() -> int:
    """Pictures whose process died between their failed checks and the next try."""
    return regenerations.regenerate_left_behind()


@periodic_task(every_seconds=5)
def route_waiting_jobs() -> int:
    """Work that waits for an endpoint that is slow or down goes to its run's alternates."""
    return routing.route_all()


@periodic_task(every_seconds=15)
def tell_of_endpoints_that_stand_still() -> int:
    """Operators hear of a service that fails or is out of money before the people whose pictures wait for it ask."""
    return alarms.tell_all()


@periodic_task(every_seconds=10)
def order_again_in_doubt() -> int:
    """Orders whose answer was lost, where the endpoint's policy is to order again."""
    return uncertain.resubmit_all()


@periodic_task(every_seconds=30)
def look_at_standing_orders() -> int:
    """Begin runs of what is new or changed, where people ordered so."""
    return standing.look_at_all()


@periodic_task(every_seconds=5)
def make_approvals_stale() -> int:
    """Go on with large changes, and with those whose process died after its commit."""
    return staleness.go_on()


@periodic_task(every_seconds=600)
def sweep_files() -> int:
    return sweeper.sweep()


@periodic_task(every_seconds=3600)
def forget_workers() -> int:
    gone, _ = Worker.objects.filter(seen_at__lt=timezone.now() - timedelta(days=1)).delete()
    return gone
