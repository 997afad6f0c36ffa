"""Periodic work: apps register idempotent passes here; the clock has them run every few seconds, one at a time."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import structlog
from django.db import connection

log = structlog.get_logger(__name__)

Pass = Callable[[], int]
"""Does what is due and returns how much it did; safe to run twice and to be killed."""


@dataclass(frozen=True)
class Chore:
    name: str
    every_seconds: float
    work: Pass


_chores: list[Chore] = []
_last_run: dict[str, float] = {}


def periodic(*, every_seconds: float) -> Callable[[Pass], Pass]:
    """Decorator: run the function at about this interval, in the process that serves the housekeeping lane."""

    def register(work: Pass) -> Pass:
        _chores.append(Chore(f"{work.__module__}.{work.__qualname__}", every_seconds, work))
        return work

    return register


def run_due(*, everything: bool = False) -> dict[str, int]:
    """Run each pass that is due, each under an advisory lock of its own; a failing one does not stop the others."""
    done: dict[str, int] = {}
    for chore in _chores:
        if not everything and time.monotonic() - _last_run.get(chore.name, float("-inf")) < chore.every_seconds:
            continue
        _last_run[chore.name] = time.monotonic()
        if not _lock(chore.name):
            continue
        try:
            done[chore.name] = chore.work()
        except Exception:
            log.exception("housekeeping.failed", chore=chore.name)
        finally:
            _unlock(chore.name)
    return done


def _lock(name: str) -> bool:
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_try_advisory_lock(hashtextextended(%s, 7))", [name])
        row = cursor.fetchone()
        return bool(row and row[0])


def _unlock(name: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_unlock(hashtextextended(%s, 7))", [name])
