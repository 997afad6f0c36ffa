"""Fixes that need all rows of a feed at once, applied to the staged rows in SQL."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from django.db import connection

from campaigns.feeds import fixes
from campaigns.feeds.fixes import ChosenFix

_DUPLICATES = """
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

# The same rows as in staging.orphans: a variant that has a name can stand for its product.
_ORPHANS = """
    DELETE FROM campaigns_stagedrow WHERE batch = %(batch)s AND (kind, parent_key) IN (
        SELECT r.kind, r.parent_key
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
        HAVING bool_and(r.name = '' OR r.key = '')
    )
"""

ORDER = ("duplicate_key", "duplicate_variant", "parent_unknown")
"""Duplicates first: removing one may leave orphans behind, never the other way."""


def apply_staged_fixes(batch: UUID, chosen: Sequence[ChosenFix], *, brand_id: int) -> dict[int, int]:
    """Apply the chosen fixes that are staged; return {index in `chosen`: number of rows it removed}."""
    done: dict[int, int] = {}
    waiting = [(index, fix) for index, fix in enumerate(chosen) if fixes.find_fix(fix.cause, fix.fix).is_staged]
    with connection.cursor() as cursor:
        for index, fix in sorted(waiting, key=lambda pair: ORDER.index(pair[1].cause)):
            values: dict[str, Any] = {
                "batch": batch, "brand": brand_id, "last": fix.fix == "keep_last",
                "subjects": fix.cause == "duplicate_key",
            }  # fmt: skip
            cursor.execute(_ORPHANS if fix.cause == "parent_unknown" else _DUPLICATES, values)
            done[index] = cursor.rowcount
    return done
