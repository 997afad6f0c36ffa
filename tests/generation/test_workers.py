"""Test workers as processes: which lane they serve first, and that housekeeping continues during a long run."""

from __future__ import annotations

from typing import Any

import pytest

from core.choices import Lane
from core.models import SealedEvent
from generation.choices import JobState
from generation.models import Job
from generation.workers import process
from tests.support import processes, queued_runs


def test_short_work_comes_before_long_work() -> None:
    assert process.sort_by_urgency(["cpu", "gpu", "io", "delivery", "housekeeping", "cpu"]) == [
        "housekeeping",
        "delivery",
        "io",
        "gpu",
        "cpu",
    ]
    assert set(process.URGENCY) == set(Lane)


@pytest.mark.slow
@pytest.mark.django_db(transaction=True)
def test_events_are_sealed_while_a_long_run_keeps_the_worker_busy(clean_redis: Any) -> None:
    queued_runs.create_run(queued_runs.create_campaign(), queued_runs.create_endpoint(batch_size=1, seconds=0.5), 60)
    with processes.running("worker", "cpu", "housekeeping"), processes.running("clock"):
        processes.wait_until(SealedEvent.objects.exists, seconds=60, what="a sealed event")
        assert Job.objects.filter(status=JobState.QUEUED).count() > 20
