"""The lengths of review queues, by person and brand."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from django.db.models import Count, Min, Q
from django.utils import timezone

from core.access import Action
from core.models import User
from review.choices import TaskState
from review.models import ReviewTask


@dataclass(frozen=True)
class Waiting:
    """One brand's review queue as one user sees it.

    waiting: open tasks that the user may claim now or holds. held: tasks that the user holds. by_others: tasks that
    other people hold. overdue: tasks of `waiting` past their due time. oldest_at: when the oldest task was opened.
    """

    brand_id: int
    brand_slug: str
    brand_name: str
    waiting: int
    overdue: int
    held: int
    by_others: int
    oldest_at: datetime | None


def waiting(*, user: User) -> list[Waiting]:
    """Return one row per brand with open tasks that the user may review, longest queue first. One query."""
    now = timezone.now()
    held_by_other = Q(claimed_until__gt=now) & ~Q(claimed_by=user)
    mine = ~held_by_other | Q(claimed_until__isnull=True)
    tasks = ReviewTask.objects.allowed_to(user, Action.REVIEW).filter(state=TaskState.OPEN)
    rows = (
        tasks.exclude(slots__decision__decided_by=user)
        .values("brand_id", "brand__slug", "brand__name")
        .annotate(
            waiting=Count("pk", filter=mine),
            overdue=Count("pk", filter=mine & Q(due_at__lt=now)),
            held=Count("pk", filter=Q(claimed_by=user, claimed_until__gt=now)),
            by_others=Count("pk", filter=held_by_other),
            oldest_at=Min("opened_at", filter=mine),
        )
        .order_by("-waiting", "brand__slug")
    )
    return [
        Waiting(
            row["brand_id"],
            row["brand__slug"],
            row["brand__name"],
            row["waiting"],
            row["overdue"],
            row["held"],
            row["by_others"],
            row["oldest_at"],
        )
        for row in rows
    ]


def escalated(*, user: User) -> list[ReviewTask]:
    """Return the escalated tasks that wait for this user."""
    return list(
        ReviewTask.objects.visible_to(user)
        .filter(escalated_to=user, state=TaskState.AWAITING_VERSION)
        .select_related("asset__subject", "asset__campaign", "asset__current_version__master", "brand")
        .order_by("id")
    )
