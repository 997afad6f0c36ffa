"""Load the data of a brand's home page: what waits for the user, such as the review queue, and the newest campaigns."""

from __future__ import annotations

from typing import Any

from django.db.models import Count, Q, QuerySet

from campaigns.choices import PhotoStatus, SubjectKind
from campaigns.models import Campaign, ReferencePhoto, Subject
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


def escalated_tasks(*, user: User, brand: Brand) -> list[ReviewTask]:
    rows = ReviewTask.objects.visible_to(user).filter(brand=brand, escalated_to=user)
    return list(rows.filter(state=TaskState.AWAITING_VERSION).order_by("id"))
