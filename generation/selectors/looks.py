"""Select the masters that may be what an image shows, by their PDQ hash, or by colours where the hash is useless."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from core import sql
from core.models import Brand, User
from generation.finishing.matching import EDGE

MAX_BITS = 90
"""Bits of 256 in which the hash of a master and the nearest hash of the image may differ; chance gives about 128."""
MAX_LEVELS = 12 * 48
"""The same for the sum over the bytes of the colour grids, for masters without a hash."""
BY_HASH, BY_COLOURS = 24, 8
"""How many of each are candidates. benchmarks/verify.py shows where the right one ranks."""

# By hand: the ORM has no operators on bits and bytes.
_MASTERS = f"""
WITH seen AS MATERIALIZED (
    SELECT m.id, m.brand_id, m.pdq_bits, m.colours, m.thumbnails ->> '{EDGE}' AS thumbnail
      FROM generation_master m
     WHERE m.brand_id = ANY(%s) AND m.thumbnails ? '{EDGE}'
), by_hash AS (
    SELECT id, thumbnail, least(NEAREST) AS distance
      FROM seen WHERE pdq_bits IS NOT NULL
     ORDER BY distance, id
     LIMIT {BY_HASH}
), by_colours AS (
    SELECT id, thumbnail,
           (SELECT sum(abs(get_byte(colours, place) - get_byte(%s::bytea, place)))
              FROM generate_series(0, 47) AS place) AS levels
      FROM seen WHERE pdq_bits IS NULL
     ORDER BY levels, id
     LIMIT {BY_COLOURS}
)
SELECT id, thumbnail, distance FROM by_hash WHERE distance <= {MAX_BITS}
 UNION ALL
SELECT id, thumbnail, NULL FROM by_colours WHERE levels <= {MAX_LEVELS}
"""  # noqa: S608 - the numbers are our own


@dataclass(frozen=True)
class Candidate:
    """A master that may be what the image shows. thumbnail: the storage key. distance: bits, None without a hash."""

    master_id: int
    thumbnail: str
    distance: int | None


def find_candidates(*, user: User, hashes: Sequence[str], colours: bytes) -> list[Candidate]:
    """Return candidates among the masters of the user's brands. hashes, colours: see `found_files.FoundFile`.

    Every master of these brands is looked at: 100,000 take about a third of a second.
    """
    if not hashes:
        return []
    brands = list(Brand.objects.visible_to(user).values_list("pk", flat=True))
    nearest = ", ".join(["bit_count(pdq_bits # ('x' || %s)::bit(256))"] * len(hashes))
    values: list[Any] = [brands, *hashes, colours]
    return [Candidate(*row) for row in sql.rows(_MASTERS.replace("NEAREST", nearest), values)]
