"""Read reference photos and their cut-outs."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from urllib.parse import unquote, urlsplit

from django.db.models import Count, Min, Q, QuerySet
from django.db.models.functions import Lower
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from campaigns.choices import CutoutMethod, PhotoStatus
from campaigns.models import Cutout, ReferencePhoto, Subject, Variant
from campaigns.photos import cutout
from core.models import Brand, User
from core.selectors.rows import first_or_refuse


@dataclass(frozen=True)
class PhotoWithoutFile:
    """A photo that has no file yet (or whose file was refused), with the file name that is expected."""

    photo_id: int
    source: str

    @property
    def path(self) -> str:
        """Return the source as a case-folded path with forward slashes, without a URL's host and query."""
        plain = self.source.strip().replace("\\", "/")
        if "://" in plain:
            plain = unquote(urlsplit(plain).path)
        return plain.lstrip("./").casefold()

    @property
    def file_name(self) -> str:
        return self.path.rsplit("/", 1)[-1]


@dataclass(frozen=True)
class FetchProgress:
    """The progress of fetching a brand's photos by address.

    postponed: the pending photos that failed before and wait for a retry. next_at: the time of the first retry.
    """

    pending: int
    postponed: int
    fetched: int
    refused: int
    next_at: datetime | None

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
        if self.postponed:
            parts = [
                ngettext(
                    "%(count)s photo is being fetched (%(postponed)s put off after a failure)",
                    "%(count)s photos are being fetched (%(postponed)s put off after a failure)",
                    self.pending,
                )
                % {"count": f"{self.pending:,}", "postponed": f"{self.postponed:,}"}
            ]
        elif self.pending:
            words = ngettext("%(count)s photo is being fetched", "%(count)s photos are being fetched", self.pending)
            parts = [words % {"count": f"{self.pending:,}"}]
        if self.fetched:
            parts.append(
                ngettext("%(count)s is here", "%(count)s are here", self.fetched) % {"count": f"{self.fetched:,}"}
            )
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
    """Return a photo with its subject and brand. Raises NotFound, also if the user may not see it or it is not of
    `brand`."""
    rows = ReferencePhoto.objects.visible_to(user).select_related("subject__brand").filter(pk=photo_id)
    if brand is not None:
        rows = rows.filter(subject__brand=brand)
    return first_or_refuse(rows, _("There is no photo %(id)d.") % {"id": photo_id}, photo=photo_id)


def list_photos_without_file(*, brand: Brand, user: User) -> list[PhotoWithoutFile]:
    """Return the brand's photos that still wait for their file, oldest first."""
    rows = ReferencePhoto.objects.visible_to(user).filter(subject__brand=brand)
    rows = rows.filter(status__in=[PhotoStatus.PENDING, PhotoStatus.REFUSED]).order_by("id")
    return [PhotoWithoutFile(*row) for row in rows.values_list("id", "source").iterator(chunk_size=5000)]


def find_cutout_of_same_file(*, brand: Brand, sha256: str) -> Cutout | None:
    """Return a cut-out that the current algorithm made in this brand from a photo with the same content."""
    rows = Cutout.objects.filter(photo__subject__brand=brand, photo__sha256=sha256, algorithm=cutout.ALGORITHM)
    return rows.exclude(method=CutoutMethod.MANUAL).order_by("-id").first()


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
