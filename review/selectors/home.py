"""Load the data of a brand's home page: what waits for the user, such as the review queue, and the newest campaigns."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

from django.db.models import Count, Exists, OuterRef, QuerySet, Subquery
from django.db.models.functions import Coalesce

from campaigns.choices import PhotoStatus, SubjectKind
from campaigns.models import Campaign, ReferencePhoto, Subject
from core.models import Brand, User
from generation.choices import AssetState, JobState, RunState
from generation.models import Asset, AssetCount, AssetVersion, Job, Run
from generation.selectors import images
from review.choices import ObservedState, TaskState
from review.models import Delivery, ReviewTask
from review.selectors import library

MAX_THUMBNAILS = 4  # of a reminder
MAX_COUNT = 1_000  # where no number is kept
NOT_MADE = (AssetState.SUPERSEDED, AssetState.MAKING)


def campaigns(user: User, brand: Brand, count: int) -> list[Any]:
    """Return the brand's newest campaigns, with the counts `made` and `approved` of their images. Two queries."""
    rows = list(Campaign.objects.visible_to(user).filter(brand=brand, is_sandbox=False).order_by("-created_at")[:count])
    made, approved = Counter[int](), Counter[int]()
    counts = AssetCount.objects.filter(campaign__in=rows, check_name="").exclude(state__in=NOT_MADE)
    for campaign_id, state, number in counts.sums("campaign_id", "state"):
        made[campaign_id] += number
        approved[campaign_id] += number * (state == AssetState.APPROVED)
    for row in rows:
        row.made, row.approved = made[row.pk], approved[row.pk]
    return rows


def has_products(brand: Brand) -> bool:
    return Subject.objects.filter(brand=brand).exists()


def newest_versions(brand: Brand, states: Sequence[str]) -> list[tuple[int, str]]:
    """Return (id, disclaimer) of the current versions of the brand's newest assets in these states."""
    assets = Asset.objects.filter(brand=brand, is_sandbox=False)
    return current_versions(list(library.newest_of_states(assets, states, MAX_THUMBNAILS)))


def current_versions(asset_ids: Iterable[int]) -> list[tuple[int, str]]:
    """Return (id, disclaimer) of the current versions of these assets, newest first."""
    rows = Asset.objects.filter(pk__in=asset_ids).exclude(current_version=None).order_by("-pk")
    return list(rows.values_list("current_version_id", images.DISCLAIMER_OF_ASSET)[:MAX_THUMBNAILS])


def versions_of_run(run: Run) -> list[tuple[int, str]]:
    """Return (id, disclaimer) of some versions that the run has made."""
    jobs = run.jobs.filter(status=JobState.SUCCEEDED).order_by()[:MAX_THUMBNAILS]
    versions = AssetVersion.objects.filter(job__in=[job.pk for job in jobs])
    return list(versions.values_list("pk", images.DISCLAIMER_OF_VERSION))


def open_runs(user: User, brand: Brand) -> QuerySet[Any]:
    """Return runs that wait for a person, then running ones, with the count of `done` jobs of those that are read."""
    states = (RunState.PLANNED, RunState.PAUSED, RunState.RUNNING)
    rows = Run.objects.visible_to(user).filter(campaign__brand=brand, state__in=states)
    succeeded = Job.objects.filter(run=OuterRef("pk"), status=JobState.SUCCEEDED).order_by()
    done = Coalesce(Subquery(succeeded.values("run").annotate(count=Count("pk")).values("count")), 0)
    return rows.annotate(done=done).select_related("campaign").order_by("state", "-id")


def failed_assets(brand: Brand) -> tuple[Asset | None, int]:
    """Return the newest asset whose image could not be made, with its cell, and the number of such assets."""
    rows = Asset.objects.filter(brand=brand, state=AssetState.FAILED, is_sandbox=False).select_related("cell")
    counts = AssetCount.objects.filter(brand=brand, state=AssetState.FAILED, is_sandbox=False, check_name="")
    return rows.order_by("-pk").first(), counts.total()


def failed_deliveries(user: User, brand: Brand) -> QuerySet[Any]:
    rows = Delivery.objects.visible_to(user).filter(destination__brand=brand, observed=ObservedState.FAILED)
    return rows.order_by("-changed_at")


def products_without_photo(brand: Brand) -> int:
    """Return how many active products have no photo, counted up to MAX_COUNT + 1."""
    ready = ReferencePhoto.objects.filter(subject=OuterRef("pk"), status=PhotoStatus.READY)
    products = Subject.objects.filter(brand=brand, is_active=True, kind=SubjectKind.PRODUCT)
    return products.filter(~Exists(ready)).order_by()[: MAX_COUNT + 1].count()


def escalated_tasks(*, user: User, brand: Brand) -> list[ReviewTask]:
    rows = ReviewTask.objects.visible_to(user).filter(brand=brand, escalated_to=user)
    return list(rows.filter(state=TaskState.AWAITING_VERSION).order_by("id"))
