"""The staging of a feed import: COPY its rows into the staging table; find and fix mistakes that only all rows show.

Merging is in merging.py, undoing in undoing.py. services/imports.py decides whether an import is applied.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from itertools import islice
from typing import Any
from uuid import UUID

from django.db import transaction
from django.db.models import Q
from django.db.models.functions import Now

from campaigns.feeds import fixes
from campaigns.feeds.base import PARENT_IN_OTHER_ROW, FeedRow
from campaigns.feeds.fixes import ChosenFix
from campaigns.models import StagedRow
from campaigns.services.merging import plan_for_size
from core import sql

# Updates a million rows from their neighbours, which the ORM can only do by a subquery for each column.
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
)

_ESCAPES = str.maketrans({"\\": "\\\\", "\t": "\\t", "\n": "\\n", "\r": "\\r"})
_encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode
_quoted = json.encoder.encode_basestring

CHUNK_ROWS = 5000  # rows per COPY; parsing happens between the statements, so that none waits for it
LEFT_OVER_HOURS = 24

# COPY, because inserting takes several times as long.
_COPY = """
    COPY campaigns_stagedrow (batch, row, key, parent_key, name, kind, attributes, options, photos) FROM STDIN
"""

# By hand, because the ORM has no IN for several columns.
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

# Rows without a subject, grouped by the kind and key of the missing one. By hand, because a fix deletes by both
# columns.
_ORPHAN_GROUPS = """
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
    SELECT min(r.row) AS row, r.parent_key, 0, count(*) OVER () {_ORPHAN_GROUPS}
    ORDER BY row LIMIT %(limit)s
"""

_DELETE_DUPLICATES = """
    DELETE FROM campaigns_stagedrow WHERE id IN (
        SELECT id FROM (
            SELECT id, row_number() OVER (
                PARTITION BY kind, parent_key, key
                ORDER BY CASE WHEN %(last)s THEN -row ELSE row END, CASE WHEN %(last)s THEN -id ELSE id END
            ) AS place
            FROM campaigns_stagedrow
            WHERE batch = %(batch)s AND key <> '' AND (parent_key = '') = %(subjects)s
        ) AS numbered
        WHERE place > 1
    )
"""

_DELETE_ORPHANS = f"""
    DELETE FROM campaigns_stagedrow
    WHERE batch = %(batch)s AND (kind, parent_key) IN (SELECT r.kind, r.parent_key {_ORPHAN_GROUPS})
"""  # noqa: S608

_FIX_ORDER = ("duplicate_key", "duplicate_variant", "parent_unknown")
"""Duplicates first: removing one may leave orphans behind, never the other way."""


@dataclass(frozen=True)
class Mistake:
    """A wrong staged row: its key, the row that has the key first (0: none), how many such mistakes there are."""

    row: int
    key: str
    first_row: int
    total: int


def stage(batch: UUID, rows: Iterable[FeedRow]) -> None:
    """Copy the rows into the staging table in committed chunks; then place children that came apart from products."""
    prefix, rows = f"{batch}\t", iter(rows)
    count, has_unplaced = 0, False
    while chunk := [prefix + _line(row) for row in islice(rows, CHUNK_ROWS)]:
        count += len(chunk)
        text = "".join(chunk)
        has_unplaced = has_unplaced or f"\t{PARENT_IN_OTHER_ROW}\t" in text
        # In turn with the parsing, not in a thread beside it: the two would wait for the GIL.
        with sql.copy(_COPY) as copy:
            copy.write(text)
    if has_unplaced:
        _place(batch)
    if count > CHUNK_ROWS:
        sql.execute("ANALYZE campaigns_stagedrow")  # autovacuum would count the rows too late for the planner


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
    with transaction.atomic():
        plan_for_size(batch)
        for statement in _PLACE:
            sql.execute(statement, {"batch": batch, "unplaced": PARENT_IN_OTHER_ROW})
        StagedRow.objects.filter(batch=batch, parent_key=PARENT_IN_OTHER_ROW).update(parent_key="")


def duplicates(batch: UUID, *, of_subjects: bool, limit: int) -> Iterator[Mistake]:
    """Find rows with the key of an earlier row of the batch: among subjects, or among variants of one subject."""
    return _mistakes(_DUPLICATES, {"batch": batch, "subjects": of_subjects, "limit": limit})


def orphans(batch: UUID, *, brand_id: int, limit: int) -> Iterator[Mistake]:
    """Find variants and photos whose subject is neither in the batch nor in the brand; one per subject."""
    return _mistakes(_ORPHANS, {"batch": batch, "brand": brand_id, "limit": limit})


def _mistakes(statement: str, values: dict[str, Any]) -> Iterator[Mistake]:
    with transaction.atomic():
        plan_for_size(values["batch"])
        mistake_rows = sql.rows(statement, values)
    return (Mistake(*row) for row in mistake_rows)


def apply_fixes(batch: UUID, chosen: Sequence[ChosenFix], *, brand_id: int) -> dict[int, int]:
    """Apply the chosen fixes that are staged; return {index in `chosen`: number of rows it removed}."""
    done: dict[int, int] = {}
    waiting = [(index, fix) for index, fix in enumerate(chosen) if fixes.find_fix(fix.cause, fix.fix).is_staged]
    for index, fix in sorted(waiting, key=lambda pair: _FIX_ORDER.index(pair[1].cause)):
        values: dict[str, Any] = {
            "batch": batch, "brand": brand_id, "last": fix.fix == "keep_last", "subjects": fix.cause == "duplicate_key"
        }  # fmt: skip
        done[index] = sql.execute(_DELETE_ORPHANS if fix.cause == "parent_unknown" else _DELETE_DUPLICATES, values)
    return done


def clear(batch: UUID) -> None:
    """Delete the rows of the batch, and old rows that killed imports have left behind."""
    is_left_over = Q(staged_at__lt=Now() - timedelta(hours=LEFT_OVER_HOURS))
    StagedRow.objects.filter(Q(batch=batch) | is_left_over).delete()
