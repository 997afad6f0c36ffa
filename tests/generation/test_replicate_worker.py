"""Test real workers on Replicate and Cog: submissions and results, and that a killed worker pays nothing twice."""

from __future__ import annotations

import random
import signal
import subprocess
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from core import stored_files
from core.choices import Lane
from generation.choices import AttemptOutcome, JobState, LedgerKind
from generation.finishing.decode import decode
from generation.models import AssetVersion, Attempt, Endpoint, Job, JobSpec, LedgerEntry
from generation.services.dispatch import outcomes
from tests.support import processes, queued_runs
from tests.support.cog_server import Cog
from tests.support.engines import noise_pixels
from tests.support.remote_server import CUT_AFTER, CUT_BEFORE, Fault, Response, Window, serving
from tests.support.replicate_server import SIGNING_SECRET, TOKEN, VERSION, Replicate

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.slow]

KILLS = 50
MORE = 40
AT_ONCE = 4
WORK_SECONDS = 0.4
LEASE_SECONDS = "2"
FEW_THREADS, MANY_AT_ONCE = {"PROOFLINE_REMOTE_THREADS": "5"}, 32
"""More than killed workers hold until their leases end, so that the next worker gets jobs."""
ENDED = (JobState.SUCCEEDED, JobState.FAILED, JobState.QUARANTINED, JobState.CANCELLED)
POINTS = ("intended", "submitted", "entrusted", "polled", "resumed", "generated", "stored")


@pytest.fixture
def server() -> Iterator[Replicate]:
    with serving(Replicate()) as service:
        yield service


def endpoint(server: Replicate, *, at_once: int = AT_ONCE, **config: Any) -> Endpoint:
    settings = {"version": VERSION, "poll_seconds": 0.3, "settle_seconds": 1.0, **config}
    made = queued_runs.create_endpoint(engine="replicate", lane=Lane.CLOUD, base_url=server.base_url, **settings)
    made.secret, made.max_concurrent, made.prices = f"{TOKEN} {SIGNING_SECRET}", at_once, {"second": 0.001}
    made.save()
    return made


def all_jobs_ended() -> bool:
    outcomes.reap()
    return not Job.objects.exclude(status__in=ENDED).exists()


def wait_until_all_ended(seconds: float = 120) -> None:
    processes.wait_until(all_jobs_ended, seconds=seconds, what="the jobs end")


def job_states() -> dict[str, int]:
    return dict(Counter(Job.objects.values_list("status", flat=True)))


def every_image_is_the_requested_one() -> None:
    """Check that each image belongs to its job: a wrong match in the list would fetch the image of another job."""
    for version in AssetVersion.objects.select_related("master"):
        spec = JobSpec.objects.get(job=version.job_id).spec
        pixels = decode(stored_files.read(version.master.storage_key))
        assert np.array_equal(pixels, noise_pixels(spec["seed"], spec["width"], spec["height"]))


def test_a_worker_stores_every_image_despite_every_kind_of_failure(server: Replicate, clean_redis: Any) -> None:
    server.limits = (Window(4, 1.0),)
    server.seconds = 0.3
    lost = [CUT_AFTER, CUT_BEFORE, Fault(), Fault(response=Response(504, b""), after_effect=True), Fault(), CUT_BEFORE]
    server.fail_next("POST /predictions", *lost)
    server.fail_next("GET /predictions/{id}", CUT_BEFORE, Fault(response=Response(500, b"")))
    server.fail_next("GET /outputs/{id}", CUT_BEFORE)
    queued_runs.create_run(queued_runs.create_campaign(), endpoint(server), 12)
    with processes.running("worker", "cloud"):
        wait_until_all_ended()
    assert job_states() == {JobState.SUCCEEDED: 12}
    assert (len(server.paid), server.paid_twice()) == (12, 0)
    every_image_is_the_requested_one()
    settled = LedgerEntry.objects.filter(kind=LedgerKind.SETTLE).values_list("amount", flat=True)
    assert [float(amount) for amount in settled] == pytest.approx([0.0003] * 12, rel=0.01)


def test_an_image_that_came_with_the_answer_and_cannot_be_stored_is_fetched_again_and_not_submitted_again(
    server: Replicate, clean_redis: Any, tmp_path: Path
) -> None:
    folder = tmp_path / "full"
    folder.write_text("a file where a folder should be")
    queued_runs.create_run(queued_runs.create_campaign(), endpoint(server, wait_seconds=30), 1)
    with processes.running("worker", "cloud", PROOFLINE_FILES=str(folder), PROOFLINE_STORAGE_SECONDS="0"):
        processes.wait_until(
            lambda: Job.objects.filter(status=JobState.WAITING).exclude(remote_id="").exists(),
            seconds=60,
            what="the job waits for its image to be fetched again",
        )
        folder.unlink()
        folder.mkdir()
        wait_until_all_ended()
    assert job_states() == {JobState.SUCCEEDED: 1}
    assert len(server.paid) == 1


def test_webhooks_get_images_stored_long_before_the_next_poll(
    server: Replicate, live_server: Any, clean_redis: Any
) -> None:
    server.seconds, server.copies, server.is_reordered = 1.0, 2, True
    server.reroute = lambda address: address.replace("https://context.example", live_server.url)
    at = endpoint(server, poll_seconds=600)
    at.config |= {"webhook_url": f"https://context.example/hooks/replicate/{at.slug}"}
    at.save()
    queued_runs.create_run(queued_runs.create_campaign(), at, 6)
    with processes.running("worker", "cloud"):
        wait_until_all_ended(seconds=60)
    assert job_states() == {JobState.SUCCEEDED: 6}
    assert len(server.paid) == 6
    assert set(server.answers) == {204}


@pytest.mark.parametrize(("at_once", "lost"), [(None, 0), (1, 2)], ids=["calls at once", "lost answers"])
def test_a_cog_server_with_one_slot_makes_all_images_one_after_the_other(
    at_once: int | None, lost: int, clean_redis: Any
) -> None:
    with serving(Cog()) as server:
        server.seconds = 0.2
        server.fail_next("PUT /predictions/{id}", *[CUT_AFTER] * lost)
        at = queued_runs.create_endpoint(
            engine="replicate", lane=Lane.CLOUD, cog=True, base_url=server.url, settle_seconds=0.5, max_side=1024
        )
        at.max_concurrent = at_once
        at.save()
        queued_runs.create_run(queued_runs.create_campaign(), at, 6)
        with processes.running("worker", "cloud"):
            wait_until_all_ended()
        assert job_states() == {JobState.SUCCEEDED: 6}
        assert len(server.runs) == 6 + lost  # a lost image is made again: that costs time but no money
    every_image_is_the_requested_one()


@pytest.mark.parametrize("point", POINTS)
def test_a_worker_killed_at_any_step_submits_nothing_twice(point: str, server: Replicate, clean_redis: Any) -> None:
    server.seconds = 0.5
    queued_runs.create_run(queued_runs.create_campaign(), endpoint(server), 4)
    assert processes.start_doomed("cloud", point).wait(90) == -signal.SIGKILL
    with processes.running("worker", "cloud"):
        wait_until_all_ended()
    assert job_states() == {JobState.SUCCEEDED: 4}
    assert (len(server.paid), server.paid_twice()) == (4, 0)
    every_image_is_the_requested_one()


def kill_workers(server: Replicate, chance: random.Random) -> int:
    """Kill KILLS busy workers, each some moments after its first call; return how many had running jobs."""
    campaign, where = queued_runs.create_campaign(), endpoint(server, at_once=MANY_AT_ONCE)

    def has_called(before: int) -> bool:
        outcomes.reap()
        return sum(server.counts.values()) > before

    hit = 0
    for _ in range(KILLS):
        if Job.objects.filter(status=JobState.QUEUED).count() < MORE // 2:
            queued_runs.create_run(campaign, where, MORE)
        Job.objects.update(deaths=0)  # the images do not cause the deaths: no job may be quarantined
        called = sum(server.counts.values())
        worker = processes.start("worker", "cloud", PROOFLINE_LEASE_SECONDS=LEASE_SECONDS, **FEW_THREADS)
        processes.wait_until(
            lambda called=called: has_called(called), seconds=60, what=f"a worker calls: {job_states()}"
        )
        with pytest.raises(subprocess.TimeoutExpired):
            worker.wait(chance.uniform(0, 2.5 * WORK_SECONDS))
        worker.kill()
        hit += Job.objects.filter(status=JobState.RUNNING).exists()
    return hit


def test_fifty_kills_at_random_moments_pay_for_nothing_twice(server: Replicate, clean_redis: Any) -> None:
    server.seconds, server.answer_seconds = WORK_SECONDS, WORK_SECONDS
    hit = kill_workers(server, random.Random(5))
    before = len(server.paid)
    with processes.running("worker", "cloud", PROOFLINE_LEASE_SECONDS=LEASE_SECONDS):
        wait_until_all_ended(seconds=240)
    jobs = Job.objects.count()
    lost = Attempt.objects.filter(outcome=AttemptOutcome.LOST).count()
    lists = server.counts["GET /predictions"]
    print(f"{KILLS} kills, {hit} with submissions in hand; {before} until then, {lost} lost, {lists} lists read")
    assert hit >= KILLS / 2
    assert lists > 0, "no kill fell between a submission and its answer"
    assert (len(server.paid), server.paid_twice()) == (jobs, 0)
    assert job_states() == {JobState.SUCCEEDED: jobs}
    assert AssetVersion.objects.count() == jobs
    assert LedgerEntry.objects.filter(kind=LedgerKind.SETTLE).count() == jobs
    assert not Attempt.objects.filter(outcome=AttemptOutcome.RUNNING).exists()
    every_image_is_the_requested_one()
