"""The set-based half of a feed import: rows into the staging table by COPY, and mistakes that only sets show.

Merging them and undoing that is in merging.py. Whether an import is applied is decided in services/imports.py.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from django.db import connection

from campaigns.feeds.base import FeedRow
from campaigns.services.merging import Merged, Undone, merge, undo

__all__ = [
    "Merged", "Mistake", "Undone", "clear", "duplicates", "merge", "orphans", "prepare", "stage", "undo",
]  # fmt: skip

CHUNK_ROWS = 5000
"""Rows per COPY: parsing happens between them, so that no statement waits for the parser."""
LEFT_OVER_HOURS = 24

_COPY = """
    COPY campaigns_stagedrow (batch, row, key, parent_key, name, kind, attributes, options, photos) FROM STDIN
"""

_DUPLICATES = """
    SELECT row, key, first_row, count(*) OVER () FROM (
        SELECT row, key, first_value(row) OVER same AS first_row, row_number() OVER same AS place
        FROM campaigns_stagedrow
        WHERE batch = %(batch)s AND key <> '' AND (parent_key = '') = %(subjects)s
        WINDOW same AS (PARTITION BY kind, parent_key, key ORDER BY row, id)
    ) AS numbered
    WHERE place > 1 ORDER BY row LIMIT %(limit)s
"""

_ORPHANS = """
    SELECT min(r.row) AS row, r.parent_key, 0, count(*) OVER ()
    FROM campaigns_stagedrow r
    WHERE r.batch = %(batch)s AND r.parent_key <> ''
      AND NOT EXISTS (
        SELECT 1 FROM campaigns_stagedrow p
        WHERE p.batch = r.batch AND p.key = r.parent_key AND p.kind = r.kind AND p.parent_key = ''
      )
      AND NOT EXISTS (
        SELECT 1 FROM campaigns_subject s
        WHERE s.brand_id = %(brand)s AND s.kind = r.kind AND s.key = r.parent_key
      )
    GROUP BY r.kind, r.parent_key
    -- A variant that has a name can stand for its product.
    HAVING bool_and(r.name = '' OR r.key = '')
    ORDER BY row LIMIT %(limit)s
"""


@dataclass(frozen=True)
class Mistake:
    """A staged row that cannot stand: its key, where the key stood first (0: nowhere), how many such there are."""

    row: int
    key: str
    first_row: int
    total: int


def stage(batch: UUID, rows: Iterable[FeedRow]) -> int:
    """Copy the rows into the staging table, a chunk at a time, each committed; returns how many."""
    count = 0
    chunk: list[FeedRow] = []
    for row in rows:
        chunk.append(row)
        if len(chunk) == CHUNK_ROWS:
            _copy(batch, chunk)
            count += len(chunk)
            chunk = []
    _copy(batch, chunk)
    return count + len(chunk)


def _copy(batch: UUID, rows: Sequence[FeedRow]) -> None:
    if not rows:
        return
    encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode
    with connection.cursor() as cursor, cursor.copy(_COPY) as copy:
        for row in rows:
            copy.write_row(
                (
                    batch,
                    row.row,
                    row.key,
                    row.parent_key,
                    row.name,
                    row.kind,
                    encode(row.attributes),
                    encode(row.options),
                    encode(row.photos),
                )
            )


def prepare(count: int) -> None:
    """Let the planner know how full the staging table is; its own look would come too late."""
    if count > CHUNK_ROWS:
        with connection.cursor() as cursor:
            cursor.execute("ANALYZE campaigns_stagedrow")


def duplicates(batch: UUID, *, of_subjects: bool, limit: int) -> Iterator[Mistake]:
    """Rows whose key an earlier row of the batch has: of subjects, or of variants within one subject."""
    return _mistakes(_DUPLICATES, {"batch": batch, "subjects": of_subjects, "limit": limit})


def orphans(batch: UUID, *, brand_id: int, limit: int) -> Iterator[Mistake]:
    """Variants and pictures whose subject is neither in the batch nor in the brand; one per subject."""
    return _mistakes(_ORPHANS, {"batch": batch, "brand": brand_id, "limit": limit})


def _mistakes(sql: str, values: dict[str, Any]) -> Iterator[Mistake]:
    with connection.cursor() as cursor:
        cursor.execute(sql, values)
        for row in cursor.fetchall():
            yield Mistake(*row)


def clear(batch: UUID) -> None:
    """Remove the batch, and what imports that were killed have left behind."""
    with connection.cursor() as cursor:
        cursor.execute(
            "DELETE FROM campaigns_stagedrow WHERE batch = %s OR staged_at < now() - make_interval(hours => %s)",
            [batch, LEFT_OVER_HOURS],
        )
