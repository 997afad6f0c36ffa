"""Measure images per second through the whole pipeline, compared with only encoding the same pixels.

The pipeline: claim, generate (an engine that returns ready pixels), check, develop, store with thumbnails, write
version, findings, ledger and events, open a review task. Two worker processes use an embedded PostgreSQL with fsync on.
Baselines, in as many processes: (a) the master's own encoder and parameters, (b) Pillow's `Image.save` as default PNG.

    make bench NAME=line            JOBS=… SIZE=… change the size of the trial
"""

from __future__ import annotations

import io
import json
import multiprocessing
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
JOBS = int(os.environ.get("JOBS", "240"))
SIZE = int(os.environ.get("SIZE", "1024"))
WORKERS = 2
IMAGES = 8
BASELINE_SECONDS = 8.0


def _encode_master(pixels) -> bytes:
    from generation.finishing import encode

    return encode.encode_master(pixels).data


def _encode_png(pixels) -> bytes:
    from PIL import Image

    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "PNG")
    return stream.getvalue()


def _count(name: str, gate, results) -> None:
    """Encode for BASELINE_SECONDS after the gate opens, and put images per second into `results`."""
    from tests.support.engines import noise_pixels

    encode = {"master": _encode_master, "png": _encode_png}[name]
    images = [noise_pixels(seed, SIZE, SIZE) for seed in range(4)]
    encode(images[0])
    gate.wait()
    started, done = time.perf_counter(), 0
    while time.perf_counter() - started < BASELINE_SECONDS:
        encode(images[done % len(images)])
        done += 1
    results.put(done / (time.perf_counter() - started))


def baseline(name: str) -> float:
    """Return images per second of `name`'s encoder in WORKERS processes at once."""
    context = multiprocessing.get_context("spawn")
    gate, results = context.Barrier(WORKERS), context.Queue()
    processes = [context.Process(target=_count, args=(name, gate, results)) for _ in range(WORKERS)]
    for process in processes:
        process.start()
    rates = [results.get() for _ in processes]
    for process in processes:
        process.join()
    return sum(rates)


def line() -> dict[str, float]:
    """Run JOBS jobs through two workers; times are read from the database rows."""
    import django

    django.setup()
    from django.core.management import call_command
    from django.db.models import Max, Min

    from core.models import Event
    from generation.models import Attempt, Endpoint, Job, Master, Worker
    from review.models import ReviewTask
    from tests.support import queued_runs

    call_command("migrate", verbosity=0)
    endpoint = queued_runs.create_endpoint(batch_size=4, images=IMAGES)
    Endpoint.objects.update(seconds_per_image=0.2)
    campaign = queued_runs.create_campaign()
    campaign.output_specs.all().delete()  # masters and thumbnails only: renditions depend on what a campaign wants
    warm = queued_runs.create_run(campaign, endpoint, 16, size=SIZE)
    workers = [
        subprocess.Popen(
            [sys.executable, "manage.py", "worker", "cpu"], cwd=ROOT, env=os.environ, stdout=subprocess.DEVNULL
        )
        for _ in range(WORKERS)
    ]
    try:
        _wait(lambda: not Job.objects.filter(run=warm).exclude(status="succeeded").exists(), workers)
        _wait(lambda: Worker.objects.count() == WORKERS, workers)
        run = queued_runs.create_run(campaign, endpoint, JOBS, size=SIZE)
        _wait(lambda: not Job.objects.filter(run=run).exclude(status="succeeded").exists(), workers)
        _wait(lambda: ReviewTask.objects.count() == JOBS + 16, workers)
        time.sleep(3)  # one more heartbeat, for the peak memory
    finally:
        for worker in workers:
            worker.terminate()
        for worker in workers:
            worker.wait()
    attempts = Attempt.objects.filter(job__run=run)
    started = attempts.aggregate(at=Min("started_at"))["at"]
    jobs = list(Job.objects.filter(run=run).values_list("pk", flat=True))
    ended = Event.objects.filter(type="generation.job.succeeded", object_id__in=jobs).aggregate(at=Max("at"))["at"]
    assert attempts.filter(outcome="succeeded").count() == JOBS
    assert Master.objects.filter(versions__job__run=run).values("sha256").distinct().count() == JOBS
    return {
        "images_per_second": JOBS / (ended - started).total_seconds(),
        "peak_mb": max(Worker.objects.values_list("peak_rss_bytes", flat=True)) / 1e6,
    }


def _wait(done, workers, seconds: float = 300) -> None:
    until = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < until, "the line stands still"
        assert all(worker.poll() is None for worker in workers), "a worker died"
        time.sleep(1)  # each look takes processor time from the workers


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="bench") as folder:
        for name in ("DATABASE_URL", "REDIS_URL"):
            os.environ.pop(name, None)
        os.environ |= {
            "PROOFLINE_VAR": folder,
            "PROOFLINE_PLUGINS": "tests.support.engines",
            "LOG_LEVEL": "WARNING",
            "DJANGO_SETTINGS_MODULE": "config.settings",
            "PROOFLINE_PLAIN_STATIC": "1",
        }
        from config import embedded

        master, png = baseline("master"), baseline("png")
        with embedded.services():
            figures = line()
    rate = figures["images_per_second"]
    for name, value in (("the line", rate), ("bare master", master), ("bare PNG", png)):
        print(f"{name:12}{value:8.2f} images/s")
    print(
        json.dumps(
            {
                "images_per_second": round(rate, 3),
                "ratio_master": round(rate / master, 3),
                "ratio_png": round(rate / png, 3),
                "peak_mb": round(figures["peak_mb"], 1),
                "baseline_master_per_second": round(master, 3),
                "baseline_png_per_second": round(png, 3),
                "jobs": JOBS,
                "size": SIZE,
                "workers": WORKERS,
            }
        )
    )


if __name__ == "__main__":
    main()
