"""Tests of a full or read-only disk: writes pause, existing files stay readable, and nothing is lost.

The disk is a real one of a few hundred kilobytes, mounted for the test. Without the right to mount, tests are skipped.
"""

from __future__ import annotations

import contextlib
import errno
import io
import subprocess
import threading
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError, EndpointConnectionError
from django.db import connection
from django.urls import reverse
from django.utils import timezone
from PIL import Image

from campaigns.choices import PhotoStatus
from campaigns.models import ReferencePhoto
from campaigns.services import photo_loading, photos
from core import stored_files
from core.api import problems
from core.choices import Lane, Role
from core.errors import StorageFailed
from core.models import Event, Notice, User
from generation import causes
from generation.choices import AttemptOutcome, HoldReason, JobState, RunState, Stage
from generation.engines.base import EngineError, ErrorKind
from generation.models import Attempt, Job, Master, Run
from generation.services import runs
from generation.services.dispatch import claims, outcomes
from generation.workers.lane import LaneWorker
from tests.support import factories, processes, queued_runs, scenes

KILOBYTE = 1024


@pytest.fixture
def disk(media: Path) -> Iterator[Path]:
    """Mount the folder of stored files on its own disk of 512 kB."""
    media.mkdir(parents=True, exist_ok=True)
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=512k", "tmpfs", str(media)], capture_output=True)
    if mounted.returncode:
        pytest.skip("mounting a small disk needs root")
    yield media
    subprocess.run(["umount", "--lazy", str(media)], check=True)


def fill(disk: Path) -> Path:
    """Fill the disk and return the file that fills it."""
    ballast = disk / "ballast"
    with ballast.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(bytes(KILOBYTE))
    return ballast


def make_read_only(disk: Path) -> None:
    subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)


def make_writable(disk: Path) -> None:
    subprocess.run(["mount", "-o", "remount,rw", str(disk)], check=True)


def photo_file() -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(scenes.scene("vase", size=512).pixels).save(buffer, "JPEG", quality=95)
    return buffer.getvalue()


def leftovers(disk: Path) -> list[Path]:
    return list((disk / "tmp").glob("*")) if (disk / "tmp").exists() else []


# -- the store -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("durable", [True, False])
def test_a_full_disk_is_named_and_nothing_half_written_stays(disk: Path, durable: bool) -> None:
    kept = stored_files.put(b"kept" * 100, suffix="bin")
    fill(disk)
    with pytest.raises(StorageFailed, match="full"):
        stored_files.put(bytes(range(256)) * 100, suffix="bin", durable=durable)
    assert leftovers(disk) == []
    assert stored_files.read(kept.key) == b"kept" * 100


def test_a_stream_that_does_not_fit_is_named_and_leaves_nothing(disk: Path, tmp_path: Path) -> None:
    large = tmp_path / "large"
    large.write_bytes(bytes(range(256)) * 8 * KILOBYTE)
    with large.open("rb") as stream, pytest.raises(StorageFailed, match="full"):
        stored_files.put_stream(stream, suffix="csv", max_bytes=2**30)
    assert leftovers(disk) == []
    assert stored_files.put(b"fits", suffix="bin").bytes == 4


def test_a_read_only_disk_is_named_and_what_is_there_counts_as_stored(disk: Path) -> None:
    kept = stored_files.put(b"kept", suffix="bin")
    make_read_only(disk)
    try:
        with pytest.raises(StorageFailed, match="read-only"):
            stored_files.put(b"new", suffix="bin")
        assert stored_files.put(b"kept", suffix="bin") == kept
        assert stored_files.read(kept.key) == b"kept"
    finally:
        make_writable(disk)


@pytest.mark.parametrize(
    ("raised", "words"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), "is full"),
        (OSError(errno.EDQUOT, "Disk quota exceeded"), "quota"),
        (OSError(errno.EROFS, "Read-only file system"), "read-only"),
        (PermissionError(errno.EACCES, "Permission denied"), "may not write"),
        (OSError(errno.EIO, "Input/output error"), "reports errors"),
        (OSError(errno.ENAMETOOLONG, "File name too long"), "File name too long"),
        (ClientError({"Error": {"Code": "AccessDenied"}}, "PutObject"), "AccessDenied"),
        (EndpointConnectionError(endpoint_url="http://bucket.invalid"), "does not answer"),
    ],
)
def test_each_reason_not_to_store_a_file_has_words_without_paths(raised: Exception, words: str) -> None:
    with pytest.raises(StorageFailed, match=words) as refusal, stored_files._translate_write_errors():
        raise raised
    assert "/" not in refusal.value.message


# -- a run -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def patience(settings: Any) -> None:
    settings.PROOFLINE = settings.PROOFLINE | {"storage_seconds": 600}


@pytest.fixture
def no_storage_wait(settings: Any) -> None:
    settings.PROOFLINE = settings.PROOFLINE | {"storage_seconds": 0}


@pytest.fixture
def worker(transactional_db: None, clean_redis: Any) -> Iterator[LaneWorker]:
    worker = LaneWorker("storing", [Lane.CPU])
    worker.start()
    yield worker
    worker.stop()


def start_draining(worker: LaneWorker) -> threading.Thread:
    def drain() -> None:
        try:
            worker.drain(Lane.CPU)
        finally:
            connection.close()

    thread = threading.Thread(target=drain)
    thread.start()
    return thread


def resume(run: Run) -> None:
    operator, _ = User.objects.get_or_create(username="operator", defaults={"is_superuser": True})
    runs.resume(run_id=run.pk, by=operator)


@pytest.mark.slow
@pytest.mark.parametrize("fault", ["full", "read-only"])
def test_a_run_pauses_with_the_cause_and_what_was_made_is_stored_when_there_is_space(
    disk: Path, worker: LaneWorker, patience: None, fault: str
) -> None:
    run = queued_runs.create_run(queued_runs.create_campaign(), queued_runs.create_endpoint(batch_size=2), 4)
    factories.MembershipFactory(brand=run.campaign.brand, user=run.requested_by, role=Role.CAMPAIGN_MANAGER)
    ballast = fill(disk) if fault == "full" else None
    if ballast is None:
        make_read_only(disk)
    thread = start_draining(worker)
    try:
        processes.wait_until(
            lambda: Run.objects.get(pk=run.pk).state == RunState.PAUSED, seconds=60, what="the run to pause"
        )
        assert fault in Run.objects.get(pk=run.pk).pause_reason
        assert Event.objects.filter(type="generation.run.paused", object_id=run.pk).count() == 1
        assert Notice.objects.filter(kind="run_paused", sentence__contains=fault).exists()
    finally:
        if ballast is None:
            make_writable(disk)
        else:
            ballast.unlink()
        subprocess.run(["mount", "-o", "remount,size=64m", str(disk)], check=True)
        thread.join(60)
    made = Job.objects.filter(run=run, status=JobState.SUCCEEDED).count()
    assert made >= 2, "the images that were in memory were stored"
    assert not Job.objects.filter(run=run, status=JobState.FAILED).exists()
    resume(run)
    worker.drain(Lane.CPU)
    assert Job.objects.filter(run=run, status=JobState.SUCCEEDED).count() == 4
    assert Master.objects.count() == 4
    assert all(stored_files.exists(master.storage_key) for master in Master.objects.all())
    assert Attempt.objects.filter(job__run=run).count() == 4, "no image was made twice"


def test_what_cannot_be_stored_for_long_waits_for_the_run_to_be_resumed(
    disk: Path, worker: LaneWorker, no_storage_wait: None
) -> None:
    run = queued_runs.create_run(queued_runs.create_campaign(), queued_runs.create_endpoint(batch_size=2), 2)
    fill(disk)
    worker.drain(Lane.CPU)
    for job in Job.objects.filter(run=run):
        assert (job.status, job.hold_reason, job.error_kind) == (JobState.HELD, HoldReason.PAUSED, ErrorKind.STORAGE)
        assert "full" in job.error
    assert set(Attempt.objects.filter(job__run=run).values_list("outcome", flat=True)) == {AttemptOutcome.FAILED}


def test_a_worker_that_stops_does_not_wait_for_space(disk: Path, worker: LaneWorker, patience: None) -> None:
    run = queued_runs.create_run(queued_runs.create_campaign(), queued_runs.create_endpoint(batch_size=1), 1)
    fill(disk)
    thread = start_draining(worker)
    processes.wait_until(lambda: Run.objects.get(pk=run.pk).state == RunState.PAUSED, seconds=60, what="a paused run")
    worker.is_stopping.set()
    thread.join(60)
    assert not thread.is_alive()
    assert Job.objects.get(run=run).status == JobState.HELD


def test_a_person_who_tries_something_out_gets_the_message_at_once(
    disk: Path, worker: LaneWorker, no_storage_wait: None
) -> None:
    run = queued_runs.create_run(queued_runs.create_campaign(), queued_runs.create_endpoint(batch_size=1), 1)
    Run.objects.filter(pk=run.pk).update(stage=Stage.SANDBOX)
    fill(disk)
    worker.drain(Lane.CPU)
    job = Job.objects.get(run=run)
    assert (job.status, job.error_kind) == (JobState.FAILED, ErrorKind.STORAGE)
    cause = causes.find_cause(status=job.status, error_kind=job.error_kind, message=job.error)
    assert (cause.code, cause.remedy) == ("storage", causes.Remedy.AGAIN)


@pytest.mark.parametrize("state", [RunState.PAUSED, RunState.FINISHED, RunState.CANCELLED, RunState.PLANNED])
def test_only_a_running_run_is_paused_for_storage(db: None, state: str) -> None:
    run = queued_runs.create_run(queued_runs.create_campaign(), queued_runs.create_endpoint(), 1)
    Run.objects.filter(pk=run.pk).update(state=state)
    assert runs.pause_for_storage(run.pk, "The disk is full.") is False
    assert Run.objects.get(pk=run.pk).state == state


def test_attempts_that_failed_for_lack_of_space_are_not_counted(db: None) -> None:
    run = queued_runs.create_run(queued_runs.create_campaign(), queued_runs.create_endpoint(batch_size=1), 1)
    for _ in range(8):
        claim = claims.claim(lane=Lane.CPU, worker="w")
        assert claim, "the job can be claimed again after each resume"
        runs.pause_for_storage(run.pk, "The disk that keeps the files is full.")
        outcomes.fail(job=claim.jobs[0], token=claim.token, error=EngineError(ErrorKind.STORAGE, "Full."), worker="w")
        assert Job.objects.get(run=run).status == JobState.HELD
        resume(run)
        assert Job.objects.get(run=run).status == JobState.QUEUED


# -- photos and pages ------------------------------------------------------------------------------------------------


def test_a_full_disk_says_when_to_ask_again() -> None:
    answer = problems.handle_exception(StorageFailed("The disk that keeps the files is full."), {})
    assert (answer.status_code, answer["Retry-After"]) == (503, "60")


def test_an_upload_to_a_full_disk_is_refused_with_words_and_attaches_nothing(
    disk: Path, brand: Any, person: Any, client: Any
) -> None:
    subject = factories.SubjectFactory(brand=brand)
    manager = person("campaign_manager")
    fill(disk)
    with pytest.raises(StorageFailed, match="full"):
        photos.attach(data=photo_file(), file_name="vase.jpg", subject_id=subject.pk, by=manager)
    assert not ReferencePhoto.objects.filter(subject=subject).exists()
    client.force_login(manager)
    page = client.get(reverse("products", args=[brand.slug]))
    assert page.status_code == 200


def test_a_fetched_photo_waits_for_space_and_the_attempt_does_not_count(disk: Path, brand: Any) -> None:
    subject = factories.SubjectFactory(brand=brand)
    photo = ReferencePhoto.objects.create(
        subject=subject, source="https://shop.example/a.jpg", position=1, attempts=4, due_at=timezone.now()
    )
    claimed = photo_loading.claim()
    assert claimed is not None
    photo_loading._end_failed(claimed, StorageFailed("The disk that keeps the files is full."))
    photo.refresh_from_db()
    assert (photo.status, photo.attempts) == (PhotoStatus.PENDING, 4)
    assert photo.notes == ["The disk that keeps the files is full."]
    assert photo_loading.claim() is None, "it waits"


# -- one bad input beside good ones ----------------------------------------------------------------------------------


@pytest.mark.parametrize("place", range(5))
def test_an_input_that_crashes_the_engine_spoils_no_other_job_of_its_batch(worker: LaneWorker, place: int) -> None:
    prompts = [f"image {n}" for n in range(5)]
    endpoint = queued_runs.create_endpoint(batch_size=5, fails={f"image {place}": "crash"})
    run = queued_runs.create_run(queued_runs.create_campaign(), endpoint, 5, prompts=prompts)
    worker.drain(Lane.CPU)
    made = Job.objects.filter(run=run, status=JobState.SUCCEEDED)
    assert made.count() == 4
    bad = Job.objects.filter(run=run).exclude(status=JobState.SUCCEEDED).get()
    assert "cannot decode this input" in bad.error
    assert bad.attempts == 1


@pytest.mark.parametrize("kind", ["missing", "folder in its place"])
def test_a_stored_input_that_is_gone_is_reported_as_such(worker: LaneWorker, media: Path, kind: str) -> None:
    from generation.engines.base import ImageRef
    from generation.workers.context import WorkContext

    key = stored_files.key_for(uuid.uuid4().hex * 2, suffix="png")
    if kind != "missing":
        (media / key).mkdir(parents=True)
    with pytest.raises(EngineError) as raised:
        WorkContext(worker.leases).load(ImageRef(sha256="0" * 64, key=key))
    assert raised.value.kind == (ErrorKind.INPUT if kind == "missing" else ErrorKind.TRANSIENT)
