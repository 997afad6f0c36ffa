"""Test workers that are killed with SIGKILL while OpenAI works for them.

Nothing is paid for twice unless the policy says so. What may have been paid for is uncertain and in the ledger.
"""

from __future__ import annotations

import random
import subprocess
from collections import Counter
from typing import Any

import pytest

from core.choices import Lane
from generation.choices import AttemptOutcome, HoldReason, JobState, LedgerKind, WhenUncertain
from generation.engines.base import ErrorKind
from generation.models import Attempt, Endpoint, Job, LedgerEntry
from generation.services.dispatch import outcomes
from generation.services.remote import submissions
from tests.support import processes, queued_runs
from tests.support.openai_server import GENERATIONS, KEY, OpenAIServer
from tests.support.remote_server import serving

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.slow]

KILLS = 50
JOBS = 400
WORK_SECONDS = 0.8
AT_ONCE = 120
FEW_AT_ONCE = {"PROOFLINE_LEASE_SECONDS": "20", "PROOFLINE_REMOTE_THREADS": "5"}
"""The lease is long enough for a busy machine, so that only the kills cause uncertain submissions. Dead workers keep
their places for that time; there are enough places for the others."""


ENDED = (JobState.SUCCEEDED, JobState.HELD, JobState.QUARANTINED)
"""A job is quarantined when three workers that had it died before they sent it."""


def endpoint(server: OpenAIServer, policy: str) -> Endpoint:
    made = queued_runs.create_endpoint(
        engine="openai", lane=Lane.CLOUD, base_url=f"{server.url}/v1", model="qwen-image"
    )
    made.secret, made.when_uncertain, made.max_concurrent, made.price_per_image = KEY, policy, AT_ONCE, "0.04"
    made.save()
    return made


def count_submissions(server: OpenAIServer) -> Counter[str]:
    """Count the submissions of each image, whether or not it was made."""
    return Counter(str(request.json["prompt"]) for request in list(server.requests))


def open_attempts_of(worker: processes.Process) -> set[int]:
    """Return the attempts of this worker whose intent is written and whose result is not."""
    own = Attempt.objects.filter(worker__contains=f"-{worker.pid}-")
    return set(own.filter(outcome=AttemptOutcome.RUNNING, submitted_at__isnull=False).values_list("pk", flat=True))


def uncertainty_reasons() -> dict[int, str]:
    """Return the reason of each uncertain submission, by attempt."""
    lost = Attempt.objects.filter(outcome=AttemptOutcome.LOST, error_kind=ErrorKind.UNCERTAIN)
    return {
        attempt.pk: f"{attempt.worker}, sent {attempt.submitted_at}, ended {attempt.ended_at}: {attempt.message}"
        for attempt in lost
    }


def sweep() -> None:
    """Do what the housekeeping worker does every few seconds."""
    outcomes.reap()
    submissions.resubmit_uncertain()


def kill_workers(server: OpenAIServer, chance: random.Random) -> tuple[int, set[int]]:
    """Kill KILLS workers after they submitted. Return (workers killed with open submissions, those attempts)."""
    hit, under_way = 0, set[int]()
    for _ in range(KILLS):
        sent, others = server.counts[GENERATIONS], processes.connections()
        worker = processes.start("worker", "cloud", **FEW_AT_ONCE)
        processes.wait_until(lambda: sweep() or server.counts[GENERATIONS] > sent, seconds=60, what="a submission")  # noqa: B023
        with pytest.raises(subprocess.TimeoutExpired):
            worker.wait(chance.uniform(0, WORK_SECONDS))
        worker.kill()
        processes.wait_until(lambda: processes.connections() <= others, seconds=60, what="its last statement ends")  # noqa: B023
        left = open_attempts_of(worker)
        hit += bool(left)
        under_way |= left
    return hit, under_way


def finish_the_rest() -> None:
    def all_ended() -> bool:
        sweep()
        return not Job.objects.exclude(status__in=ENDED).exists()

    # This worker is not killed. The long lease keeps it alive in the middle of its calls, however slow the machine.
    with processes.running("worker", "cloud", PROOFLINE_LEASE_SECONDS="60"):
        processes.wait_until(all_ended, seconds=180, what="every job ends or is held")


def test_fifty_kills_submit_nothing_twice_and_hold_what_is_uncertain(clean_redis: Any) -> None:
    with serving(OpenAIServer(is_compatible=True, seconds=WORK_SECONDS)) as server:
        queued_runs.create_run(queued_runs.create_campaign(), endpoint(server, WhenUncertain.HOLD), JOBS)
        hit, under_way = kill_workers(server, random.Random(1))
        finish_the_rest()
        submitted, made = count_submissions(server), {request.prompt for request in server.made}
    assert hit >= KILLS * 0.8
    assert max(submitted.values()) == 1  # not one second submission
    held = Job.objects.filter(status=JobState.HELD).select_related("frozen")
    assert set(uncertainty_reasons()) == under_way, [
        uncertainty_reasons().get(pk, pk) for pk in set(uncertainty_reasons()) ^ under_way
    ]
    assert held.count() == len(under_way)
    assert all(job.hold_reason == HoldReason.UNCERTAIN for job in held)
    assert not Attempt.objects.filter(job__status=JobState.QUARANTINED, submitted_at__isnull=False).exists()
    uncertain = LedgerEntry.objects.filter(kind=LedgerKind.UNCERTAIN)
    assert sorted(uncertain.values_list("job_id", flat=True)) == sorted(job.pk for job in held)
    succeeded = Job.objects.filter(status=JobState.SUCCEEDED).select_related("frozen")
    paid_for = {job.frozen.spec["prompt"] for job in (*held, *succeeded)}
    assert made <= paid_for  # every image that the service made is here or uncertain
    assert {job.frozen.spec["prompt"] for job in succeeded} <= made
    settled = LedgerEntry.objects.filter(kind=LedgerKind.SETTLE)
    assert sorted(settled.values_list("job_id", flat=True)) == sorted(job.pk for job in succeeded)


def test_fifty_kills_with_resubmission_submit_again_only_what_was_under_way(clean_redis: Any) -> None:
    with serving(OpenAIServer(is_compatible=True, seconds=WORK_SECONDS)) as server:
        queued_runs.create_run(queued_runs.create_campaign(), endpoint(server, WhenUncertain.RESUBMIT), JOBS)
        hit, under_way = kill_workers(server, random.Random(2))
        finish_the_rest()
        submitted = count_submissions(server)
    assert hit >= KILLS * 0.8
    assert not Job.objects.filter(status=JobState.HELD).exists()
    second = sum(count - 1 for count in submitted.values())
    assert 0 < second <= len(under_way)
    assert set(uncertainty_reasons()) == under_way, [
        uncertainty_reasons().get(pk, pk) for pk in set(uncertainty_reasons()) ^ under_way
    ]
    assert LedgerEntry.objects.filter(kind=LedgerKind.UNCERTAIN).count() == len(under_way)
