"""Reads about reference photos and their cut-outs."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import unquote, urlsplit

from django.db.models import QuerySet

from campaigns.choices import CutoutMethod, PhotoStatus
from campaigns.errors import NotFound
from campaigns.models import Brand, Cutout, ReferencePhoto, User


@dataclass(frozen=True)
class Wanted:
    """A photo whose bytes are not here (or were refused), by the file name under which they may come."""

    photo_id: int
    subject_key: str
    source: str

    @property
    def path(self) -> str:
        """The source as a path with forward slashes, lower case, without a URL's host and query."""
        plain = self.source.strip().replace("\\", "/")
        if "://" in plain:
            plain = unquote(urlsplit(plain).path)
        return plain.lstrip("./").casefold()

    @property
    def file_name(self) -> str:
        return self.path.rsplit("/", 1)[-1]


def get(*, photo_id: int, user: User) -> ReferencePhoto:
    """One photo that `user` may see, with its subject and brand; NotFound otherwise."""
    rows = ReferencePhoto.objects.visible_to(user).select_related("subject__brand")
    photo: ReferencePhoto | None = rows.filter(pk=photo_id).first()
    if photo is None:
        raise NotFound(f"There is no photo {photo_id}.", photo=photo_id)
    return photo


def wanted(*, brand: Brand, user: User) -> list[Wanted]:
    """The brand's photos that still wait for their file, oldest first."""
    rows = ReferencePhoto.objects.visible_to(user).filter(
        subject__brand=brand, status__in=[PhotoStatus.PENDING, PhotoStatus.REFUSED]
    )
    found = rows.order_by("id").values_list("id", "subject__key", "source")
    return [Wanted(*row) for row in found.iterator(chunk_size=5000)]


def cutout_of_same_file(*, brand: Brand, sha256: str) -> Cutout | None:
    """A cut-out that was computed in this brand from a stored photo of this very content."""
    rows: QuerySet[Cutout] = Cutout.objects.filter(photo__subject__brand=brand, photo__sha256=sha256)
    return rows.exclude(method=CutoutMethod.MANUAL).order_by("-id").first()
