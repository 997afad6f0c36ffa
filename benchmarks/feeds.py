"""Measure rows per second and memory of a feed import, and the time of approvals in the same brand meanwhile.

    make bench NAME=feeds           ROWS=100000,1000000 changes the sizes, APPROVALS=0 leaves the approvals out

The file has seven columns, decimal commas and a image per row. It is imported for the first time, again unchanged,
with every price changed, and undone. Each import runs in a process of its own, so that its peak is its own; what
PostgreSQL takes is not in it. Another process approves one image after the other through the service that people use,
five per second: first alone, then while the first import runs. The machine may do other things too: the load beside
the times and the seconds of CPU say how far they are to be trusted.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
SIZES = [int(size) for size in os.environ.get("ROWS", "1000000").split(",")]
APPROVALS = int(os.environ.get("APPROVALS", "600"))
"""Number of images that are prepared for approval."""
APPROVALS_ALONE = 100
"""Number of images that are approved before the import begins."""
PACE_SECONDS = 0.2


def write_feed(path: Path, rows: int, cents: str) -> None:
    with path.open("w") as file:
        file.write("sku;name;colour;material;price;photo;description\n")
        for number in range(rows):
            file.write(
                f"{number:08};Mug {number}, sage;sage;stoneware;{number % 90},{cents} €;mug-{number}.jpg;"
                f"A mug of stoneware, thrown and glazed by hand. Number {number}.\n"
            )


def peak_mb() -> float:
    """Return the peak memory of this process alone; getrusage would begin with the parent's peak."""
    return int(Path("/proc/self/status").read_text().partition("VmHWM:")[2].split()[0]) / 1024


def postgres_seconds() -> float:
    """Return the CPU seconds of the database server and all its processes so far, including ended ones."""
    from django.db import connection

    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_backend_pid()")
        server = _parent(cursor.fetchone()[0])
    ticks = 0
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(path.parent.name) == server:
            ticks += sum(map(int, fields[11:15]))
        elif int(fields[1]) == server:
            ticks += sum(map(int, fields[11:13]))
    return ticks / os.sysconf("SC_CLK_TCK")


def _parent(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


# -- in processes of their own -----------------------------------------------------------------------------------------


def run_import(path: str) -> dict[str, Any]:
    """Import the file and return seconds, peaks and counts."""
    from campaigns.services import imports
    from core.models import Brand, User

    brand, by = Brand.objects.get(slug="benchmark"), User.objects.get(username="benchmark")
    base, of_postgres = peak_mb(), postgres_seconds()
    started, used = time.perf_counter(), time.process_time()
    done = imports.import_feed(brand=brand, file=Path(path), file_name="feed.csv", by=by)
    seconds = time.perf_counter() - started
    return _figures(seconds, done.rows) | {
        "cpu_python": round(time.process_time() - used, 1), "cpu_postgres": round(postgres_seconds() - of_postgres, 1),
        "errors": done.error_count, "created": done.created, "updated": done.updated, "unchanged": done.unchanged,
        "peak_mb": round(peak_mb()), "import_mb": round(peak_mb() - base, 1), "import": done.pk,
    }  # fmt: skip


def run_undo(import_id: str) -> dict[str, Any]:
    from django.db import transaction

    from campaigns.services import undoing

    started = time.perf_counter()
    with transaction.atomic(durable=True):
        undone = undoing.undo(int(import_id))
    seconds = time.perf_counter() - started
    counts = {name: undone[name] for name in ("removed", "restored", "kept")}
    return _figures(seconds, counts["removed"] + counts["restored"]) | counts


def _figures(seconds: float, rows: int) -> dict[str, Any]:
    return {
        "seconds": round(seconds, 1), "rows_per_second": round(rows / seconds), "load": round(os.getloadavg()[0], 1)
    }  # fmt: skip


def measure_approvals(stop: str, count: str) -> dict[str, Any]:
    """Approve up to `count` open images at a human pace until the file `stop` exists; return milliseconds of each."""
    from core.models import User
    from review.models import ReviewTask
    from review.services import decisions
    from tests.support.images_in_review import decision_arguments

    by = User.objects.get(username="benchmark")
    tasks = list(ReviewTask.objects.filter(brand__slug="benchmark", state="open").order_by("pk")[: int(count)])
    taken: list[float] = []
    print("ready", flush=True)
    for task in tasks:
        if taken and Path(stop).exists():
            break
        what = decision_arguments(task)
        started = time.perf_counter()
        decisions.approve(by=by, **what)
        taken.append((time.perf_counter() - started) * 1000)
        time.sleep(max(0.0, PACE_SECONDS - taken[-1] / 1000))
    taken.sort()
    at = {name: round(taken[int(len(taken) * share)], 1) for name, share in (("p50", 0.5), ("p95", 0.95))}
    return at | {"worst": round(taken[-1], 1), "approvals": len(taken), "load": round(os.getloadavg()[0], 1)}


def start_process(*arguments: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "benchmarks.feeds", *arguments]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)


def read_answer(process: subprocess.Popen[str]) -> dict[str, Any]:
    text, _ = process.communicate()
    if process.returncode:
        raise SystemExit(f"{process.args} ended with {process.returncode}")
    return dict(json.loads(text.splitlines()[-1]))


# -- the whole ---------------------------------------------------------------------------------------------------------


def compare(folder: Path, rows: int) -> dict[str, dict[str, Any]]:
    from django.db import connection

    with connection.cursor() as cursor:
        cursor.execute("TRUNCATE campaigns_subject CASCADE")
    feed, changed, stop = folder / "feed.csv", folder / "changed.csv", folder / "stop"
    stop.unlink(missing_ok=True)
    write_feed(feed, rows, "90")
    write_feed(changed, rows, "95")
    answers: dict[str, dict[str, Any]] = {}

    def record(name: str, figures: dict[str, Any]) -> None:
        answers[name] = figures
        print(f"{rows:>9,} rows, {name:<16} {figures}", flush=True)

    if APPROVALS:
        create_images(APPROVALS)
        record("approvals_alone", read_answer(start_process("--approve", str(stop), str(APPROVALS_ALONE))))
    beside = start_process("--approve", str(stop), str(APPROVALS)) if APPROVALS else None
    if beside and beside.stdout:
        beside.stdout.readline()
    record("first", read_answer(start_process("--one", str(feed))))
    if beside:
        stop.touch()
        record("approvals_beside", read_answer(beside))
    record("again", read_answer(start_process("--one", str(feed))))
    record("changed", read_answer(start_process("--one", str(changed))))
    record("undo", read_answer(start_process("--undo", str(answers["changed"]["import"]))))
    return answers


def create_images(count: int) -> None:
    """Create images in review of the benchmark's brand, all in one campaign."""
    from core.models import Brand
    from tests.support import factories
    from tests.support.images_in_review import create_image_in_review

    brand = Brand.objects.get(slug="benchmark")
    campaign = factories.CampaignFactory(brand=brand)
    run = factories.RunFactory(campaign=campaign)
    specs = [factories.OutputSpecFactory(campaign=campaign)]
    for _ in range(count):
        create_image_in_review(brand, campaign=campaign, run=run, specs=specs)


def main() -> None:
    from django.core.management import call_command

    from core.models import Brand, User

    call_command("migrate", verbosity=0)
    Brand.objects.get_or_create(slug="benchmark", defaults={"name": "Benchmark"})
    if not User.objects.filter(username="benchmark").exists():
        User.objects.create_superuser("benchmark")
    figures: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as folder:
        for rows in SIZES:
            answers = compare(Path(folder), rows)
            size = f"{rows // 1000}k"
            for name in ("first", "again", "changed", "undo"):
                figures[f"rows_per_second_{name}_{size}"] = answers[name]["rows_per_second"]
            imports = [answers[name] for name in ("first", "again", "changed")]
            figures[f"import_mb_{size}"] = max(done["import_mb"] for done in imports)
            figures[f"cpu_seconds_first_{size}"] = round(imports[0]["cpu_python"] + imports[0]["cpu_postgres"], 1)
            for name in ("alone", "beside") if APPROVALS else ():
                figures[f"approval_p95_ms_{name}_{size}"] = answers[f"approvals_{name}"]["p95"]
    figures["load"] = round(os.getloadavg()[0], 1)
    print(json.dumps(figures))


MODES = {"--one": run_import, "--undo": run_undo, "--approve": measure_approvals}

if __name__ == "__main__":
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
    import django

    if mode := MODES.get(sys.argv[1] if len(sys.argv) > 1 else ""):
        django.setup()
        print(json.dumps(mode(*sys.argv[2:])))
    else:
        from config import embedded

        with tempfile.TemporaryDirectory(prefix="bench") as home:
            for setting in ("DATABASE_URL", "REDIS_URL"):
                os.environ.pop(setting, None)
            os.environ["PROOFLINE_VAR"] = home
            with embedded.services():
                django.setup()
                main()
