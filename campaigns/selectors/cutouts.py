"""The sheet of cut-outs: photos by SKU, each with its current cut-out, and how many need a look."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from django.db.models import Exists, OuterRef, Prefetch, Q, QuerySet

from campaigns.choices import PhotoStatus
from campaigns.models import Cutout, ReferencePhoto
from campaigns.photos.cutout import LOW_CONFIDENCE
from campaigns.selectors import readiness
from core.models import Brand, User


@dataclass(frozen=True)
class PhotoCard:
    """One photo on the sheet. cutout: the accepted one, else the newest, None if there is none."""

    photo: ReferencePhoto
    cutout: Cutout | None

    @property
    def needs_review(self) -> bool:
        return readiness.needs_review(self.cutout)

    @property
    def percent(self) -> int:
        return round(100 * self.cutout.confidence) if self.cutout else 0


@dataclass(frozen=True)
class SheetPage:
    """One page of cards; after: the photo id with which the next page begins, 0 at the end."""

    cards: list[PhotoCard]
    after: int


def usable_photos(user: User, brand: Brand) -> QuerySet[Any]:
    """Return the photos that runs may use: ready ones of active subjects."""
    rows = ReferencePhoto.objects.visible_to(user).filter(subject__brand=brand, subject__is_active=True)
    return rows.filter(status=PhotoStatus.READY)


def photos_to_review(user: User, brand: Brand) -> QuerySet[Any]:
    """Return the photos without an accepted cut-out that a person has accepted or that is confident enough."""
    vouched = Cutout.objects.filter(photo=OuterRef("pk"), is_accepted=True)
    vouched = vouched.filter(Q(confidence__gte=LOW_CONFIDENCE) | Q(accepted_by__isnull=False))
    return usable_photos(user, brand).filter(~Exists(vouched))


def sheet(
    user: User, brand: Brand, *, is_all: bool = False, after: int = 0, limit: int = 60, subject_ids: Sequence[int] = ()
) -> SheetPage:
    """Return the cards by SKU, from the photo `after` on; with `subject_ids`, only of these subjects. Three queries."""
    rows = usable_photos(user, brand) if is_all else photos_to_review(user, brand)
    if subject_ids:
        rows = rows.filter(subject__in=subject_ids)
    start = ReferencePhoto.objects.visible_to(user).filter(pk=after).values_list("subject__key", "pk").first()
    if start:
        rows = rows.filter(Q(subject__key__gt=start[0]) | Q(subject__key=start[0], pk__gte=start[1]))
    cutouts = Prefetch("cutouts", Cutout.objects.order_by("-is_accepted", "-id"))
    page = list(rows.select_related("subject").prefetch_related(cutouts).order_by("subject__key", "pk")[: limit + 1])
    cards = [PhotoCard(photo, next(iter(photo.cutouts.all()), None)) for photo in page[:limit]]
    return SheetPage(cards, page[limit].pk if len(page) > limit else 0)


def list_cutouts(photo: ReferencePhoto) -> QuerySet[Any]:
    """Return every cut-out of a photo, the newest first, with the users who made and accepted it."""
    return Cutout.objects.filter(photo=photo).select_related("made_by", "accepted_by").order_by("-id")
