"""Measure the peak memory of a process that streams an archive of 10 GB of approved images to /dev/null.

There are 10,000 approved images of 1 MB, each with rows of its own. Their bytes are those of 16 stored files, so that
the disk needs no 10 GB; each image is read, hashed and written. The rows are copies of what the services made once.

    make bench NAME=delivery_package     SIZE_GB=… changes the size, LAYOUT=zip the layout
"""

from __future__ import annotations

import copy
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
SIZE_GB = float(os.environ.get("SIZE_GB", "10"))
LAYOUT = os.environ.get("LAYOUT", "bagit")
IMAGE_BYTES, DISTINCT_FILES, ROWS_AT_ONCE = 1_000_000, 16, 1_000


def measure() -> float:
    """Return the peak resident memory in MB of the process that streams; it starts and stops services of its own."""
    return float(figures()["peak_mb"])


def figures() -> dict[str, Any]:
    """Return {"gb", "files", "seconds", "mb_per_second", "peak_mb", "growth_mb", "layout"}."""
    with tempfile.TemporaryDirectory(prefix="package-") as var:
        inherited = {name: value for name, value in os.environ.items() if name not in {"DATABASE_URL", "REDIS_URL"}}
        settings = {"PROOFLINE_VAR": var, "DJANGO_SETTINGS_MODULE": "config.settings", "LOG_LEVEL": "WARNING"}
        return _run("fill", inherited | settings | {"PROOFLINE_PLUGINS": "tests.support.engines"})


def _run(part: str, environment: dict[str, str]) -> dict[str, Any]:
    """Run one part in a process of its own, and return the JSON of its last line."""
    command = [sys.executable, "-m", "benchmarks.delivery_package", part]
    result = subprocess.run(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    return dict(json.loads(result.stdout.splitlines()[-1]))


def fill_and_stream() -> dict[str, Any]:
    """Start the services, make the rows, and stream in another process, whose memory nothing else has raised."""
    from config import embedded

    with embedded.services():
        import django

        django.setup()
        from django.core.management import call_command

        call_command("migrate", verbosity=0, skip_checks=True)
        _fill(round(SIZE_GB * 1e9 / IMAGE_BYTES))
        return _run("stream", dict(os.environ))


def _fill(count: int) -> None:
    """Create `count` approved images."""
    from django.db import connection

    from core import stored_files
    from tests.support import factories
    from tests.support.archives import create_approved

    brand = factories.BrandFactory(slug="kilnmoor")
    person = factories.MembershipFactory(brand=brand, role="lead", user__username="lead").user
    asset = create_approved(brand, person, content=os.urandom(IMAGE_BYTES), note="Good light.")
    files = [stored_files.put(os.urandom(IMAGE_BYTES), suffix="jpg") for _ in range(DISTINCT_FILES)]
    for start in range(1, count, ROWS_AT_ONCE):
        _copy_image(asset, start, min(ROWS_AT_ONCE, count - start), files)
    _mark(files)
    with connection.cursor() as cursor:
        cursor.execute("VACUUM ANALYZE")


def _copy_image(asset: Any, start: int, count: int, files: list[Any]) -> None:
    """Create copies of the image with all its rows, each of them a product of its own."""
    from generation.models import Asset
    from review.models import Decision, DecisionSlot

    version = asset.versions.get()
    rendition, decision = version.renditions.get(), Decision.objects.get(version=version)
    numbers = range(start, start + count)
    mine = [files[number % len(files)] for number in numbers]
    subjects = _copies(asset.subject, key=[f"MUG-{number}" for number in numbers])
    cells = _copies(asset.cell, subject=subjects, values_key=[str(number) for number in numbers])
    jobs = _copies(version.job, cell=cells)
    _copies(version.job.frozen, job=jobs, cell=cells)
    assets = _copies(asset, subject=subjects, cell=cells)
    versions = _copies(version, asset=assets, job=jobs)
    for asset_copy, version_copy in zip(assets, versions, strict=True):
        asset_copy.current_version = version_copy
    Asset.objects.bulk_update(assets, ["current_version"])
    stored = {"sha256": [file.sha256 for file in mine], "storage_key": [file.key for file in mine]}
    _copies(rendition, version=versions, **stored)
    for finding in version.findings.all():
        for check in range(8):
            _copies(finding, version=versions, check_name=[f"check {check}"] * count)
    tasks = _copies(decision.task, asset=assets)
    pins = [{**decision.pinned, "renditions": {rendition.output_spec.slug: file.sha256}} for file in mine]
    decisions = _copies(decision, task=tasks, version=versions, pinned=pins)
    _copies(DecisionSlot.objects.get(decision=decision), task=tasks, decision=decisions)


def _mark(files: list[Any]) -> None:
    """Create the rows of the marked files, whose bytes are those of the stored files."""
    from generation.models import Asset, MarkedFile
    from review.services import packages, signing
    from review.services.marked_files import MarkOptions, digest_of, fields_of

    identity = signing.get_identity()
    versions = list(Asset.objects.order_by("pk").values_list("current_version", flat=True))
    for start in range(0, len(versions), ROWS_AT_ONCE):
        rows = []
        for approved in packages.load_approved_assets(versions[start : start + ROWS_AT_ONCE]).values():
            assert isinstance(approved, packages.ApprovedAsset)
            [rendition] = approved.renditions.values()
            fields, file = fields_of(approved.version, rendition, MarkOptions()), files[rendition.pk % len(files)]
            row = MarkedFile(rendition=rendition, marks=digest_of(fields, identity), document_id=fields.document_id)
            row.sha256, row.storage_key, row.bytes = file.sha256, file.key, file.bytes
            rows.append(row)
        MarkedFile.objects.bulk_create(rows)


def _copies(row: Any, **fields: list[Any]) -> list[Any]:
    """Insert a copy of the row for each item of the fields, with its values."""
    copies = []
    for values in zip(*fields.values(), strict=True):
        duplicate = copy.copy(row)
        duplicate.pk, duplicate._state = None, copy.copy(row._state)
        duplicate._state.adding, duplicate._state.fields_cache = True, {}
        for name, value in zip(fields, values, strict=True):
            setattr(duplicate, name, value)
        copies.append(duplicate)
    return list(type(row).objects.bulk_create(copies))


def stream() -> dict[str, Any]:
    """Write the archive to /dev/null."""
    import django

    django.setup()
    from core.models import Brand, User
    from generation.models import Asset
    from review.services import approved_archive

    brand, files = Brand.objects.get(), Asset.objects.count()
    started, total, early = time.perf_counter(), 0, 0.0
    archive = approved_archive.start(
        user=User.objects.get(username="lead"), brand=brand, assets=Asset.objects.filter(brand=brand), layout=LAYOUT
    )
    with open(os.devnull, "wb", buffering=0) as sink:
        for chunk in archive.chunks:
            sink.write(chunk)
            total += len(chunk)
            if not early and total > SIZE_GB * 1e9 / 10:
                early = peak_mb()
    seconds = time.perf_counter() - started
    assert total > SIZE_GB * 1e9, f"only {total:,} bytes were written"
    return {
        "gb": round(total / 1e9, 3),
        "files": files,
        "seconds": round(seconds, 1),
        "mb_per_second": round(total / 1e6 / seconds, 1),
        "peak_mb": round(peak_mb(), 1),
        "growth_mb": round(peak_mb() - early, 1),
        "layout": LAYOUT,
    }


def peak_mb() -> float:
    """Return the peak resident memory of this process. getrusage alone would also count its parent's, on Linux."""
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except FileNotFoundError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1e6 if sys.platform == "darwin" else 1e3)
    (line,) = [line for line in lines if line.startswith("VmHWM:")]
    return int(line.split()[1]) * 1024 / 1e6


def main() -> None:
    parts = {"fill": fill_and_stream, "stream": stream}
    print(json.dumps(parts[sys.argv[1]]() if len(sys.argv) > 1 else figures()))


if __name__ == "__main__":
    main()
