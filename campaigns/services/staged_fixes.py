"""Fixes that need to see all rows of a feed at once, done set-based on its staged rows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from django.db import connection

from campaigns.feeds import fixes
from campaigns.feeds.fixes import Chosen

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

# The same rows that staging.orphans names: a variant that has a name can stand for its product.
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
"""A row that goes as a duplicate may leave orphans behind, never the other way."""


def apply(batch: UUID, chosen: Sequence[Chosen], *, brand_id: int) -> dict[int, int]:
    """Carry out those of the chosen fixes that are staged; index in `chosen` -> how many rows it left out."""
    done: dict[int, int] = {}
    waiting = [(index, one) for index, one in enumerate(chosen) if fixes.find(one.cause, one.fix).is_staged]
    with connection.cursor() as cursor:
        for index, one in sorted(waiting, key=lambda pair: ORDER.index(pair[1].cause)):
            values: dict[str, Any] = {
                "batch": batch, "brand": brand_id, "last": one.fix == "keep_last",
                "subjects": one.cause == "duplicate_key",
            }  # fmt: skip
            cursor.execute(_ORPHANS if one.cause == "parent_unknown" else _DUPLICATES, values)
            done[index] = cursor.rowcount
    return done
