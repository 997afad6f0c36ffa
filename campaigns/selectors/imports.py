"""Reading imports: the list, one import, and what was wrong with it, grouped by cause."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from django.db.models import QuerySet, Window
from django.db.models.functions import RowNumber

from campaigns.errors import NotFound
from campaigns.feeds import CAUSES
from campaigns.models import FeedImport, ImportIssue, User


@dataclass(frozen=True)
class Group:
    """Equal mistakes of one import: `count` of all, and the first as an example."""

    cause: str
    label: str
    count: int
    example: ImportIssue

    @property
    def sentence(self) -> str:
        """`38 prices that cannot be read, like “12,9o €”, first in E14`."""
        like = f", like “{self.example.value[:60]}”" if self.example.value else ""
        where = f", first in {self.example.cell}" if self.example.cell else ""
        return f"{self.count:,} {self.label}{like}{where}"


def visible(user: User, *, brand_id: int | None = None) -> QuerySet[Any]:
    """Imports newest first, with brand and person."""
    rows = FeedImport.objects.visible_to(user).select_related("brand", "requested_by")
    if brand_id is not None:
        rows = rows.filter(brand_id=brand_id)
    return rows.order_by("-id")


def get(user: User, import_id: int, *, brand_id: int | None = None) -> FeedImport:
    """Raises NotFound, also for what the person must not know of, and for an import of another brand than asked for."""
    found: FeedImport | None = visible(user, brand_id=brand_id).filter(pk=import_id).first()
    if found is None:
        raise NotFound(f"There is no import {import_id}.")
    return found


def issues(user: User, feed_import: FeedImport, *, cause: str = "") -> QuerySet[Any]:
    """The stored issues in file order; at most 1,000 of a cause are stored."""
    rows = ImportIssue.objects.visible_to(user).filter(feed_import=feed_import)
    return (rows.filter(cause=cause) if cause else rows).order_by("row", "id")


def groups(user: User, feed_import: FeedImport) -> list[Group]:
    """Mistakes by cause, the most frequent first."""
    place = Window(RowNumber(), partition_by="cause", order_by=["row", "id"])
    firsts = issues(user, feed_import).annotate(place=place).filter(place=1)
    found = []
    for issue in firsts:
        count = feed_import.issue_counts.get(issue.cause, 1)
        plain = issue.cause.replace("_", " ")
        one, several = CAUSES.get(issue.cause, (plain, plain))
        found.append(Group(issue.cause, one if count == 1 else several, count, issue))
    return sorted(found, key=lambda group: (-group.count, group.example.row))
