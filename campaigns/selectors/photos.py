"""Read reference photos and their cut-outs: one photo, the progress of fetching, the sheet of cut-outs."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from urllib.parse import unquote, urlsplit

from django.db.models import Count, Exists, Min, OuterRef, Prefetch, Q, QuerySet
from django.db.models.functions import Lower
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from campaigns.choices import PhotoStatus
from campaigns.models import Cutout, ReferencePhoto, Subject, Variant
from campaigns.photos import cutout
from campaigns.selectors import readiness
from core.models import Brand, User
from core.selectors.rows import first_or_refuse


@dataclass(frozen=True)
class FetchProgress:
    """The progress of fetching a brand's photos by address."""

    pending: int
    postponed: int  # those of the pending that failed before and wait for a retry
    fetched: int
    refused: int
    next_at: datetime | None  # the time of the first retry

    @property
    def total(self) -> int:
        return self.pending + self.fetched + self.refused

    @property
    def is_busy(self) -> bool:
        """True if some pending photos are not only waiting for a retry."""
        return self.pending > self.postponed

    @property
    def sentence(self) -> str:
        """Return “42 photos are being fetched (3 put off after a failure), 60 are here.”; "" if there is none."""
        if not self.pending and not self.refused:
            return ""
        parts = []
        if self.pending:
            words = ngettext("%(count)s photo is being fetched", "%(count)s photos are being fetched", self.pending)
            if self.postponed:
                words = ngettext(
                    "%(count)s photo is being fetched (%(postponed)s put off after a failure)",
                    "%(count)s photos are being fetched (%(postponed)s put off after a failure)",
                    self.pending,
                )
            parts.append(words % {"count": f"{self.pending:,}", "postponed": f"{self.postponed:,}"})
        if self.fetched:
            words = ngettext("%(count)s is here", "%(count)s are here", self.fetched)
            parts.append(words % {"count": f"{self.fetched:,}"})
        if self.refused:
            parts.append(_("%(count)s could not be fetched") % {"count": f"{self.refused:,}"})
        return ", ".join(parts) + "."


def get_fetch_progress(brand: Brand, user: User) -> FetchProgress:
    """Return the progress of the photos that the brand's feeds name by address. One query."""
    rows = ReferencePhoto.objects.visible_to(user).filter(subject__brand=brand, source__istartswith="http")
    pending = Q(status=PhotoStatus.PENDING)
    counts = rows.aggregate(
        pending=Count("pk", filter=pending),
        postponed=Count("pk", filter=pending & Q(attempts__gt=0) & ~Q(notes=[])),
        fetched=Count("pk", filter=Q(status=PhotoStatus.READY)),
        refused=Count("pk", filter=Q(status=PhotoStatus.REFUSED)),
        next_at=Min("due_at", filter=pending & ~Q(notes=[])),
    )
    return FetchProgress(**counts)


def get(*, photo_id: int, user: User, brand: Brand | None = None) -> ReferencePhoto:
    """Return a photo with subject and brand. Raises NotFound, also for another brand or one the user may not see."""
    rows = ReferencePhoto.objects.visible_to(user).select_related("subject__brand").filter(pk=photo_id)
    if brand is not None:
        rows = rows.filter(subject__brand=brand)
    return first_or_refuse(rows, _("There is no photo %(id)d.") % {"id": photo_id}, photo=photo_id)


def list_photos_without_file(*, brand: Brand, user: User) -> list[tuple[int, str]]:
    """Return (id, expected path, case-folded, without a URL's host) of photos that wait for files, oldest first."""
    rows = ReferencePhoto.objects.visible_to(user).filter(subject__brand=brand)
    rows = rows.filter(status__in=[PhotoStatus.PENDING, PhotoStatus.REFUSED]).order_by("id")
    photos = []
    for pk, source in rows.values_list("id", "source").iterator(chunk_size=5000):
        path = source.strip().replace("\\", "/")
        if "://" in path:
            path = unquote(urlsplit(path).path)
        photos.append((pk, path.lstrip("./").casefold()))
    return photos


def subjects_by_sku(brand: Brand, keys: Iterable[str]) -> dict[str, frozenset[int]]:
    """Return ids of the brand's active subjects by case-folded SKU, their own or a variant's. Two queries."""
    skus = list(keys)
    ids_by_sku: dict[str, set[int]] = {}
    own = Subject.objects.filter(brand=brand, is_active=True).annotate(sku=Lower("key"))
    variants = Variant.objects.filter(subject__brand=brand, subject__is_active=True).annotate(sku=Lower("key"))
    pairs = [*own.filter(sku__in=skus).values_list("sku", "pk")]
    pairs += variants.filter(sku__in=skus).values_list("sku", "subject_id")
    for sku, pk in pairs:
        ids_by_sku.setdefault(sku, set()).add(pk)
    return {sku: frozenset(ids) for sku, ids in ids_by_sku.items()}


def find_photos_with_same_files(
    user: User, subject: Subject, photos: Iterable[ReferencePhoto]
) -> QuerySet[ReferencePhoto]:
    """Return the photos of other subjects of the brand that have the same file as one of these."""
    hashes = [photo.sha256 for photo in photos if photo.sha256]
    rows = ReferencePhoto.objects.visible_to(user).filter(sha256__in=hashes, subject__brand=subject.brand_id)
    return rows.exclude(subject=subject).exclude(status=PhotoStatus.REMOVED).select_related("subject")


def list_removed(user: User, subject: Subject) -> QuerySet[ReferencePhoto]:
    """Return the photos that were removed and whose files are kept, newest first."""
    rows = ReferencePhoto.objects.visible_to(user).filter(subject=subject, status=PhotoStatus.REMOVED)
    return rows.exclude(storage_key="").order_by("-id")


def list_of_brand(user: User, brand: Brand) -> QuerySet[ReferencePhoto]:
    """Return every photo of the brand, those of its studio included."""
    return ReferencePhoto.objects.visible_to(user).filter(subject__brand=brand)


@dataclass(frozen=True)
class SheetPage:
    """One page of cards: a photo, its accepted or else newest cut-out or None, and whether a person should look."""

    cards: list[tuple[ReferencePhoto, Cutout | None, bool]]
    after: int  # the photo id with which the next page begins, 0 at the end


def usable_photos(user: User, brand: Brand) -> QuerySet[Any]:
    """Return the photos that runs may use: ready ones of active subjects."""
    rows = ReferencePhoto.objects.visible_to(user).filter(subject__brand=brand, subject__is_active=True)
    return rows.filter(status=PhotoStatus.READY)


def photos_to_review(user: User, brand: Brand) -> QuerySet[Any]:
    """Return the photos without an accepted cut-out that a person has accepted or that is confident enough."""
    vouched = Cutout.objects.filter(photo=OuterRef("pk"), is_accepted=True)
    vouched = vouched.filter(Q(confidence__gte=cutout.LOW_CONFIDENCE) | Q(accepted_by__isnull=False))
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
    pairs = [(photo, next(iter(photo.cutouts.all()), None)) for photo in page[:limit]]
    cards = [(photo, cutout, readiness.needs_review(cutout)) for photo, cutout in pairs]
    return SheetPage(cards, page[limit].pk if len(page) > limit else 0)
