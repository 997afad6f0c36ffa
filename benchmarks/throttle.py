"""Send 1,000 jobs to three throttled services through the real remote lane, and measure how close the time is to the
least that their limits allow, and how many submissions were refused for coming too fast (429).

One service limits submissions per second, one per minute, one the number at the same time. They are our own servers on
real sockets in a process of their own, and speak OpenAI's images API; images are tiny, so that only the limits take
time. Trial 1: the endpoints know the limits. Trial 2: they have to learn them. Workers are real processes on an
embedded PostgreSQL with fsync on. The time runs from the moment at which all jobs may be claimed to the commit of the
last image; allowed is the least time in which the services could have answered everything.

    make bench NAME=throttle        JOBS=… WORKERS=… TRIAL=known or found change the trial
"""

from __future__ import annotations

import contextlib
import json
import multiprocessing
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
JOBS = int(os.environ.get("JOBS", "1000"))
WORKERS = int(os.environ.get("WORKERS", "2"))
TRIALS = (os.environ["TRIAL"],) if "TRIAL" in os.environ else ("known", "found")
SIZE = 64
LEAD_SECONDS = 4.0
"""Time between the last row written and the moment from which jobs may be claimed."""


@dataclass(frozen=True)
class ServicePlan:
    """One service: its share of the jobs, the time for one job, and its limits, of which one takes effect."""

    name: str
    share: float
    work_seconds: float
    per_second: int = 0
    per_minute: int = 0
    at_once: int = 0

    @property
    def jobs(self) -> int:
        return round(JOBS * self.share)

    @property
    def allowed_seconds(self) -> float:
        """The least time in which the service can answer all of its jobs."""
        full_windows = self.jobs - 1
        if self.per_second:
            return full_windows // self.per_second + self.work_seconds
        if self.per_minute:
            return full_windows // self.per_minute * 60 + self.work_seconds
        return -(-self.jobs // self.at_once) * self.work_seconds

    @property
    def columns(self) -> dict[str, Any]:
        """The limits as an endpoint's columns."""
        return {
            "max_per_second": self.per_second or None,
            "max_per_minute": self.per_minute or None,
            "max_concurrent": self.at_once or 64,
        }


PLANS = (
    ServicePlan("per second", 0.36, 0.3, per_second=2),
    ServicePlan("per minute", 0.34, 0.3, per_minute=100),
    ServicePlan("at once", 0.30, 4.7, at_once=8),
)


def _serve(channel: Any) -> None:
    """Run the three services until a message comes on the channel; then send what they counted."""
    from tests.support.openai_server import GENERATIONS, OpenAIServer
    from tests.support.remote_server import Window, serving

    with contextlib.ExitStack() as stack:
        services = []
        for plan in PLANS:
            windows = [Window(plan.per_second, 1.0)] if plan.per_second else []
            windows += [Window(plan.per_minute, 60.0)] if plan.per_minute else []
            made = OpenAIServer(
                is_compatible=True, seconds=plan.work_seconds, limits=tuple(windows), most_at_once=plan.at_once
            )
            services.append(stack.enter_context(serving(made)))
        channel.send([service.url for service in services])
        channel.recv()
        channel.send(
            [
                {
                    "submissions": service.counts[GENERATIONS],
                    "refused": service.refused[GENERATIONS],
                    "made": len(service.made),
                    "jobs": len({image.prompt for image in service.made}),
                }
                for service in services
            ]
        )


@contextlib.contextmanager
def services() -> Iterator[tuple[list[str], Any]]:
    """Yield (addresses, a function that ends the services and returns what each counted)."""
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe()
    process = context.Process(target=_serve, args=(there,), daemon=True)
    process.start()
    there.close()  # so that this process notices if the other one dies

    def ended() -> list[dict[str, int]]:
        here.send("end")
        counted: list[dict[str, int]] = here.recv()
        return counted

    try:
        yield here.recv(), ended
    finally:
        process.terminate()
        process.join()


def trial(name: str, campaign: Any) -> dict[str, Any]:
    """Run one trial and return the figures of the whole and of each service."""
    from django.db.models import Max
    from django.utils import timezone

    from core.choices import Lane
    from core.models import Event
    from generation.models import Endpoint, Job
    from tests.support import queued_runs
    from tests.support.openai_server import KEY

    with services() as (urls, ended), workers() as alive:
        endpoints = []
        for plan, url in zip(PLANS, urls, strict=True):
            made = queued_runs.create_endpoint(
                engine="openai", lane=Lane.CLOUD, base_url=f"{url}/v1", model="bench", profile="compatible"
            )
            columns = plan.columns if name == "known" else {}
            Endpoint.objects.filter(pk=made.pk).update(**columns, seconds_per_image=plan.work_seconds)
            made.refresh_from_db()
            made.secret = KEY
            made.save()
            endpoints.append(made)
        Job.objects.filter(status="queued").delete()
        Endpoint.objects.filter(lane=Lane.CLOUD).exclude(pk__in=[endpoint.pk for endpoint in endpoints]).update(
            is_enabled=False
        )
        Endpoint.objects.filter(pk__in=[endpoint.pk for endpoint in endpoints]).update(is_enabled=False)
        runs = [
            queued_runs.create_run(campaign, endpoint, plan.jobs, size=SIZE)
            for plan, endpoint in zip(PLANS, endpoints, strict=True)
        ]
        start = timezone.now() + timedelta(seconds=LEAD_SECONDS)
        Job.objects.filter(run__in=runs).update(not_before=start)
        Endpoint.objects.filter(pk__in=[endpoint.pk for endpoint in endpoints]).update(is_enabled=True)
        longest = max(plan.allowed_seconds for plan in PLANS)
        _wait(lambda: not _has_open_jobs(runs), alive, seconds=LEAD_SECONDS + 5 * longest + 60)
        counted = ended()
    rows = []
    for plan, run, server in zip(PLANS, runs, counted, strict=True):
        jobs = list(Job.objects.filter(run=run).values_list("pk", flat=True))
        last = Event.objects.filter(type="generation.job.succeeded", object_id__in=jobs).aggregate(at=Max("at"))["at"]
        failed = Job.objects.filter(run=run).exclude(status="succeeded").values_list("status", "error")
        assert not failed, f"{len(failed)} jobs of {plan.name} were not made, such as {failed[0]}"
        assert server["made"] == server["jobs"] == plan.jobs, "something was paid for twice"
        seconds = (last - start).total_seconds()
        rows.append({"service": plan.name, "seconds": seconds, "allowed": plan.allowed_seconds, **server})
    wall, allowed = max(row["seconds"] for row in rows), max(row["allowed"] for row in rows)
    submissions, refused = (sum(row[what] for row in rows) for what in ("submissions", "refused"))
    return {"wall": wall, "allowed": allowed, "submissions": submissions, "refused": refused, "services": rows}


def _has_open_jobs(runs: list[Any]) -> bool:
    from generation.models import Job

    return Job.objects.filter(run__in=runs).exclude(status__in=("succeeded", "failed", "held", "cancelled")).exists()


@contextlib.contextmanager
def workers() -> Iterator[list[subprocess.Popen[bytes]]]:
    from generation.models import Worker

    Worker.objects.all().delete()
    command = [sys.executable, "manage.py", "worker", "cloud"]
    started = [subprocess.Popen(command, cwd=ROOT, env=os.environ, stdout=subprocess.DEVNULL) for _ in range(WORKERS)]
    try:
        _wait(lambda: Worker.objects.count() == WORKERS, started, seconds=120)
        yield started
    finally:
        for worker in started:
            worker.terminate()
        for worker in started:
            worker.wait()


def _wait(done: Any, started: list[subprocess.Popen[bytes]], *, seconds: float) -> None:
    until = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < until, "the lane stands still"
        assert all(worker.poll() is None for worker in started), "a worker died"
        time.sleep(0.5)


def measure() -> dict[str, dict[str, Any]]:
    import django

    django.setup()
    from django.core.management import call_command

    from tests.support import queued_runs

    call_command("migrate", verbosity=0)
    campaign = queued_runs.create_campaign()
    campaign.output_specs.all().delete()
    return {name: trial(name, campaign) for name in TRIALS}


def processor_seconds() -> tuple[float, float]:
    """Return (all processor seconds, those used by other virtual machines), counted by Linux since its start."""
    with open("/proc/stat") as stat:
        spent = [int(ticks) / os.sysconf("SC_CLK_TCK") for ticks in stat.readline().split()[1:9]]
    return sum(spent), spent[7]


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="bench") as folder:
        for name in ("DATABASE_URL", "REDIS_URL"):
            os.environ.pop(name, None)
        os.environ |= {
            "PROOFLINE_VAR": folder,
            "PROOFLINE_PLUGINS": "tests.support.engines",
            "LOG_LEVEL": "ERROR",
            "DJANGO_SETTINGS_MODULE": "config.settings",
            "PROOFLINE_PLAIN_STATIC": "1",
        }
        from config import embedded

        with embedded.services():
            before = processor_seconds()
            figures = measure()
            spent, stolen = (later - earlier for later, earlier in zip(processor_seconds(), before, strict=True))
    print(f"Other machines had {stolen / spent:.1%} of the processors' time: above a few per cent try again later.")
    report: dict[str, Any] = {"jobs": JOBS, "workers": WORKERS, "stolen_share": round(stolen / spent, 4)}
    for name, trial_figures in figures.items():
        over, share = (
            trial_figures["wall"] / trial_figures["allowed"] - 1,
            trial_figures["refused"] / trial_figures["submissions"],
        )
        print(
            f"limits {name}: {trial_figures['wall']:.1f} s of {trial_figures['allowed']:.1f} s allowed ({over:+.1%}),",
            end=" ",
        )
        print(f"{trial_figures['refused']} of {trial_figures['submissions']} submissions refused ({share:.1%})")
        for row in trial_figures["services"]:
            print(
                f"    {row['service']:12}{row['jobs']:5} jobs{row['seconds']:8.1f} s of {row['allowed']:5.1f} s"
                f"{row['refused']:6} refused"
            )
        report |= {
            f"{name}_seconds": round(trial_figures["wall"], 2),
            f"{name}_over_allowed": round(over, 4),
            f"{name}_refused": trial_figures["refused"],
            f"{name}_refused_share": round(share, 4),
        }
    print(json.dumps(report))


if __name__ == "__main__":
    main()
