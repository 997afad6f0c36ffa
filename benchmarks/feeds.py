"""Rows per second and memory of a whole feed import: first time, again unchanged, and with every price changed.

    make bench NAME=feeds           ROWS=100000,1000000 changes the sizes

Each import runs in a fresh process of its own, so that its peak is its own. The file has seven columns, decimal commas
and a picture per row. Peak is that of the importing process; PostgreSQL's is not in it.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
SIZES = [int(size) for size in os.environ.get("ROWS", "100000").split(",")]


def write_feed(path: Path, rows: int, cents: str) -> None:
    with path.open("w") as file:
        file.write("sku;name;colour;material;price;photo;description\n")
        for number in range(rows):
            file.write(
                f"{number:08};Mug {number}, sage;sage;stoneware;{number % 90},{cents} €;mug-{number}.jpg;"
                f"A mug of stoneware, thrown and glazed by hand. Number {number}.\n"
            )


def peak_mb() -> float:
    """Of this process alone: getrusage begins with the parent's peak."""
    return int(Path("/proc/self/status").read_text().partition("VmHWM:")[2].split()[0]) / 1024


def one_import(path: str) -> None:
    """In a process of its own: import the file, print seconds, peaks and counts as JSON."""
    import django

    django.setup()
    from campaigns.models import Brand, User
    from campaigns.services import imports

    brand, by = Brand.objects.get(slug="benchmark"), User.objects.get(username="benchmark")
    base = peak_mb()
    started = time.perf_counter()
    done = imports.import_feed(brand=brand, file=Path(path), file_name="feed.csv", by=by)
    seconds = time.perf_counter() - started
    print(
        json.dumps({
            "seconds": round(seconds, 2), "rows_per_second": round(done.rows / seconds), "errors": done.error_count,
            "created": done.created, "updated": done.updated, "unchanged": done.unchanged,
            "peak_mb": round(peak_mb()), "import_mb": round(peak_mb() - base, 1),
        })
    )  # fmt: skip


def measure(path: Path) -> dict[str, float]:
    command = [sys.executable, "-m", "benchmarks.feeds", "--one", str(path)]
    answer = subprocess.run(command, check=True, cwd=ROOT, stdout=subprocess.PIPE, text=True).stdout
    return json.loads(answer.splitlines()[-1])


def compare(folder: Path, rows: int) -> dict[str, dict[str, float]]:
    from django.db import connection

    with connection.cursor() as cursor:
        cursor.execute("TRUNCATE campaigns_subject CASCADE")
    feed, changed = folder / "feed.csv", folder / "changed.csv"
    write_feed(feed, rows, "90")
    write_feed(changed, rows, "95")
    answers = {}
    for name, path in (("first", feed), ("again", feed), ("changed", changed)):
        answers[name] = measure(path)
        print(f"{rows:>9,} rows, {name:<8} {answers[name]}", flush=True)
    return answers


def main() -> None:
    import django
    from django.core.management import call_command

    django.setup()
    from campaigns.models import Brand, User

    call_command("migrate", verbosity=0)
    Brand.objects.get_or_create(slug="benchmark", defaults={"name": "Benchmark"})
    if not User.objects.filter(username="benchmark").exists():
        User.objects.create_superuser("benchmark")
    with tempfile.TemporaryDirectory() as folder:
        results = {rows: compare(Path(folder), rows) for rows in SIZES}
    figures: dict[str, float] = {}
    for rows, answers in results.items():
        size = f"{rows // 1000}k"
        figures |= {f"rows_per_second_{name}_{size}": answer["rows_per_second"] for name, answer in answers.items()}
        figures[f"import_mb_{size}"] = max(answer["import_mb"] for answer in answers.values())
        figures[f"peak_mb_{size}"] = max(answer["peak_mb"] for answer in answers.values())
    print(json.dumps(figures))


if __name__ == "__main__":
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
    if "--one" in sys.argv:
        one_import(sys.argv[-1])
    else:
        from config import embedded

        with tempfile.TemporaryDirectory(prefix="bench") as folder:
            for name in ("DATABASE_URL", "REDIS_URL"):
                os.environ.pop(name, None)
            os.environ["PROOFLINE_VAR"] = folder
            with embedded.services():
                main()
