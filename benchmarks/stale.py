"""Measure how long a feed that changes few products takes to make approvals stale among 100,000 approved images.

It measures the service: in the transaction of an import that touched every product and changed a value of the prompt
in 1 % of them; the rest of that work after the commit; and one product changed by hand.

    make bench NAME=stale      ASSETS=1000000 changes the size
"""

from __future__ import annotations

import json
import os
import tempfile
import time
from typing import Any

ASSETS = int(os.environ.get("ASSETS", "100000"))
SHARE = 100
"""One in so many products gets another colour."""


def fill() -> tuple[Any, int]:
    """Create a brand with ASSETS approved images, one per product, and an import that touched all of its products."""
    from django.db import connection

    from benchmarks.approved_images import create_approved_images
    from campaigns.models import FeedImport

    brand, user = create_approved_images(ASSETS)
    done = FeedImport.objects.create(brand=brand, file_name="feed.csv", file_bytes=1, requested_by=user)
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO campaigns_importchange (feed_import_id, subject_id, was, subject_updated_at)"
            " SELECT %s, id, '{}', now() FROM campaigns_subject WHERE brand_id = %s",
            [done.pk, brand.pk],
        )
        cursor.execute("VACUUM ANALYZE")
    return brand, done.pk


def trial() -> dict[str, float]:
    import django

    django.setup()
    from django.core.management import call_command
    from django.db import connection, transaction

    from campaigns.models import Subject
    from generation.models import Asset, StaleCandidate
    from generation.services.images import staleness

    call_command("migrate", verbosity=0, skip_checks=True)
    started = time.perf_counter()
    brand, import_id = fill()
    print(f"{ASSETS:,} approved images in {time.perf_counter() - started:.0f} s", flush=True)
    staleness.AFTER_COMMIT_SECONDS = 0.0  # the work after the commit is measured separately
    with transaction.atomic():
        with connection.cursor() as cursor:
            cursor.execute(
                'UPDATE campaigns_subject SET attributes = attributes || \'{"colour": "teal"}\''
                " WHERE brand_id = %s AND id %% %s = 0",
                [brand.pk, SHARE],
            )
        started = time.perf_counter()
        moved = staleness.check_subjects(subjects=_of_import(import_id), by=None)
        in_transaction = time.perf_counter() - started
    chunks = []
    while batch := StaleCandidate.objects.values_list("batch", flat=True).first():
        started = time.perf_counter()
        staleness.settle(batch)
        chunks.append(time.perf_counter() - started)
    assert Asset.objects.filter(state="stale").count() == moved == ASSETS // SHARE
    subject = Subject.objects.exclude(attributes__colour="teal").first()
    assert subject is not None
    Subject.objects.filter(pk=subject.pk).update(attributes={"colour": "teal"})
    started = time.perf_counter()
    with transaction.atomic():
        assert staleness.check_subjects(subjects=Subject.objects.filter(pk=subject.pk).values("pk"), by=None) == 1
    alone = time.perf_counter() - started
    if os.environ.get("EXPLAIN"):
        _explain(import_id)
    return {
        "assets": ASSETS,
        "stale": moved,
        "in_import_s": round(in_transaction, 2),
        "chunks_after_commit": len(chunks),
        "longest_chunk_s": round(max(chunks, default=0.0), 2),
        "after_commit_s": round(sum(chunks), 2),
        "one_product_ms": round(1000 * alone, 1),
    }


def _of_import(import_id: int) -> Any:
    from campaigns.models import ImportChange

    return ImportChange.objects.filter(feed_import=import_id).order_by().values("subject")


def _explain(import_id: int) -> None:
    """Print how the database finds the assets that an import changed."""
    import uuid
    from string import Template

    from django.db import connection, transaction
    from django.utils import timezone

    from generation.services.images import staleness

    selected, values = _of_import(import_id).query.sql_with_params()
    statement = Template(staleness._OF_SUBJECTS).substitute(subjects=selected)
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(
            f"EXPLAIN (ANALYZE, BUFFERS OFF) {statement}",
            [uuid.uuid4(), None, timezone.now(), *values, staleness._LOOKED_AT],
        )
        print("\n".join(row[0] for row in cursor.fetchall()))
        transaction.set_rollback(True)


def main() -> None:
    os.environ["DJANGO_SETTINGS_MODULE"] = "config.settings"
    with tempfile.TemporaryDirectory(prefix="stale-") as var:
        os.environ["PROOFLINE_VAR"] = var
        from config import embedded

        with embedded.services():
            figures = trial()
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
