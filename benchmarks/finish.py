"""Measure what a worker does to store one finished image apart from its pixels: CPU time, queries, share of the ORM.

An engine returns ready pixels of 64 × 64 px. A worker's own functions load the job contexts, develop the images, store
the files and write all rows: master, version, findings, rendition, attempt, ledger, events and review task. Times are
CPU time of the thread, so that a busy machine disturbs them little. Developing the same pixels is measured apart and
subtracted. The share of the ORM comes from a profiler, which runs for other images than those that are timed.

    make bench NAME=finish          IMAGES=… BATCH=… change the trial
"""

from __future__ import annotations

import cProfile
import json
import os
import pstats
import statistics
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
IMAGES = int(os.environ.get("IMAGES", "400"))
BATCH = int(os.environ.get("BATCH", "8"))
EXTRA = 10 * BATCH
"""Images before the timed ones, under the profiler, and with counted queries: so many each."""
SIZE = 64
ORM = ("/django/db/", "/psycopg/", "psycopg_binary")
"""Parts of the paths of Django's ORM and of the driver."""


class Finisher:
    """Finishes batches as a lane worker does, on this thread. milliseconds: CPU time of each image, by step."""

    def __init__(self, endpoint: Any) -> None:
        from generation.services.planning import fingerprints
        from generation.workers.context import Engines, WorkContext
        from generation.workers.leases import Leases
        from generation.workers.result_writer import ResultWriter

        leases = Leases("bench", ["cpu"])
        self.endpoint = endpoint
        self.writer = ResultWriter("bench", leases, threading.Event())
        self.context = WorkContext(leases)
        self.engine = Engines().get(endpoint)
        self.maker = fingerprints.get_maker(endpoint, self.engine)
        self.milliseconds: dict[str, list[float]] = {"contexts": [], "develop": [], "complete": []}

    def finish(self, images: int, profile: cProfile.Profile | None = None) -> None:
        """Claim and finish so many images."""
        from generation.engines.base import Spec, Task
        from generation.finishing.develop import develop
        from generation.services.dispatch import claims
        from generation.workers.job_contexts import load_contexts

        for _ in range(images // BATCH):
            claim = claims.claim(lane="cpu", worker="bench", limit=BATCH)
            assert len(claim.jobs) == BATCH, "there are too few jobs"
            with self._timed("contexts"):
                contexts = load_contexts(claim.jobs, engine=self.endpoint.engine)
            tasks = [Task(job.id, Spec.from_json(job.spec)) for job in claim.jobs]
            for job, result in zip(claim.jobs, list(self.engine.generate(tasks, self.context)), strict=True):
                context = contexts[job.id]
                with self._timed("develop"):
                    develop(result.pixels, context.facts, [target for _, target in context.targets])
                arguments = (job, claim, context, result, self.engine, self.maker)
                with self._timed("complete"):
                    if profile is None:
                        self.writer.complete(*arguments)
                    else:
                        profile.runcall(self.writer.complete, *arguments)

    def take_means(self) -> dict[str, float]:
        """Return the mean milliseconds of each step, and begin anew."""
        means = {name: statistics.median(values) for name, values in self.milliseconds.items()}
        for values in self.milliseconds.values():
            values.clear()
        return {**means, "contexts": means["contexts"] / BATCH}

    @contextmanager
    def _timed(self, step: str) -> Iterator[None]:
        started = time.thread_time()
        yield
        self.milliseconds[step].append(1000 * (time.thread_time() - started))


def share_of_orm(profile: cProfile.Profile) -> float:
    """Return the share of the ORM and the driver in the profiled time without developing."""
    rows = pstats.Stats(profile).stats.items()  # type: ignore[attr-defined]
    orm = sum(row[2] for (file, _, _), row in rows if any(part in file for part in ORM))
    developed = sum(row[3] for (file, _, name), row in rows if name == "develop" and file.endswith("develop.py"))
    return orm / (sum(row[2] for _, row in rows) - developed)


def measure() -> dict[str, float]:
    import django

    django.setup()
    from django.core.management import call_command
    from django.db import connection

    from core import sql
    from core.models import Event
    from generation.models import Attempt, JobSpec, LedgerEntry, Rendition
    from review.models import ReviewTask
    from tests.support import queued_runs

    sql.prepare_repeated_statements()  # as the worker does
    call_command("migrate", verbosity=0)
    endpoint = queued_runs.create_endpoint(batch_size=BATCH, images=8)
    queued_runs.create_run(queued_runs.create_campaign(), endpoint, IMAGES + 4 * EXTRA, size=SIZE)
    finisher = Finisher(endpoint)
    JobSpec.objects.update(maker=finisher.maker.to_json())
    finisher.finish(EXTRA)
    finisher.take_means()
    finisher.finish(IMAGES)
    means = finisher.take_means()
    statements: Counter[str] = Counter()

    def count(execute: Any, sql: str, *arguments: Any) -> Any:
        statements[sql] += 1
        return execute(sql, *arguments)

    with connection.execute_wrapper(count):
        finisher.finish(EXTRA)
    if "STATEMENTS" in os.environ:
        for statement, times in statements.items():
            print(f"{times / EXTRA:6.3f} {' '.join(statement.split())[:170]}")
    profile = cProfile.Profile(time.thread_time)
    finisher.finish(EXTRA, profile)
    if "PROFILE" in os.environ:
        profile.dump_stats(os.environ["PROFILE"])
    done = IMAGES + 3 * EXTRA
    for kind in ("generation.job.succeeded", "generation.version.ready", "review.task.opened"):
        assert Event.objects.filter(type=kind).count() == done, kind
    rows = (Attempt.objects.filter(outcome="succeeded"), LedgerEntry.objects, Rendition.objects, ReviewTask.objects)
    assert [row.count() for row in rows] == [done] * len(rows)
    return {
        "cpu_ms": means["complete"] - means["develop"] + means["contexts"],
        "contexts_ms": means["contexts"],
        "develop_ms": means["develop"],
        "queries": statements.total() / EXTRA,
        "orm_share": share_of_orm(profile),
        "images": IMAGES,
        "batch": BATCH,
    }


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

        with embedded.services():
            figures = measure()
    print(json.dumps({name: round(value, 3) for name, value in figures.items()}))


if __name__ == "__main__":
    main()
