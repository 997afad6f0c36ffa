"""Read what destinations serve of the marks of origin in delivered files, and the advice of their kinds."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from django.utils.translation import gettext as translate

from core import sql
from review.delivery import base
from review.delivery.marks_advice import MarksAdvice

LAST_FILES: Final = 200

# The ORM makes no LATERAL join, which reads the newest files of each destination and no more from the index
# "delivery_verified". The literal of `observed` is that of the index.
_COUNT = """
SELECT chosen.id,
       count(*) FILTER (WHERE served.marks = 'kept') AS kept,
       count(*) FILTER (WHERE served.marks = 'label') AS label,
       count(*) FILTER (WHERE served.marks = 'lost') AS lost,
       count(*) FILTER (WHERE served.marks NOT IN ('kept', 'label', 'lost')) AS unknown
  FROM unnest(%(destinations)s::bigint[]) AS chosen (id)
 CROSS JOIN LATERAL (
       SELECT coalesce(file.entry ->> 'marks', '') AS marks
         FROM review_delivery AS delivery
        CROSS JOIN LATERAL jsonb_array_elements(delivery.verification) AS file (entry)
        WHERE delivery.destination_id = chosen.id
          AND delivery.observed = 'present'
          AND delivery.verified_at >= coalesce(%(since)s::timestamptz, '-infinity')
        ORDER BY delivery.verified_at DESC
        LIMIT %(limit)s
       ) AS served
 GROUP BY chosen.id
"""


@dataclass(frozen=True)
class MarksSummary:
    """The number of files that a destination serves with all marks, with the label of AI alone, and with none.

    unknown: those that cannot be fetched there, or that are not the image that was sent.
    """

    kept: int = 0
    label: int = 0
    lost: int = 0
    unknown: int = 0

    @property
    def checked(self) -> int:
        return self.kept + self.label + self.lost

    @property
    def damaged(self) -> int:
        """Return how many files lost something: their Content Credentials, or all marks."""
        return self.label + self.lost

    @property
    def percent_kept(self) -> int:
        """Return the share of the checked files with all marks, rounded down: 100 means that none lost anything."""
        return 100 * self.kept // self.checked if self.checked else 0


def summarize(
    destinations: Collection[int], *, since: datetime | None = None, last: int | None = None
) -> dict[int, MarksSummary]:
    """Return what became of the marks of the files that are live at each destination. One query.

    since: only files that were compared from then on. last: only so many of each, the newest. A destination without
    a file has an empty summary.
    """
    values = {"destinations": list(destinations), "since": since, "limit": last}
    summaries = {row.id: MarksSummary(row.kept, row.label, row.lost, row.unknown) for row in sql.rows(_COUNT, values)}
    return {pk: summaries.get(pk, MarksSummary()) for pk in destinations}


def find_advice(kind: str) -> MarksAdvice | None:
    """Return the translated advice of a kind of destination; None if no plug-in has that name any more."""
    if kind not in base.DESTINATIONS:
        return None
    advice = base.DESTINATIONS.get(kind).marks_advice
    return MarksAdvice(translate(advice.cause), translate(advice.remedy))


def worst(verification: Collection[dict[str, str]]) -> str:
    """Return "lost", "label" or "kept", the worst of the files of a delivery; "" if nothing is known of them."""
    found = {entry.get("marks", "") for entry in verification}
    return next((marks for marks in ("lost", "label", "kept") if marks in found), "")
