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
class BrandQueue:
    """One brand's review queue as one user sees it.

    waiting_count: open tasks that the user may claim now or has claimed. overdue_count: those of them that are past
    their due time. claimed_count: tasks that the user has claimed. claimed_by_others: tasks that other people have
    claimed. oldest_at: when the oldest task was opened.
    """

    brand_id: int
    brand_slug: str
    brand_name: str
    waiting_count: int
    overdue_count: int
    claimed_count: int
    claimed_by_others: int
    oldest_at: datetime | None


def brand_queues(*, user: User) -> list[BrandQueue]:
    """Return one row per brand with open tasks that the user may review, longest queue first. One query."""
    now = timezone.now()
    claimed_by_other = Q(claimed_until__gt=now) & ~Q(claimed_by=user)
    available = ~claimed_by_other | Q(claimed_until__isnull=True)
    tasks = ReviewTask.objects.allowed_to(user, Action.REVIEW).filter(state=TaskState.OPEN)
    rows = (
        tasks.exclude(slots__decision__decided_by=user)
        .values("brand_id", "brand__slug", "brand__name")
        .annotate(
            waiting=Count("pk", filter=available),
            overdue=Count("pk", filter=available & Q(due_at__lt=now)),
            held=Count("pk", filter=Q(claimed_by=user, claimed_until__gt=now)),
            by_others=Count("pk", filter=claimed_by_other),
            oldest_at=Min("opened_at", filter=available),
        )
        .order_by("-waiting", "brand__slug")
    )
    return [
        BrandQueue(
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


def escalated_tasks(*, user: User) -> list[ReviewTask]:
    """Return the escalated tasks that wait for this user."""
    return list(
        ReviewTask.objects.visible_to(user)
        .filter(escalated_to=user, state=TaskState.AWAITING_VERSION)
        .select_related("asset__subject", "asset__campaign", "asset__current_version__master", "brand")
        .order_by("id")
    )
