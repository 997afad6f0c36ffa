"""Test that a worker killed at any point loses nothing, repeats nothing and leaves nothing behind."""

from __future__ import annotations

import os
import signal
import subprocess
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.utils import timezone

from core import crash_points, stored_files
from generation.choices import AttemptOutcome, JobState
from generation.models import Asset, AssetVersion, Attempt, Job, LedgerEntry, Master
from generation.services.dispatch import outcomes
from generation.services.images import sweeper
from review.models import ReviewTask
from tests.support import processes, queued_runs, separate_services

POINTS = ("claimed", "generated", "developed", "stored", "finish.locked", "finish.written", "finished")
"""The crash points that every job passes, in this order."""
AT_SERVICES = ("intended", "submitted", "entrusted", "polled", "looked_up", "resumed")
"""The further crash points of a job of a remote service, in this order; "looked_up" only after a lost answer."""

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.slow]

JOBS = 6


def every_job_ended_once() -> None:
    assert set(Job.objects.values_list("status", flat=True)) == {JobState.SUCCEEDED}
    assert AssetVersion.objects.count() == JOBS
    assert Master.objects.count() == JOBS
    assert LedgerEntry.objects.filter(kind="settle").count() == JOBS
    assert set(Asset.objects.values_list("state", flat=True)) == {"in_review"}
    assert ReviewTask.objects.count() == JOBS
    assert Attempt.objects.filter(outcome=AttemptOutcome.SUCCEEDED).count() == JOBS
    assert not Attempt.objects.filter(outcome=AttemptOutcome.RUNNING).exists()


def no_file_without_a_row_after_the_sweep() -> None:
    sweeper.sweep(now=timezone.now() + timedelta(hours=2))
    listed = list(stored_files.list_keys())
    assert {file.key for file in listed} == sweeper.list_referenced_keys(listed)
    assert listed
    assert not list(stored_files.list_keys(stored_files.TEMPORARY))
    for master in Master.objects.all():
        assert stored_files.exists(master.storage_key)


def all_done() -> bool:
    outcomes.reap()
    return not Job.objects.exclude(status=JobState.SUCCEEDED).exists()


@pytest.mark.parametrize("point", POINTS)
def test_the_jobs_of_a_worker_killed_at_any_point_are_recovered(point: str, clean_redis: Any) -> None:
    queued_runs.create_run(queued_runs.create_campaign(), queued_runs.create_endpoint(batch_size=2), JOBS)
    victim = processes.start_doomed("cpu", point)
    assert victim.wait(60) == -signal.SIGKILL
    assert Job.objects.exclude(status=JobState.SUCCEEDED).exists()
    with processes.running("worker", "cpu"):
        processes.wait_until(all_done, seconds=60, what=f"the jobs end after a kill at {point}")
    every_job_ended_once()
    no_file_without_a_row_after_the_sweep()


def test_redis_flushed_in_mid_run_loses_nothing(clean_redis: Any) -> None:
    queued_runs.create_run(queued_runs.create_campaign(), queued_runs.create_endpoint(batch_size=1, seconds=0.3), JOBS)
    with processes.running("worker", "cpu"):
        processes.wait_until(lambda: AssetVersion.objects.exists(), seconds=60, what="the first image")
        for _ in range(3):
            clean_redis.flushall()
        processes.wait_until(all_done, seconds=60, what="the jobs end after Redis was emptied")
    every_job_ended_once()
    no_file_without_a_row_after_the_sweep()


def test_connections_cut_by_the_database_in_mid_run_lose_nothing(clean_redis: Any) -> None:
    queued_runs.create_run(queued_runs.create_campaign(), queued_runs.create_endpoint(batch_size=1, seconds=0.3), JOBS)
    with processes.running("worker", "cpu", PROOFLINE_LEASE_SECONDS="10"):
        processes.wait_until(lambda: AssetVersion.objects.exists(), seconds=60, what="the first image")
        with connection.cursor() as cursor:
            cursor.execute(
                """SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
                   WHERE datname = current_database() AND backend_type = 'client backend' AND pid <> pg_backend_pid()"""
            )
            assert cursor.fetchone()[0] > 0
        processes.wait_until(all_done, seconds=90, what="the jobs end after the database cut every connection")
    every_job_ended_once()
    no_file_without_a_row_after_the_sweep()


def test_a_worker_that_is_asked_to_stop_finishes_its_running_jobs(clean_redis: Any) -> None:
    queued_runs.create_run(queued_runs.create_campaign(), queued_runs.create_endpoint(batch_size=1, seconds=0.2), JOBS)
    worker = processes.start("worker", "cpu")
    processes.wait_until(lambda: AssetVersion.objects.exists(), seconds=60, what="the first image")
    assert processes.stop(worker) == 0
    assert not Job.objects.filter(status=JobState.RUNNING).exists()
    assert Job.objects.filter(status=JobState.QUEUED).exists()
    assert not Attempt.objects.filter(outcome=AttemptOutcome.RUNNING).exists()


def test_the_postgresql_server_killed_in_mid_run_loses_no_committed_image(tmp_path, clean_redis: Any) -> None:
    """Kill a separate PostgreSQL server with SIGKILL and restart it while one worker keeps running."""
    with separate_services.run_services(tmp_path) as server:
        server.manage("migrate", "-v0")
        server.manage(
            "shell",
            "-v0",
            "-c",
            "from tests.support import queued_runs as q; endpoint = q.create_endpoint(batch_size=1, seconds=0.3); "
            f"q.create_run(q.create_campaign(), endpoint, {JOBS})",
        )
        worker = server.start("worker", "cpu", "housekeeping")
        try:
            processes.wait_until(
                lambda: server.count("SELECT count(*) FROM generation_assetversion") > 0,
                seconds=60,
                what="the first image",
            )
            server.kill_postgres()
            processes.wait_until(
                lambda: server.count("SELECT count(*) FROM generation_job WHERE status <> 'succeeded'") == 0,
                seconds=120,
                what="the jobs end after PostgreSQL was killed",
            )
        finally:
            processes.stop(worker)
        assert server.count("SELECT count(*) FROM generation_assetversion") == JOBS
        assert server.count("SELECT count(*) FROM generation_attempt WHERE outcome = 'succeeded'") == JOBS
        assert server.count("SELECT count(DISTINCT asset_id) FROM review_reviewtask") == JOBS


def test_the_point_names_are_those_in_the_code() -> None:
    output = subprocess.run(
        ["grep", "-rhoE", r'crash_points\.point\("[a-z._]+"\)', "generation"],
        cwd=processes.ROOT,
        capture_output=True,
        text=True,
    ).stdout
    assert {line.split('"')[1] for line in output.split()} == {*POINTS, *AT_SERVICES}
    assert os.environ.get(crash_points.ENVIRONMENT_VARIABLE) is None
