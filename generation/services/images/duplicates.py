"""Near-duplicates: find the image of another subject of the brand that looks the same as a new one. Exact, in SQL.

Two images are near-duplicates if their PDQ hashes differ in at most MAX_BITS bits (Meta's confident match) and no cell
of their colour grids differs by more than MAX_LEVELS. The second condition also makes the search fast: two central
cells are indexed, and those of a near-duplicate lie within MAX_LEVELS of them. finishing/similarity.py explains the
values.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from core import sql
from generation.checks import histories
from generation.checks.base import CheckResult

MAX_BITS = 31
MAX_LEVELS = 6
INDEXED = (15, 16, 17, 30, 31, 32)
"""Bytes of the grid in index `master_alike`: L, a, b of the cells above left and below right of the centre."""

SHELF = 32
"""Number of levels of an indexed byte that share a lock; more than MAX_LEVELS."""

# By hand: the ORM has neither advisory locks nor operators on bits and bytes.
_HOLD = """
SELECT pg_advisory_xact_lock(key) FROM (
    SELECT DISTINCT hashtextextended(name, 0) AS key FROM unnest(%s::text[]) AS name ORDER BY key
) AS keys
"""
_BANDS = "\n       ".join(f"AND get_byte(m.colours, {place}) BETWEEN %s AND %s" for place in INDEXED)
_NEAREST = f"""
WITH alike AS MATERIALIZED (
    SELECT m.id, m.colours, bit_count(m.pdq_bits # ('x' || %s)::bit(256)) AS distance
      FROM generation_master m
     WHERE m.brand_id = %s AND m.pdq <> ''
       {_BANDS}
       AND bit_count(m.pdq_bits # ('x' || %s)::bit(256)) <= %s
), others AS MATERIALIZED (
    SELECT alike.*, v.id AS version_id, s.key, s.name
      FROM alike
      JOIN generation_assetversion v ON v.master_id = alike.id
      JOIN generation_asset a ON a.id = v.asset_id
      JOIN campaigns_subject s ON s.id = a.subject_id
     WHERE a.subject_id <> %s AND NOT a.is_sandbox
)
SELECT version_id, key, name, distance FROM others
 WHERE NOT EXISTS (
       SELECT FROM generate_series(0, length(others.colours) - 1) AS place
        WHERE abs(get_byte(others.colours, place) - get_byte(%s::bytea, place)) > %s)
 ORDER BY distance, version_id
 LIMIT 1
"""  # noqa: S608 - the places are numbers of our own


@dataclass(frozen=True)
class Duplicate:
    """The version that looks the same, its subject, and the number of 256 bits in which the two differ."""

    version_id: int
    sku: str
    name: str
    distance: int

    @property
    def check_result(self) -> CheckResult:
        """Return the finding that a reviewer reads beside the two images."""
        return histories.near_duplicate(f"{self.sku} {self.name}", self.distance)


def find_nearest(*, brand_id: int, subject_id: int, hashes: Mapping[str, Any]) -> Duplicate | None:
    """Return the most similar image of another subject in the brand, or None. hashes: `Developed.hashes`.

    Sandbox images do not count. A hash of too low quality is empty and has no near-duplicates. Possible near-duplicates
    of this image wait on locks until the caller's transaction ends, so of two images that are finished at once the
    later sees the earlier. Takes 2 ms, seldom 7, among 100,000 packshots (benchmarks/duplicates.py).
    """
    if not hashes["pdq"]:
        return None
    colours: bytes = hashes["colours"]
    bands = [bound for place in INDEXED for bound in (colours[place] - MAX_LEVELS, colours[place] + MAX_LEVELS)]
    values = [hashes["pdq"], brand_id, *bands, hashes["pdq"], MAX_BITS, subject_id, colours, MAX_LEVELS]
    sql.execute(_HOLD, [lock_names(brand_id, colours)])
    rows = sql.rows(_NEAREST, values)
    return Duplicate(*rows[0]) if rows else None


def lock_names(brand_id: int, colours: bytes) -> list[str]:
    """Return 1 to 64 names of locks, usually 3, for the shelves of the image; possible near-duplicates share one."""
    spans = [sorted({colours[place] // SHELF, (colours[place] + MAX_LEVELS) // SHELF}) for place in INDEXED]
    return [f"proofline.duplicates {brand_id} {shelf}" for shelf in itertools.product(*spans)]
