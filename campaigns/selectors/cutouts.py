"""The sheet of cut-outs: photos in order of SKU with the cut-out that counts, and how many want a look."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from django.db.models import Exists, OuterRef, Prefetch, Q, QuerySet

from campaigns.choices import PhotoStatus
from campaigns.models import Cutout, ReferencePhoto
from campaigns.photos.cutout import DOUBTFUL
from campaigns.selectors import readiness
from core.models import Brand, User

COUNTED = 10_000


@dataclass(frozen=True)
class Card:
    """One photo on the sheet. cutout: the accepted one, else the newest, None if there is none."""

    photo: ReferencePhoto
    cutout: Cutout | None

    @property
    def needs_look(self) -> bool:
        return readiness.needs_look(self.cutout)

    @property
    def percent(self) -> int:
        return round(100 * self.cutout.confidence) if self.cutout else 0


@dataclass(frozen=True)
class Sheet:
    """One page of cards; after: the photo id with which the next page begins, 0 at the end."""

    cards: list[Card]
    after: int


def photos(user: User, brand: Brand) -> QuerySet[Any]:
    """Photos that runs may use: ready, of active subjects."""
    rows = ReferencePhoto.objects.visible_to(user).filter(subject__brand=brand, subject__is_active=True)
    return rows.filter(status=PhotoStatus.READY)


def to_be_looked_at(user: User, brand: Brand) -> QuerySet[Any]:
    """Photos without a cut-out that somebody, or its own confidence, vouches for."""
    vouched = Cutout.objects.filter(photo=OuterRef("pk"), is_accepted=True)
    vouched = vouched.filter(Q(confidence__gte=DOUBTFUL) | Q(accepted_by__isnull=False))
    return photos(user, brand).filter(~Exists(vouched))


def sheet(
    user: User,
    brand: Brand,
    *,
    is_all: bool = False,
    after: int = 0,
    limit: int = 60,
    subject_ids: Sequence[int] = (),
) -> Sheet:
    """Cards by SKU from the photo `after` on, of these subjects only where some are named; three queries however many
    there are."""
    rows = photos(user, brand) if is_all else to_be_looked_at(user, brand)
    if subject_ids:
        rows = rows.filter(subject__in=subject_ids)
    start = ReferencePhoto.objects.visible_to(user).filter(pk=after).values_list("subject__key", "pk").first()
    if start:
        rows = rows.filter(Q(subject__key__gt=start[0]) | Q(subject__key=start[0], pk__gte=start[1]))
    cutouts = Prefetch("cutouts", Cutout.objects.order_by("-is_accepted", "-id"))
    found = list(rows.select_related("subject").prefetch_related(cutouts).order_by("subject__key", "pk")[: limit + 1])
    cards = [Card(photo, next(iter(photo.cutouts.all()), None)) for photo in found[:limit]]
    return Sheet(cards, found[limit].pk if len(found) > limit else 0)


def capped(rows: QuerySet[Any]) -> int:
    """Count the rows, to COUNTED and no further."""
    return int(rows.order_by()[:COUNTED].count())


def earlier(photo: ReferencePhoto) -> QuerySet[Any]:
    """Every cut-out of a photo, the newest first, with who made and who accepted it."""
    return Cutout.objects.filter(photo=photo).select_related("made_by", "accepted_by").order_by("-id")
