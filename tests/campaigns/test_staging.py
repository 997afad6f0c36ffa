"""Tests of the query plans for staged rows, whatever row counts the planner expects."""

from __future__ import annotations

import uuid

import pytest
from django.db import connection, transaction

from campaigns.feeds.base import FeedRow
from campaigns.models import StagedRow
from campaigns.services import staging
from campaigns.services.merging import LARGE_BATCH, plan_for_size
from core import sql
from core.models import Brand

ROWS = 2 * LARGE_BATCH


def _stage_after_analyze() -> uuid.UUID:
    """Stage a batch after the last ANALYZE, which saw one row of another batch."""
    StagedRow.objects.create(batch=uuid.uuid4(), row=1, key="A", kind="product")
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE campaigns_stagedrow")
    batch = uuid.uuid4()
    staging.stage(batch, [FeedRow(at, f"V{at}", "product", parent_key=f"P{at}") for at in range(2, ROWS + 2)])
    return batch


def _plan(batch: uuid.UUID, brand: Brand) -> str:
    with connection.cursor() as cursor:
        cursor.execute("EXPLAIN " + staging._ORPHANS, {"batch": batch, "brand": brand.pk, "limit": 10})
        return "\n".join(line for (line,) in cursor.fetchall())


@pytest.mark.django_db(transaction=True)
def test_a_large_batch_is_not_searched_again_for_each_of_its_rows(brand: Brand) -> None:
    batch = _stage_after_analyze()
    assert "Nested Loop" in _plan(batch, brand)  # the planner's own choice
    with transaction.atomic():
        plan_for_size(batch)
        assert "Nested Loop" not in _plan(batch, brand)
    assert "Nested Loop" in _plan(batch, brand)  # the setting applies only within that transaction
    assert next(iter(staging.orphans(batch, brand_id=brand.pk, limit=10))).total == ROWS


@pytest.mark.django_db(transaction=True)
def test_a_small_batch_finds_its_subjects_by_index(brand: Brand) -> None:
    batch = uuid.uuid4()
    staging.stage(batch, [FeedRow(at, f"V{at}", "product", parent_key=f"P{at}") for at in range(5)])
    with transaction.atomic():
        plan_for_size(batch)
        assert sql.rows("SHOW enable_nestloop") == [("on",)]
