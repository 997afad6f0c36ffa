"""Load the data of a brand's home page: what waits for the user, such as the review queue, and the newest campaigns."""

from __future__ import annotations

from typing import Any

from django.db.models import Count, Min, Q, QuerySet
from django.utils import timezone

from campaigns.choices import PhotoStatus, SubjectKind
from campaigns.models import Campaign, ReferencePhoto, Subject
from core.access import Action
from core.models import Brand, User
from generation.choices import AssetState, JobState, RunState
from generation.models import Asset, Run
from generation.selectors import images
from review.choices import ObservedState, TaskState
from review.models import Delivery, ReviewTask

MAX_THUMBNAILS = 4  # of a reminder


def campaigns(user: User, brand: Brand) -> QuerySet[Any]:
    """Return the brand's campaigns, newest first, with `made` and `approved` counts of images."""
    rows = Campaign.objects.visible_to(user).filter(brand=brand, is_sandbox=False)
    made = Count("assets", filter=~Q(assets__state__in=[AssetState.SUPERSEDED, AssetState.MAKING]))
    approved = Count("assets", filter=Q(assets__state=AssetState.APPROVED))
    return rows.annotate(made=made, approved=approved).order_by("-created_at")


def has_products(brand: Brand) -> bool:
    return Subject.objects.filter(brand=brand).exists()


def newest_versions(user: User, brand: Brand, **lookups: Any) -> list[tuple[int, str]]:
    """Return (id, disclaimer) of the current versions of the newest assets that `lookups` of Asset select."""
    rows = Asset.objects.visible_to(user).filter(brand=brand, **lookups).exclude(current_version=None).order_by("-pk")
    return list(rows.values_list("current_version_id", images.DISCLAIMER_OF_ASSET)[:MAX_THUMBNAILS])


def open_runs(user: User, brand: Brand) -> QuerySet[Any]:
    """Return runs that wait for a person, then running ones, with the count of `done` jobs."""
    states = (RunState.PLANNED, RunState.PAUSED, RunState.RUNNING)
    rows = Run.objects.visible_to(user).filter(campaign__brand=brand, state__in=states)
    done = Count("jobs", filter=Q(jobs__status=JobState.SUCCEEDED))
    return rows.annotate(done=done).select_related("campaign").order_by("state", "-id")


def failed_assets(user: User, brand: Brand) -> QuerySet[Any]:
    """Return assets whose images could not be made, newest first, with their cells."""
    rows = Asset.objects.visible_to(user).filter(brand=brand, state=AssetState.FAILED, is_sandbox=False)
    return rows.select_related("cell").order_by("-pk")


def failed_deliveries(user: User, brand: Brand) -> QuerySet[Any]:
    rows = Delivery.objects.visible_to(user).filter(destination__brand=brand, observed=ObservedState.FAILED)
    return rows.order_by("-changed_at")


def products_without_photo(user: User, brand: Brand) -> int:
    stored = ReferencePhoto.objects.filter(status=PhotoStatus.READY).values("subject_id")
    products = Subject.objects.visible_to(user).filter(brand=brand, is_active=True, kind=SubjectKind.PRODUCT)
    return products.exclude(pk__in=stored).count()


def brand_queue(*, user: User, brand: Brand, action: Action = Action.REVIEW) -> dict[str, Any]:
    """Return the counts of the open tasks of a brand, if the user may do `action` there. One query.

    waiting_count: tasks that the user may claim or has claimed. overdue_count: those of them past their due time.
    oldest_at: when the oldest of them was opened. Tasks that the user has decided are not counted.
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
    rows = ReviewTask.objects.visible_to(user).filter(brand=brand, escalated_to=user)
    return list(rows.filter(state=TaskState.AWAITING_VERSION).order_by("id"))
