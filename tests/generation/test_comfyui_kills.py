"""Test the ComfyUI engine in real workers that are killed, and with a server that restarts.

Workers get SIGKILL at every boundary and at fifty random moments. The server must be asked for each image only once.
"""

from __future__ import annotations

import random
import signal
import subprocess
import time
from collections import Counter
from typing import Any

import pytest

from core.choices import Lane
from generation.choices import AttemptOutcome, JobState
from generation.models import AssetVersion, Attempt, Endpoint, Job
from generation.services.dispatch import outcomes
from tests.support import comfy_workflows, processes, queued_runs
from tests.support.comfy_server import ComfyServer
from tests.support.remote_server import Request, Response, serving

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.slow]

KILLS = 50
MORE = 40
AT_ONCE = 6
LEASE_SECONDS = "3"


class SlowlyAnsweringServer(ComfyServer):
    """A server that takes a submission at once and answers late: a worker killed meanwhile does not know of it."""

    answer_seconds = 0.15

    def respond(self, request: Request) -> Response:
        answer = super().respond(request)
        if self.route(request) == "POST /prompt":
            time.sleep(self.answer_seconds)
        return answer


def endpoint(*servers: ComfyServer, **more: Any) -> Endpoint:
    made = queued_runs.create_endpoint(engine="comfyui", lane=Lane.CLOUD, **comfy_workflows.config(*servers, **more))
    made.max_concurrent = AT_ONCE
    made.save()
    return made


def submissions(*servers: ComfyServer) -> Counter[int]:
    """Count the submissions of each job, by the job id in the file name."""
    prefixes = [
        submission["prompt"]["9"]["inputs"]["filename_prefix"]
        for server in servers
        for submission in list(server.submissions)
    ]
    return Counter(int(prefix.split("/")[1].split("-")[0]) for prefix in prefixes)


def all_done() -> bool:
    outcomes.reap()
    return not Job.objects.exclude(status=JobState.SUCCEEDED).exists()


def has_new(server: ComfyServer, sent: int) -> bool:
    """Return whether the server has more than `sent` submissions. Release the leases of dead workers first."""
    outcomes.reap()
    return len(server.submissions) > sent


def job_states() -> dict[str, int]:
    return dict(Counter(Job.objects.values_list("status", flat=True)))


def finish(what: str, seconds: float = 180) -> None:
    with processes.running("worker", "cloud", PROOFLINE_LEASE_SECONDS=LEASE_SECONDS):
        processes.wait_until(all_done, seconds=seconds, what=f"{what}: {job_states()}")


def test_a_run_over_two_servers_outlives_the_restart_of_one(clean_redis: Any) -> None:
    with serving(ComfyServer(step_seconds=0.1)) as first, serving(ComfyServer(step_seconds=0.1)) as second:
        queued_runs.create_run(queued_runs.create_campaign(), endpoint(first, second), 16)
        with processes.running("worker", "cloud", PROOFLINE_LEASE_SECONDS=LEASE_SECONDS):
            processes.wait_until(lambda: len(first.made) > 1 and first.running, seconds=90, what="work at the first")
            first.restart()
            processes.wait_until(all_done, seconds=120, what="the jobs end after the restart")
        assert AssetVersion.objects.count() == 16
        repeated = sum(submissions(first, second).values()) - 16
        lost = Attempt.objects.filter(error_kind="lost").count()
        assert 1 <= repeated == lost <= AT_ONCE, "what the restart lost was made again, and nothing else"
        assert second.made


def test_of_the_files_that_a_server_saved_before_its_restart_only_the_truncated_one_is_made_again(
    clean_redis: Any,
) -> None:
    with serving(ComfyServer()) as server:
        queued_runs.create_run(queued_runs.create_campaign(), endpoint(server, poll_seconds=6), 3)
        with processes.running("worker", "cloud", PROOFLINE_LEASE_SECONDS=LEASE_SECONDS):
            processes.wait_until(lambda: len(server.made) == 3, seconds=90, what="three images")
            name, whole = next((name, data) for name, data in server.files.items() if name.startswith("output/"))
            server.files[name] = whole[: len(whole) // 2]
            server.restart()
            processes.wait_until(all_done, seconds=120, what="the jobs end after the restart")
        assert sorted(submissions(server).values()) == [1, 1, 2]
        assert Attempt.objects.filter(error_kind="lost").count() == 1 and AssetVersion.objects.count() == 3


@pytest.mark.parametrize("point", ["intended", "submitted", "entrusted", "polled", "resumed", "generated", "stored"])
def test_a_worker_killed_at_a_boundary_submits_nothing_twice(point: str, clean_redis: Any) -> None:
    with serving(ComfyServer()) as server:
        queued_runs.create_run(queued_runs.create_campaign(), endpoint(server), 5)
        killed = processes.start_doomed("cloud", point)
        assert killed.wait(60) == -signal.SIGKILL
        finish(f"the jobs end after a kill at {point}", 60)
        assert set(submissions(server).values()) == {1} and len(submissions(server)) == 5
        assert AssetVersion.objects.count() == 5


def test_a_worker_killed_while_it_looks_up_the_submission_of_another_one_submits_nothing_twice(
    clean_redis: Any,
) -> None:
    with serving(ComfyServer()) as server:
        queued_runs.create_run(queued_runs.create_campaign(), endpoint(server), 5)
        for point in ("submitted", "looked_up"):
            killed = processes.start("worker", "cloud", PROOFLINE_KILL_AT=point, PROOFLINE_LEASE_SECONDS=LEASE_SECONDS)
            processes.wait_until(
                lambda killed=killed: not outcomes.reap() and killed.poll() is not None, seconds=60, what=point
            )
            assert killed.returncode == -signal.SIGKILL
        finish("the jobs end")
        assert set(submissions(server).values()) == {1} and len(submissions(server)) == 5


def test_fifty_kills_at_random_moments_submit_nothing_twice(clean_redis: Any) -> None:
    chance = random.Random(3)
    in_mid_submission = 0
    with serving(SlowlyAnsweringServer(step_seconds=0.03)) as server:
        campaign, where = queued_runs.create_campaign(), endpoint(server)
        for _ in range(KILLS):
            if Job.objects.filter(status=JobState.QUEUED).count() < MORE // 2:
                queued_runs.create_run(campaign, where, MORE)
            sent = len(server.submissions)
            worker = processes.start("worker", "cloud", PROOFLINE_LEASE_SECONDS=LEASE_SECONDS)
            processes.wait_until(lambda sent=sent: has_new(server, sent), seconds=60, what="a submission arrives")
            Job.objects.update(deaths=0)  # the images do not cause the deaths, so none may be quarantined for them
            with pytest.raises(subprocess.TimeoutExpired):
                worker.wait(chance.uniform(0, 2 * SlowlyAnsweringServer.answer_seconds))
            worker.kill()
            unknown = Attempt.objects.filter(outcome=AttemptOutcome.RUNNING, submitted_at__isnull=False, remote_id="")
            in_mid_submission += unknown.filter(job__status=JobState.RUNNING).exists()
        finish("every job ends", 300)
        counted = submissions(server)
        assert in_mid_submission >= KILLS // 3, f"only {in_mid_submission} of {KILLS} kills hit a submission under way"
        assert max(counted.values()) == 1, "not one second submission"
        assert len(counted) == len(server.made) == AssetVersion.objects.count() == Job.objects.count()
