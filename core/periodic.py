"""Periodic tasks: apps register them in their periodic_tasks.py; the clock runs those that are due."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import structlog
from django.db import connection

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
        if not _lock(task.name):
            continue
        try:
            done[task.name] = task.work()
        except Exception:
            log.exception("housekeeping.failed", task=task.name)
        finally:
            _unlock(task.name)
    return done


def _lock(name: str) -> bool:
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_try_advisory_lock(hashtextextended(%s, 7))", [name])
        return bool(cursor.fetchone()[0])


def _unlock(name: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_unlock(hashtextextended(%s, 7))", [name])
