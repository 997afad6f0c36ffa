"""The lengths of review queues, by person and brand."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from django.db.models import Count, F, Min, Q
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
    by_brand = tasks.exclude(slots__decision__decided_by=user).values(
        "brand_id", brand_slug=F("brand__slug"), brand_name=F("brand__name")
    )
    rows = by_brand.annotate(
        waiting_count=Count("pk", filter=available),
        overdue_count=Count("pk", filter=available & Q(due_at__lt=now)),
        claimed_count=Count("pk", filter=Q(claimed_by=user, claimed_until__gt=now)),
        claimed_by_others=Count("pk", filter=claimed_by_other),
        oldest_at=Min("opened_at", filter=available),
    )
    return [BrandQueue(**row) for row in rows.order_by("-waiting_count", "brand_slug")]


def escalated_tasks(*, user: User) -> list[ReviewTask]:
    """Return the escalated tasks that wait for this user."""
    rows = ReviewTask.objects.visible_to(user).filter(escalated_to=user, state=TaskState.AWAITING_VERSION)
    related = ("asset__subject", "asset__campaign", "asset__current_version__master", "brand")
    return list(rows.select_related(*related).order_by("id"))
