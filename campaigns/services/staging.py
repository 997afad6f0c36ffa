"""The set-based half of a feed import: rows into the staging table by COPY, mistakes that only sets show, the merge.

Nothing here decides whether an import is applied; services/imports.py does.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from django.db import connection

from campaigns import clock
from campaigns.feeds.base import FeedRow

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
    GROUP BY r.kind, r.parent_key ORDER BY row LIMIT %(limit)s
"""

# An attribute that the feed has a column for is the feed's to change or empty; the others stay as they are.
_MERGE_SUBJECTS = """
    WITH merged AS (
        INSERT INTO campaigns_subject AS s (brand_id, kind, key, name, attributes, is_active, created_at, updated_at)
        SELECT %(brand)s, kind, key, name, attributes, true, %(now)s, %(now)s
        FROM campaigns_stagedrow WHERE batch = %(batch)s AND parent_key = ''
        ORDER BY kind, key
        ON CONFLICT (brand_id, kind, key) DO UPDATE
        SET name = EXCLUDED.name,
            attributes = (s.attributes - %(spoken)s::text[]) || EXCLUDED.attributes,
            updated_at = %(now)s
        WHERE (s.name, s.attributes)
              IS DISTINCT FROM (EXCLUDED.name, (s.attributes - %(spoken)s::text[]) || EXCLUDED.attributes)
        -- A row without an earlier version of itself was inserted, not updated.
        RETURNING s.id, s.xmax = 0 AS is_new
    )
    INSERT INTO import_touched SELECT id, is_new, 'subject' FROM merged
"""

_MERGE_VARIANTS = """
    WITH merged AS (
        INSERT INTO campaigns_variant AS v (subject_id, key, options, attributes, position)
        SELECT s.id, r.key, r.options, r.attributes,
               row_number() OVER (PARTITION BY r.kind, r.parent_key ORDER BY r.row, r.id)
        FROM campaigns_stagedrow r
        JOIN campaigns_subject s ON s.brand_id = %(brand)s AND s.kind = r.kind AND s.key = r.parent_key
        WHERE r.batch = %(batch)s AND r.parent_key <> '' AND r.key <> ''
        ORDER BY s.id, r.key
        ON CONFLICT (subject_id, key) DO UPDATE
        SET options = EXCLUDED.options, attributes = EXCLUDED.attributes, position = EXCLUDED.position
        WHERE (v.options, v.attributes, v.position)
              IS DISTINCT FROM (EXCLUDED.options, EXCLUDED.attributes, EXCLUDED.position)
        RETURNING v.subject_id
    )
    INSERT INTO import_touched SELECT subject_id, false, 'variant' FROM merged
"""

# The role is a person's to change once the photo is there; an empty alt text never wipes a written one.
_MERGE_PHOTOS = """
    WITH given AS (
        SELECT DISTINCT ON (s.id, p.source) s.id AS subject_id, p.source, p.position, p.alt, p.role
        FROM campaigns_stagedrow r
        CROSS JOIN LATERAL jsonb_to_recordset(r.photos) AS p(source text, position int, alt text, role text)
        JOIN campaigns_subject s ON s.brand_id = %(brand)s AND s.kind = r.kind
             AND s.key = CASE WHEN r.parent_key = '' THEN r.key ELSE r.parent_key END
        WHERE r.batch = %(batch)s AND r.photos <> '[]'
        ORDER BY s.id, p.source, p.position
    ), merged AS (
        INSERT INTO campaigns_referencephoto AS f (subject_id, role, position, source, alt_text, status, notes,
                                                   sha256, storage_key, width, height, fetch_attempts, created_at)
        SELECT subject_id, role, position, source, alt, 'pending', '[]', '', '', 0, 0, 0, %(now)s
        FROM given ORDER BY subject_id, position, source
        ON CONFLICT (subject_id, source) DO UPDATE
        SET position = EXCLUDED.position,
            alt_text = CASE WHEN EXCLUDED.alt_text = '' THEN f.alt_text ELSE EXCLUDED.alt_text END
        WHERE f.position <> EXCLUDED.position OR EXCLUDED.alt_text NOT IN ('', f.alt_text)
        RETURNING f.subject_id
    )
    INSERT INTO import_touched SELECT subject_id, false, 'photo' FROM merged
"""

_COUNTS = """
    SELECT count(DISTINCT id) FILTER (WHERE is_new),
           count(DISTINCT id),
           count(*) FILTER (WHERE what = 'variant'),
           count(*) FILTER (WHERE what = 'photo')
    FROM import_touched
"""

_TOTAL = """
    SELECT count(DISTINCT (kind, CASE WHEN parent_key = '' THEN key ELSE parent_key END))
    FROM campaigns_stagedrow WHERE batch = %(batch)s
"""


@dataclass(frozen=True)
class Merged:
    """What a merge did. created, updated, unchanged: subjects, each counted once; the others: rows."""

    created: int
    updated: int
    unchanged: int
    variants_changed: int
    photos_changed: int


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


def merge(batch: UUID, *, brand_id: int, spoken: Iterable[str]) -> Merged:
    """Insert or update subjects, variants and photos from the batch. Must run inside a transaction.

    `spoken` are the attributes that the feed has columns for. Imports of one brand wait for each other here.
    """
    values: dict[str, Any] = {"batch": batch, "brand": brand_id, "spoken": sorted(spoken), "now": clock.now()}
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(hashtextextended('feed import', %s))", [brand_id])
        cursor.execute("DROP TABLE IF EXISTS import_touched")
        cursor.execute("CREATE TEMPORARY TABLE import_touched (id bigint, is_new boolean, what text) ON COMMIT DROP")
        for statement in (_MERGE_SUBJECTS, _MERGE_VARIANTS, _MERGE_PHOTOS):
            cursor.execute(statement, values)
        cursor.execute(
            "UPDATE campaigns_subject SET updated_at = %(now)s WHERE id IN "
            "(SELECT id FROM import_touched WHERE what <> 'subject') "
            "AND id NOT IN (SELECT id FROM import_touched WHERE what = 'subject')",
            values,
        )
        cursor.execute(_COUNTS)
        created, touched, variants, photos = cursor.fetchone()
        cursor.execute(_TOTAL, values)
        total = cursor.fetchone()[0]
    return Merged(created, touched - created, total - touched, variants, photos)


def clear(batch: UUID) -> None:
    """Remove the batch, and what imports that were killed have left behind."""
    with connection.cursor() as cursor:
        cursor.execute(
            "DELETE FROM campaigns_stagedrow WHERE batch = %s OR staged_at < now() - make_interval(hours => %s)",
            [batch, LEFT_OVER_HOURS],
        )
