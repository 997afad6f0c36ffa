"""Measure how long planning takes for 10,000 and 50,000 jobs, and how fast claims are among 1,000,000 queued ones.

Planning uses the service, from subjects in the database to held jobs in it: rendering, checking, fingerprints, COPY.
Each size is planned in a new process, so that its peak memory is its own. Claims use dispatch.claim in 1 and in 16
processes at once, each with its own connection, durable commits on. Twenty campaigns of very different size share the
lane, and the numbers of their claimed jobs are compared.

    make bench NAME=plan            ROWS=… SECONDS=… CLAIMERS=… change the trial of claims
"""

from __future__ import annotations

import json
import multiprocessing
import os
import resource
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
ROWS = int(os.environ.get("ROWS", "1000000"))
SECONDS = float(os.environ.get("SECONDS", "10"))
CLAIMERS = int(os.environ.get("CLAIMERS", "16"))
CAMPAIGNS = 20
SIZES = (10_000, 50_000)
REPEATS = 3
BATCH = 4

PER_CELL = 30_000
_CELLS = """
INSERT INTO generation_cell (run_id, subject_id, axis_values, values_key, aspect, position)
SELECT %(run)s, %(subject)s, '{}', n::text, '1:1', n FROM generate_series(0, (%(count)s - 1) / %(per_cell)s) n
"""
_JOBS = """
INSERT INTO generation_job (run_id, cell_id, campaign_id, endpoint_id, lane, batch_key, priority, status, hold_reason,
                            remote_id, is_cancel_requested, attempts, deaths, error_kind, error, step, steps)
SELECT %(run)s, c.id, %(campaign)s, %(endpoint)s, 'gpu', 'k' || n %% 3, n %% 2, 'queued', '',
       '', false, 0, 0, '', '', 0, 0
FROM generation_cell c, generate_series(0, %(per_cell)s - 1) n
WHERE c.run_id = %(run)s AND c.position * %(per_cell)s + n < %(count)s
"""
_SPECS = """
INSERT INTO generation_jobspec (job_id, brand_id, cell_id, round, candidate, fingerprint, quoted_cost, spec)
SELECT id, %(brand)s, cell_id, row_number() OVER (PARTITION BY cell_id ORDER BY id), 1, lpad(id::text, 64, '0'), 0,
       jsonb_build_object(
           'prompt', 'a stoneware mug in sage, studio light, number ' || id, 'negative', 'text, logo', 'width', 1024,
           'height', 1024, 'seed', id, 'candidate', 1, 'parameters', '{}'::jsonb, 'images', '{}'::jsonb
       )
FROM generation_job WHERE run_id = %(run)s
"""


def _setup() -> None:
    import django

    django.setup()


# -- planning ------------------------------------------------------------------------------------------------------


def prepare(jobs: int) -> dict[str, Any]:
    """Create a campaign whose pilot has so many jobs: a quarter as many subjects, two backdrops, two candidates."""
    from tests.support import factories

    brand = factories.BrandFactory()
    manager = factories.UserFactory(is_superuser=True)
    campaign = factories.CampaignFactory(brand=brand, owner=manager)
    factories.OutputSpecFactory(campaign=campaign, width=1600, height=1600)
    factories.OutputSpecFactory(campaign=campaign, width=400, height=400)
    factories.GuideVersionFactory(brand=brand, status="published", banned_wording=["cheap"])
    version = factories.PromptVersionFactory(
        template__brand=brand,
        text="{name}, {colour} {material}, on a {backdrop} backdrop, {mood|calm}",
        negative="text, logo",
        axes={"backdrop": ["white", "clay"]},
        parameters={},
        needs={},
        candidates=2,
        created_by=manager,
    )
    _subjects(brand.pk, campaign.pk, jobs // 4)
    endpoint = factories.EndpointFactory(engine="ready", price_per_image="0.04")
    return {"campaign": campaign.pk, "version": version.pk, "endpoint": endpoint.pk, "by": manager.pk}


def _subjects(brand_id: int, campaign_id: int, count: int) -> None:
    from django.db import connection

    with connection.cursor() as cursor:
        cursor.execute(
            """INSERT INTO campaigns_subject (brand_id, kind, key, name, attributes, is_active, created_at, updated_at)
               SELECT %s, 'product', 'SKU-' || lpad(n::text, 6, '0'), 'Mug ' || n,
                      jsonb_build_object('colour', 'sage', 'material', 'stoneware', 'price', n), true, now(), now()
               FROM generate_series(1, %s) n""",
            [brand_id, count],
        )
        cursor.execute(
            """INSERT INTO campaigns_campaign_subjects (campaign_id, subject_id)
               SELECT %s, id FROM campaigns_subject WHERE brand_id = %s""",
            [campaign_id, brand_id],
        )
        cursor.execute("ANALYZE campaigns_subject, campaigns_campaign_subjects")


def plan_once(ids: dict[str, int], results: Any) -> None:
    """Plan REPEATS times, in a process of its own, and put median seconds, queries and memory into `results`."""
    _setup()
    from django.db import connection
    from django.test.utils import CaptureQueriesContext

    from campaigns.models import Campaign, PromptVersion
    from core.models import User
    from generation.models import Endpoint
    from generation.services.planning import plans as planning
    from generation.services.planning.plan_requests import PlanArguments

    request = PlanArguments(
        campaign=Campaign.objects.select_related("brand").get(pk=ids["campaign"]),
        prompt_version=PromptVersion.objects.get(pk=ids["version"]),
        endpoint=Endpoint.objects.get(pk=ids["endpoint"]),
        by=User.objects.get(pk=ids["by"]),
        stage="partial",
    )
    planning.plan(replace(request, sample=10))  # imports and caches
    before = _peak_mb()
    times = []
    for _ in range(REPEATS):
        started = time.perf_counter()
        run = planning.plan(request)
        times.append(time.perf_counter() - started)
    grown = _peak_mb() - before
    with CaptureQueriesContext(connection) as captured:
        planning.plan(request)
    started = time.perf_counter()
    seen = planning.preview(request)
    results.put(
        {
            "jobs": run.job_count,
            "seconds": sorted(times)[len(times) // 2],
            "queries": len(captured),
            "memory_mb": grown,
            "preview_seconds": time.perf_counter() - started,
            "previewed": seen.jobs,
        }
    )


def _peak_mb() -> float:
    """Return the peak memory of this process. That of getrusage may be inherited from its parent over fork and exec."""
    if not Path("/proc/self/status").exists():
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20  # bytes on macOS
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) / 1024


def _in_process(work: Any, *arguments: Any) -> Any:
    context = multiprocessing.get_context("spawn")
    results = context.Queue()
    process = context.Process(target=work, args=(*arguments, results))
    process.start()
    answer = results.get()
    process.join()
    return answer


# -- claims --------------------------------------------------------------------------------------------------------


@contextmanager
def _without_foreign_keys(cursor: Any) -> Iterator[None]:
    """Drop the foreign keys while the tables are filled, which is not measured; then add them without validation."""
    cursor.execute(
        """SELECT conrelid::regclass::text, conname, pg_get_constraintdef(oid) FROM pg_constraint
           WHERE contype = 'f' AND conrelid IN ('generation_job'::regclass, 'generation_jobspec'::regclass)"""
    )
    keys = cursor.fetchall()
    for table, name, _ in keys:
        cursor.execute(f'ALTER TABLE {table} DROP CONSTRAINT "{name}"')
    yield
    for table, name, definition in keys:
        cursor.execute(f'ALTER TABLE {table} ADD CONSTRAINT "{name}" {definition} NOT VALID')


def fill() -> None:
    """Create ROWS queued jobs of CAMPAIGNS campaigns: the first has more than half of them, the last very few."""
    from django.db import connection

    from generation.services.dispatch import claims as dispatch
    from tests.support import factories

    brand = factories.BrandFactory()
    endpoint = factories.EndpointFactory(engine="ready", lane="gpu", batch_size=BATCH, seconds_per_image=1.0)
    small = ROWS * 9 // (20 * (CAMPAIGNS - 1))
    with connection.cursor() as cursor, _without_foreign_keys(cursor):
        for number in range(CAMPAIGNS):
            count = ROWS - small * (CAMPAIGNS - 1) if number == 0 else small
            run = factories.RunFactory(campaign__brand=brand, endpoint=endpoint, job_count=count)
            subject = factories.SubjectFactory(brand=brand)
            values = {"run": run.pk, "campaign": run.campaign_id, "brand": brand.pk, "endpoint": endpoint.pk}
            values |= {"subject": subject.pk, "count": count, "per_cell": PER_CELL}
            for statement in (_CELLS, _JOBS, _SPECS):
                cursor.execute(statement, values)
            dispatch.activate(lane="gpu", campaign_id=run.campaign_id)
    with connection.cursor() as cursor:
        for table in ("generation_job", "generation_jobspec", "generation_laneshare"):
            cursor.execute(f"VACUUM (ANALYZE) {table}")


def claim_repeatedly(name: str, gate: Any, results: Any) -> None:
    """Claim for SECONDS after the gate opens, and put latencies in milliseconds, job ids and their campaigns into
    `results`."""
    _setup()
    from django.db import connection

    from core import sql
    from generation.services.dispatch import claims as dispatch

    sql.prepare_repeated_statements()  # as the worker does
    connection.ensure_connection()
    gate.wait()
    latencies, ids, owners, empty = [], [], Counter(), 0
    until = time.perf_counter() + SECONDS
    while (started := time.perf_counter()) < until:
        claim = dispatch.claim(lane="gpu", worker=name, limit=BATCH)
        latencies.append((time.perf_counter() - started) * 1000)
        ids += [job.id for job in claim.jobs]
        owners.update(job.campaign_id for job in claim.jobs)
        empty += not claim
    results.put((latencies, ids, owners, empty))


def measure_claims(claimers: int) -> dict[str, Any]:
    """Return the figures of so many claimers at once."""
    context = multiprocessing.get_context("spawn")
    gate, results = context.Barrier(claimers), context.Queue()
    processes = [
        context.Process(target=claim_repeatedly, args=(f"claimer-{number}", gate, results))
        for number in range(claimers)
    ]
    for process in processes:
        process.start()
    answers = [results.get() for _ in processes]
    for process in processes:
        process.join()
    latencies = sorted(latency for answer in answers for latency in answer[0])
    ids = [job for answer in answers for job in answer[1]]
    owners = sum((answer[2] for answer in answers), Counter())
    assert len(set(ids)) == len(ids), "a job was claimed twice"
    shares = [owners.get(campaign, 0) for campaign in _campaigns()]
    served = len(latencies) - sum(answer[3] for answer in answers)
    return {
        "claims_per_second": served / SECONDS,
        "jobs_per_second": len(ids) / SECONDS,
        "p50_ms": latencies[len(latencies) // 2],
        "p95_ms": latencies[len(latencies) * 95 // 100],
        "empty": sum(answer[3] for answer in answers),
        "fairness": min(shares) / max(shares),
    }


def _campaigns() -> list[int]:
    from generation.models import LaneShare

    return list(LaneShare.objects.filter(lane="gpu").values_list("campaign_id", flat=True))


# -- all of it -----------------------------------------------------------------------------------------------------


def measure() -> dict[str, Any]:
    _setup()
    from django.core.management import call_command
    from django.db import connection

    call_command("migrate", verbosity=0)
    plans = {}
    for size in SIZES:
        plans[size] = _in_process(plan_once, prepare(size))
        assert plans[size]["jobs"] == plans[size]["previewed"] == size, plans[size]
        print(
            f"plan {size:>7,}: " + ", ".join(f"{name} {value:.2f}" for name, value in plans[size].items()), flush=True
        )
    started = time.perf_counter()
    fill()
    print(f"{ROWS:,} queued rows filled in {time.perf_counter() - started:.0f} s", flush=True)
    connection.close()
    alone, together = measure_claims(1), measure_claims(CLAIMERS)
    for count, figures in ((1, alone), (CLAIMERS, together)):
        print(
            f"{count:>3} claimers: " + ", ".join(f"{name} {value:.2f}" for name, value in figures.items()), flush=True
        )
    small, large = (plans[size] for size in SIZES)
    return {
        "plan_10k_seconds": round(small["seconds"], 3),
        "plan_50k_seconds": round(large["seconds"], 3),
        "plan_queries": small["queries"],
        "plan_50k_queries": large["queries"],
        "plan_10k_memory_mb": round(small["memory_mb"], 1),
        "plan_50k_memory_mb": round(large["memory_mb"], 1),
        "plan_growth": round(large["seconds"] / small["seconds"], 2),
        "preview_10k_seconds": round(small["preview_seconds"], 3),
        "queued_rows": ROWS,
        "claims_per_second_1": round(alone["claims_per_second"], 1),
        "claims_per_second_16": round(together["claims_per_second"], 1),
        "jobs_per_second_16": round(together["jobs_per_second"], 1),
        "claim_p50_ms": round(together["p50_ms"], 2),
        "claim_p95_ms": round(together["p95_ms"], 2),
        "claim_p95_ms_1": round(alone["p95_ms"], 2),
        "fairness": round(together["fairness"], 3),
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
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
