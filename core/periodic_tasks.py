"""Periodic tasks: apps register them in their periodic_tasks.py, and the clock runs those that are due."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta

import structlog
from django.utils import timezone

from core import counts, sql
from core.models import StoredResponse
from core.services import audit

log = structlog.get_logger(__name__)

Work = Callable[[], int]  # does the due work and returns how much; safe to run twice and to be killed


@dataclass
class PeriodicTask:
    name: str
    every_seconds: float
    work: Work
    last_run: float = float("-inf")


_tasks: list[PeriodicTask] = []


def periodic_task(*, every_seconds: float) -> Callable[[Work], Work]:
    """Decorator: run the function at about this interval, in the process that serves the housekeeping lane."""

    def register(work: Work) -> Work:
        _tasks.append(PeriodicTask(f"{work.__module__}.{work.__qualname__}", every_seconds, work))
        return work

    return register


def run_due(*, everything: bool = False) -> dict[str, int]:
    """Run each due task under its own advisory lock; a failing task does not stop the others."""
    done: dict[str, int] = {}
    for task in _tasks:
        if not everything and time.monotonic() - task.last_run < task.every_seconds:
            continue
        task.last_run = time.monotonic()
        if not sql.try_lock(task.name):
            continue
        try:
            done[task.name] = task.work()
        except Exception:
            log.exception("housekeeping.failed", task=task.name)
        finally:
            sql.unlock(task.name)
    return done


@periodic_task(every_seconds=2)
def seal_events() -> int:
    return audit.seal()


@periodic_task(every_seconds=3600)
def forget_stored_responses() -> int:
    return StoredResponse.objects.filter(created_at__lt=timezone.now() - timedelta(hours=24)).delete()[0]


@periodic_task(every_seconds=10)
def fold_counts() -> int:
    return sum(counts.fold(model) for model in counts.list_models())
