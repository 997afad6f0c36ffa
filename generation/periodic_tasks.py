"""The periodic tasks of this app, such as freeing lost leases and deleting files without a row."""

from __future__ import annotations

from datetime import timedelta

from django.utils import timezone

from core.choices import Lane
from core.periodic_tasks import periodic_task
from core.services import wake_ups
from generation.models import Worker
from generation.services import runs
from generation.services.dispatch import claims, outcomes, routing
from generation.services.endpoints import health
from generation.services.images import regenerations, staleness, sweeper
from generation.services.planning import scheduled_runs
from generation.services.remote import submissions

periodic_task(every_seconds=5)(outcomes.reap)
periodic_task(every_seconds=5)(runs.release_due)
# Runs whose last worker died after ending its job, before it finished the run.
periodic_task(every_seconds=10)(runs.finish_done)
periodic_task(every_seconds=5)(routing.route_all)
periodic_task(every_seconds=30)(scheduled_runs.check_all)
# Images whose process died between the failed checks and the next try.
periodic_task(every_seconds=30)(regenerations.regenerate_interrupted)
# Large changes, and changes whose process died after commit.
periodic_task(every_seconds=5)(staleness.process_batches)
# Operators hear of services that fail or are out of money before people ask for their images.
periodic_task(every_seconds=15)(health.notify_operators)
periodic_task(every_seconds=10)(submissions.resubmit_uncertain)
periodic_task(every_seconds=600)(sweeper.sweep)


@periodic_task(every_seconds=5)
def repeat_wake_ups() -> int:
    """Wake lanes with queued work again: Redis can lose a message, and a process can die between commit and enqueue."""
    waiting = [lane for lane in (Lane.GPU, Lane.CLOUD, Lane.CPU) if claims.has_work(lane)]
    for lane in waiting:
        wake_ups.send(lane)
    return len(waiting)


@periodic_task(every_seconds=3600)
def delete_old_workers() -> int:
    return Worker.objects.filter(seen_at__lt=timezone.now() - timedelta(days=1)).delete()[0]
