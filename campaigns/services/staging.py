"""The staging of a feed import: COPY its rows into the staging table, and find mistakes that only all rows show.

Merging is in merging.py, undoing in undoing.py. services/imports.py decides whether an import is applied.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Any
from uuid import UUID

from django.db import connection, transaction

from campaigns.feeds.base import PARENT_IN_OTHER_ROW, FeedRow
from campaigns.services.merging import plan_for_size

# A product's row may name a child that also has a row of its own: that row's attributes and photos go to the variant.
_PLACE = (
    """
    UPDATE campaigns_stagedrow v SET attributes = c.attributes || v.attributes, photos = c.photos
    FROM campaigns_stagedrow c
    WHERE c.batch = %(batch)s AND c.parent_key = %(unplaced)s AND v.batch = c.batch AND v.kind = c.kind
      AND v.key = c.key AND v.parent_key NOT IN ('', %(unplaced)s)
    """,
    """
    DELETE FROM campaigns_stagedrow c
    WHERE c.batch = %(batch)s AND c.parent_key = %(unplaced)s AND EXISTS (
        SELECT 1 FROM campaigns_stagedrow v
        WHERE v.batch = c.batch AND v.kind = c.kind AND v.key = c.key AND v.parent_key NOT IN ('', %(unplaced)s)
    )
    """,
    "UPDATE campaigns_stagedrow SET parent_key = '' WHERE batch = %(batch)s AND parent_key = %(unplaced)s",
)

_ESCAPES = str.maketrans({"\\": "\\\\", "\t": "\\t", "\n": "\\n", "\r": "\\r"})
_encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode
_quoted = json.encoder.encode_basestring

CHUNK_ROWS = 5000
"""Rows per COPY. Parsing happens between the statements, so that no statement waits for the parser."""
LEFT_OVER_HOURS = 24

_COPY = """
    COPY campaigns_stagedrow (batch, row, key, parent_key, name, kind, attributes, options, photos) FROM STDIN
"""

_DUPLICATES = """
    SELECT row, key, first_row, count(*) OVER () FROM (
        SELECT row, key, first_value(row) OVER same AS first_row, row_number() OVER same AS place
        FROM campaigns_stagedrow
        -- Few are: counting is cheaper than putting a million in order.
        WHERE batch = %(batch)s AND key <> '' AND (kind, parent_key, key) IN (
            SELECT kind, parent_key, key FROM campaigns_stagedrow
            WHERE batch = %(batch)s AND key <> '' AND (parent_key = '') = %(subjects)s
            GROUP BY kind, parent_key, key HAVING count(*) > 1
        )
        WINDOW same AS (PARTITION BY kind, parent_key, key ORDER BY row, id)
    ) AS numbered
    WHERE place > 1 ORDER BY row LIMIT %(limit)s
"""

# Rows without a subject, grouped by the kind and key of the missing one.
ORPHAN_GROUPS = """
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
"""
_ORPHANS = f"""
    SELECT min(r.row) AS row, r.parent_key, 0, count(*) OVER () {ORPHAN_GROUPS}
    ORDER BY row LIMIT %(limit)s
"""


@dataclass(frozen=True)
class Mistake:
    """A wrong staged row: its key, the row that has the key first (0: none), how many such mistakes there are."""

    row: int
    key: str
    first_row: int
    total: int


def stage(batch: UUID, rows: Iterable[FeedRow]) -> int:
    """Copy the rows into the staging table in chunks, each committed; return the number of rows.

    At the end, child rows that came apart from their product become its variants.
    """
    prefix, rows = f"{batch}\t", iter(rows)
    count, has_unplaced = 0, False
    while chunk := [prefix + _line(row) for row in islice(rows, CHUNK_ROWS)]:
        count += len(chunk)
        text = "".join(chunk)
        has_unplaced = has_unplaced or f"\t{PARENT_IN_OTHER_ROW}\t" in text
        # In turn with the parsing, not in a thread beside it: the two would wait for the GIL.
        with connection.cursor() as cursor, cursor.copy(_COPY) as copy:
            copy.write(text)
    if has_unplaced:
        _place(batch)
    return count


def _line(row: FeedRow) -> str:
    """Return one row in the text format of COPY. JSON has no raw control characters, but it has backslashes."""
    fields = (row.key, row.parent_key, row.name, row.kind, _object(row.attributes), _object(row.options))
    photos = _encode(row.photos) if row.photos else "[]"
    line = "\t".join(fields) + "\t" + photos
    if "\\" in line or "\n" in line or "\r" in line or line.count("\t") != 6:
        line = "\t".join([field.translate(_ESCAPES) for field in (*fields, photos)])
    return f"{row.row}\t{line}\n"


def _object(values: Mapping[str, str]) -> str:
    if not values:
        return "{}"
    return "{" + ",".join([f"{_quoted(name)}:{_quoted(value)}" for name, value in values.items()]) + "}"


def _place(batch: UUID) -> None:
    with transaction.atomic(), connection.cursor() as cursor:
        plan_for_size(cursor, batch)
        for statement in _PLACE:
            cursor.execute(statement, {"batch": batch, "unplaced": PARENT_IN_OTHER_ROW})


def prepare(count: int) -> None:
    """Tell the planner how many rows the staging table has; autovacuum would do it too late."""
    if count > CHUNK_ROWS:
        with connection.cursor() as cursor:
            cursor.execute("ANALYZE campaigns_stagedrow")


def duplicates(batch: UUID, *, of_subjects: bool, limit: int) -> Iterator[Mistake]:
    """Find rows with the key of an earlier row of the batch: among subjects, or among variants of one subject."""
    return _mistakes(_DUPLICATES, {"batch": batch, "subjects": of_subjects, "limit": limit})


def orphans(batch: UUID, *, brand_id: int, limit: int) -> Iterator[Mistake]:
    """Find variants and photos whose subject is neither in the batch nor in the brand; one per subject."""
    return _mistakes(_ORPHANS, {"batch": batch, "brand": brand_id, "limit": limit})


def _mistakes(sql: str, values: dict[str, Any]) -> Iterator[Mistake]:
    with transaction.atomic(), connection.cursor() as cursor:
        plan_for_size(cursor, values["batch"])
        cursor.execute(sql, values)
        mistake_rows = cursor.fetchall()
    return (Mistake(*row) for row in mistake_rows)


def clear(batch: UUID) -> None:
    """Delete the rows of the batch, and old rows that killed imports have left behind."""
    with connection.cursor() as cursor:
        cursor.execute(
            "DELETE FROM campaigns_stagedrow WHERE batch = %s OR staged_at < now() - make_interval(hours => %s)",
            [batch, LEFT_OVER_HOURS],
        )
