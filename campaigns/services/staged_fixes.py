"""Fixes that need all rows of a feed at once, applied to the staged rows in SQL."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from django.db import connection

from campaigns.feeds import fixes
from campaigns.feeds.fixes import ChosenFix
from campaigns.services.staging import ORPHAN_GROUPS

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

_ORPHANS = f"""
    DELETE FROM campaigns_stagedrow
    WHERE batch = %(batch)s AND (kind, parent_key) IN (SELECT r.kind, r.parent_key {ORPHAN_GROUPS})
"""  # noqa: S608

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
