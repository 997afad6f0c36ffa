"""The review queue of a brand as one person sees it."""

from __future__ import annotations

from typing import Any

from django.db.models import Count, Min, Q
from django.utils import timezone

from core.access import Action
from core.models import Brand, User
from review.choices import TaskState
from review.models import ReviewTask


def brand_queue(*, user: User, brand: Brand, action: Action = Action.REVIEW) -> dict[str, Any]:
    """Return the counts of the open tasks of a brand, if the user may do `action` there. One query.

    waiting_count: tasks that the user may claim now or has claimed. overdue_count: those of them that are past their
    due time. claimed_count: tasks that the user has claimed. held_by_others_count: tasks that another person has
    claimed. oldest_at: when the oldest waiting one was opened. Tasks that the user has decided are not counted.
    """
    now = timezone.now()
    is_claimed, is_mine = Q(claimed_until__gt=now), Q(claimed_by=user)
    available = ~is_claimed | is_mine
    tasks = ReviewTask.objects.allowed_to(user, action).filter(brand=brand, state=TaskState.OPEN)
    return tasks.exclude(slots__decision__decided_by=user).aggregate(
        waiting_count=Count("pk", filter=available),
        overdue_count=Count("pk", filter=available & Q(due_at__lt=now)),
        claimed_count=Count("pk", filter=is_claimed & is_mine),
        held_by_others_count=Count("pk", filter=is_claimed & ~is_mine),
        oldest_at=Min("opened_at", filter=available),
    )


def escalated_tasks(*, user: User, brand: Brand) -> list[ReviewTask]:
    """Return the escalated tasks that wait for this user."""
    rows = ReviewTask.objects.visible_to(user).filter(brand=brand, escalated_to=user)
    return list(rows.filter(state=TaskState.AWAITING_VERSION).order_by("id"))
