"""The periodic tasks of this app, such as freeing lost leases and deleting files without a row."""

from __future__ import annotations

from datetime import timedelta

from django.utils import timezone

from core.choices import Lane
from core.periodic import periodic_task
from core.services import wake_ups
from generation.models import Worker
from generation.services import runs
from generation.services.dispatch import claims, outcomes, routing
from generation.services.endpoints import health
from generation.services.images import regenerations, staleness, sweeper
from generation.services.planning import scheduled_runs, schedules
from generation.services.remote import submissions


@periodic_task(every_seconds=5)
def reap_leases() -> int:
    return outcomes.reap()


@periodic_task(every_seconds=5)
def repeat_wake_ups() -> int:
    """Wake lanes with queued work again: Redis can lose a message, and a process can die between commit and enqueue."""
    waiting = [lane for lane in (Lane.GPU, Lane.CLOUD, Lane.CPU) if claims.has_work(lane)]
    for lane in waiting:
        wake_ups.send(lane)
    return len(waiting)


@periodic_task(every_seconds=10)
def finish_runs() -> int:
    """Finish runs whose last worker died after ending its job, before it finished the run."""
    return runs.finish_done()


@periodic_task(every_seconds=5)
def release_scheduled_runs() -> int:
    return schedules.release_due()


@periodic_task(every_seconds=30)
def regenerate_interrupted() -> int:
    """Make images again whose process died between the failed checks and the next try."""
    return regenerations.regenerate_interrupted()


@periodic_task(every_seconds=5)
def route_waiting_jobs() -> int:
    """Move jobs that wait for a slow or unavailable endpoint to the alternates of their run."""
    return routing.route_all()


@periodic_task(every_seconds=15)
def notify_about_stopped_endpoints() -> int:
    """Tell operators about services that fail or are out of money, before people ask for their images."""
    return health.notify_operators()


@periodic_task(every_seconds=10)
def resubmit_uncertain() -> int:
    """Submit again the uncertain submissions of endpoints whose policy is to do so."""
    return submissions.resubmit_uncertain()


@periodic_task(every_seconds=30)
def plan_scheduled_runs() -> int:
    return scheduled_runs.check_all()


@periodic_task(every_seconds=5)
def make_approvals_stale() -> int:
    """Continue to mark approvals as stale after large changes, and after changes whose process died after commit."""
    return staleness.process_batches()


@periodic_task(every_seconds=600)
def sweep_files() -> int:
    return sweeper.sweep()


@periodic_task(every_seconds=3600)
def delete_old_workers() -> int:
    gone, _by_model = Worker.objects.filter(seen_at__lt=timezone.now() - timedelta(days=1)).delete()
    return gone
