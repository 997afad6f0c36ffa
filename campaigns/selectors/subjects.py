"""Reading subjects."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from django.db.models import Prefetch, Q, QuerySet

from campaigns.choices import PhotoStatus
from campaigns.models import Cutout, ReferencePhoto, Subject
from core.errors import Invalid, NotFound, Problem
from core.models import Brand, User

PAGE = 60
COUNTED = 10_000


@dataclass(frozen=True)
class Page:
    """Some subjects in order of their key. after, before: keys to go on from and back to, empty at the ends."""

    subjects: list[Subject]
    after: str
    before: str


def visible(user: User, brand: Brand, *, kind: str = "", is_active: bool = True, words: str = "") -> QuerySet[Any]:
    """A brand's subjects, of one kind, whose key or name holds every word."""
    found = Subject.objects.visible_to(user).filter(brand=brand, is_active=is_active)
    if not is_active:
        found = found.filter(studio=None)  # its subject is retired from the start
    if kind:
        found = found.filter(kind=kind)
    for word in words.split():
        found = found.filter(Q(key__icontains=word) | Q(name__icontains=word))
    return found


def page(rows: QuerySet[Any], *, after: str = "", before: str = "", limit: int = PAGE) -> Page:
    """The next subjects of `rows` (all of one kind) after a key, or those before one; the unique index on brand, kind
    and key serves both, however far down. Photos come along."""
    rows = rows.prefetch_related(photos())
    if before:
        found = list(rows.filter(key__lt=before).order_by("-key")[: limit + 1])
        has_more, found = len(found) > limit, found[:limit][::-1]
        return Page(found, found[-1].key if found else "", found[0].key if found and has_more else "")
    found = list((rows.filter(key__gt=after) if after else rows).order_by("key")[: limit + 1])
    shown = found[:limit]
    return Page(shown, shown[-1].key if len(found) > limit else "", shown[0].key if shown and after else "")


def photos() -> Prefetch[str]:
    """A subject's photos in order with their cut-outs, the accepted one first; removed photos stay away."""
    cutouts = Prefetch("cutouts", Cutout.objects.order_by("-is_accepted", "-id"))
    rows = ReferencePhoto.objects.exclude(status=PhotoStatus.REMOVED)
    return Prefetch("photos", rows.prefetch_related(cutouts).order_by("position", "id"))


def get(user: User, brand: Brand, pk: int) -> Subject:
    """One subject with photos, variants and campaigns. Raises NotFound."""
    rows = Subject.objects.visible_to(user).filter(brand=brand, pk=pk)
    found: Subject | None = rows.prefetch_related(photos(), "variants", "campaigns").first()
    if found is None:
        raise NotFound(f"There is no subject {pk} in {brand.name}.")
    return found


def capped(rows: QuerySet[Any]) -> int:
    """Count the rows, to COUNTED and no further."""
    return int(rows.order_by()[:COUNTED].count())


def ids_by_key(brand: Brand, keys: Iterable[str]) -> list[int] | None:
    """Ids of the brand's active subjects with these SKUs; None for ["*"], which means all. Raises Invalid."""
    wanted = list(dict.fromkeys(keys))
    if wanted == ["*"]:
        return None
    found = dict(Subject.objects.filter(brand=brand, is_active=True, key__in=wanted).values_list("key", "pk"))
    unknown = [key for key in wanted if key not in found]
    if unknown:
        problems = [Problem("/subjects", f"{brand.name} has no active subject {key!r}.", key) for key in unknown]
        raise Invalid("Some subjects are not known.", problems)
    return list(found.values())


def find(user: User, brand: Brand, pk: int) -> Subject | None:
    """Return a subject of the brand with its photos, None where there is none; the studio's is not among them."""
    rows = Subject.objects.visible_to(user).filter(brand=brand, pk=pk, studio=None)
    found: Subject | None = rows.prefetch_related(photos()).first()
    return found


def ensure(user: User, brand: Brand, pk: int) -> None:
    """Raise NotFound unless the brand has this subject."""
    if not Subject.objects.visible_to(user).filter(brand=brand, pk=pk).exists():
        raise NotFound(f"There is no subject {pk} in {brand.name}.")
