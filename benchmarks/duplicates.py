"""Measure how long the search for a near-duplicate takes in a brand of 100,000 masters.

The brand has packshots, the hard case: 30 shapes whose PDQ hashes differ by a few bits only, in all colours, on one
backdrop. A second brand has the same size. Every search uses the service.

    make bench NAME=duplicates      MASTERS=… changes the size
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
MASTERS = int(os.environ.get("MASTERS", "100000"))
SHAPES, SUBJECTS, SEARCHES = 30, 1000, 300


def make_hashes(random: np.random.Generator, count: int) -> tuple[list[str], list[bytes]]:
    """Return PDQ hashes and colour grids of `count` packshots."""
    shapes = random.integers(0, 256, (SHAPES, 32), dtype=np.uint8)
    shape = random.integers(0, SHAPES, count)
    flips = np.packbits(random.random((count, 256)) < 0.03, axis=1)
    grids = np.empty((count, 16, 3))
    grids[:] = (243, 128, 130)
    middle = (random.normal((150, 130, 140), (45, 18, 22), (count, 3)))[:, None]
    cover = np.zeros((SHAPES, 16, 1))
    cover[:, [5, 6, 9, 10]] = random.uniform(0.5, 1, (SHAPES, 4, 1))
    grids += cover[shape] * (middle - grids) + random.normal(0, 1, grids.shape)
    cells = np.clip(np.rint(grids), 0, 255).astype(np.uint8).reshape(count, 48)
    return [row.tobytes().hex() for row in shapes[shape] ^ flips], [row.tobytes() for row in cells]


def fill(brand_slug: str, random: np.random.Generator) -> tuple[int, list[str], list[bytes]]:
    """Create a brand with MASTERS masters, each the only version of an asset of one of SUBJECTS subjects."""
    from django.db import connection

    from tests.support import factories

    brand = factories.BrandFactory(slug=brand_slug)
    hashes, grids = make_hashes(random, MASTERS)
    run = factories.RunFactory(campaign__brand=brand)
    factories.SubjectFactory.create_batch(SUBJECTS, brand=brand)
    with connection.cursor() as cursor:
        cursor.execute("CREATE TEMP TABLE images (n int, pdq text, colours bytea)")
        with cursor.copy("COPY images FROM STDIN") as copy:
            for row in zip(range(MASTERS), hashes, grids, strict=True):
                copy.write_row(row)
        cursor.execute(_FILL, {"brand": brand.pk, "run": run.pk, "campaign": run.campaign_id})
        cursor.execute("DROP TABLE images")
    return brand.pk, hashes, grids


_FILL = """
WITH subjects AS (
    SELECT id, row_number() OVER (ORDER BY id) - 1 AS place, count(*) OVER () AS total
      FROM campaigns_subject WHERE brand_id = %(brand)s
), masters AS (
    INSERT INTO generation_master (brand_id, fingerprint, sha256, storage_key, image_format, width, height, has_alpha,
                                   bytes, thumbnails, pdq, pdq_quality, colours, was_rejected, created_at)
    SELECT %(brand)s, lpad(n::text, 64, '0'), lpad(n::text, 64, '0'), 'sha256/00/00/' || n || '.png', 'png', 1024, 1024,
           false, 1, '{}', pdq, 90, colours, false, now()
      FROM images
    RETURNING id, fingerprint::int AS n
), cells AS (
    INSERT INTO generation_cell (run_id, subject_id, axis_values, values_key, aspect, position)
    SELECT %(run)s, s.id, '{}', n::text, '1:1', n FROM images JOIN subjects s ON s.place = n %% s.total
    RETURNING id, subject_id, position
), assets AS (
    INSERT INTO generation_asset (brand_id, campaign_id, subject_id, cell_id, state, round, is_sandbox, created_at,
                                  changed_at)
    SELECT %(brand)s, %(campaign)s, subject_id, id, 'in_review', 1, false, now(), now() FROM cells
    RETURNING id, cell_id
)
INSERT INTO generation_assetversion (asset_id, round, candidate, master_id, source, worst_outcome, created_at)
SELECT a.id, 1, 1, m.id, 'generated', 'pass', now()
  FROM assets a JOIN cells c ON c.id = a.cell_id JOIN masters m ON m.n = c.position
"""


def measure_searches(brand_id: int, queries: list[tuple[str, bytes]]) -> tuple[list[float], int]:
    """Return the seconds of each search, and how many searches found a duplicate."""
    from generation.services.images import duplicates

    seconds, hits = [], 0
    for pdq, colours in queries:
        started = time.perf_counter()
        duplicate = duplicates.find_nearest(brand_id=brand_id, subject_id=0, hashes={"pdq": pdq, "colours": colours})
        seconds.append(time.perf_counter() - started)
        hits += duplicate is not None
    return seconds, hits


def trial() -> dict[str, float]:
    import django

    django.setup()
    from django.core.management import call_command
    from django.db import connection

    call_command("migrate", verbosity=0, skip_checks=True)
    random = np.random.default_rng(5)
    started = time.perf_counter()
    brand_id, hashes, grids = fill("kiln", random)
    fill("loom", random)
    with connection.cursor() as cursor:
        cursor.execute("VACUUM ANALYZE generation_master, generation_assetversion, generation_asset")
        cursor.execute("SELECT pg_relation_size('master_alike') / 2")
        index_bytes = cursor.fetchone()[0]
    print(f"2 × {MASTERS:,} masters in {time.perf_counter() - started:.1f} s", flush=True)
    present = [(hashes[place], grids[place]) for place in random.integers(0, MASTERS, SEARCHES)]
    new = list(zip(*make_hashes(random, SEARCHES), strict=True))
    measure_searches(brand_id, present[:10])
    repeats, hits = measure_searches(brand_id, present)
    others, lookalikes = measure_searches(brand_id, new)
    assert hits == SEARCHES, f"{SEARCHES - hits} images that are in the brand were not found"
    both = sorted(repeats + others)
    return {
        "masters": MASTERS,
        "p50_ms": round(1000 * both[len(both) // 2], 2),
        "p95_ms": round(1000 * both[int(len(both) * 0.95)], 2),
        "max_ms": round(1000 * both[-1], 2),
        "found_of_present": hits,
        "found_of_new": lookalikes,
        "index_mb": round(index_bytes / 1e6, 1),
    }


def main() -> None:
    os.environ["DJANGO_SETTINGS_MODULE"] = "config.settings"
    with tempfile.TemporaryDirectory(prefix="duplicates-") as var:
        os.environ["PROOFLINE_VAR"] = var
        from config import embedded

        with embedded.services():
            figures = trial()
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
