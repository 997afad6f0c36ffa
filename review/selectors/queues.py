"""The review queue of a brand as one person sees it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from django.db.models import Count, Min, Q
from django.utils import timezone

from core.access import Action
from core.models import Brand, User
from review.choices import TaskState
from review.models import ReviewTask


@dataclass(frozen=True)
class BrandQueue:
    """One brand's review queue as one user sees it.

    waiting_count: open tasks that the user may claim now or has claimed. overdue_count: those of them that are past
    their due time. claimed_count: tasks that the user has claimed. held_by_others_count: tasks that another person has
    claimed. oldest_at: when the oldest waiting one was opened.
    """

    waiting_count: int
    overdue_count: int
    claimed_count: int
    held_by_others_count: int
    oldest_at: datetime | None


def brand_queue(*, user: User, brand: Brand) -> BrandQueue:
    """Return the counts of the open tasks that the user may review. One query."""
    now = timezone.now()
    is_claimed, is_mine = Q(claimed_until__gt=now), Q(claimed_by=user)
    available = ~is_claimed | is_mine
    tasks = ReviewTask.objects.allowed_to(user, Action.REVIEW).filter(brand=brand, state=TaskState.OPEN)
    counts = tasks.exclude(slots__decision__decided_by=user).aggregate(
        waiting_count=Count("pk", filter=available),
        overdue_count=Count("pk", filter=available & Q(due_at__lt=now)),
        claimed_count=Count("pk", filter=is_claimed & is_mine),
        held_by_others_count=Count("pk", filter=is_claimed & ~is_mine),
        oldest_at=Min("opened_at", filter=available),
    )
    return BrandQueue(**counts)


def escalated_tasks(*, user: User, brand: Brand) -> list[ReviewTask]:
    """Return the escalated tasks that wait for this user."""
    rows = ReviewTask.objects.visible_to(user).filter(brand=brand, escalated_to=user)
    return list(rows.filter(state=TaskState.AWAITING_VERSION).order_by("id"))
