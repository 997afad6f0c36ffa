"""Read subjects, and the history of one as sentences."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from django.db.models import Prefetch, Q, QuerySet
from django.utils.translation import gettext as _

from campaigns.choices import PhotoStatus
from campaigns.models import Cutout, ReferencePhoto, Subject
from core.errors import Invalid, Problem
from core.models import Brand, Event, User
from core.selectors.rows import first_or_refuse

PAGE_SIZE = 60
MAX_COUNTED = 10_000
SHOWN_EVENTS = 20


@dataclass(frozen=True)
class Page:
    """A page of subjects by key. after, before: keys for the next and previous page, empty at the ends."""

    subjects: list[Subject]
    after: str
    before: str


def visible(user: User, brand: Brand, *, kind: str = "", is_active: bool = True, words: str = "") -> QuerySet[Any]:
    """Return a brand's subjects, of one kind if given, whose key or name contains every word."""
    rows = Subject.objects.visible_to(user).filter(brand=brand, is_active=is_active)
    if not is_active:
        rows = rows.filter(studio=None)  # a studio's own subject is always retired and never listed
    if kind:
        rows = rows.filter(kind=kind)
    for word in words.split():
        rows = rows.filter(Q(key__icontains=word) | Q(name__icontains=word))
    return rows


def page(rows: QuerySet[Any], *, after: str = "", before: str = "", limit: int = PAGE_SIZE) -> Page:
    """Return the subjects of `rows` (of one kind, by its unique index) after or before a key, with their photos."""
    rows = rows.prefetch_related(prefetch_photos())
    if before:
        chunk = list(rows.filter(key__lt=before).order_by("-key")[: limit + 1])
        has_more, chunk = len(chunk) > limit, chunk[:limit][::-1]
        return Page(chunk, chunk[-1].key if chunk else "", chunk[0].key if chunk and has_more else "")
    chunk = list((rows.filter(key__gt=after) if after else rows).order_by("key")[: limit + 1])
    shown = chunk[:limit]
    return Page(shown, shown[-1].key if len(chunk) > limit else "", shown[0].key if shown and after else "")


def prefetch_photos() -> Prefetch[str]:
    """Prefetch a subject's photos in order, without removed ones; the accepted cut-out of each comes first."""
    cutouts = Prefetch("cutouts", Cutout.objects.order_by("-is_accepted", "-id"))
    rows = ReferencePhoto.objects.exclude(status=PhotoStatus.REMOVED)
    return Prefetch("photos", rows.prefetch_related(cutouts).order_by("position", "id"))


def get(user: User, brand: Brand, pk: int) -> Subject:
    """Return one subject with photos, variants and campaigns. Raises NotFound."""
    rows = Subject.objects.visible_to(user).filter(brand=brand, pk=pk)
    rows = rows.prefetch_related(prefetch_photos(), "variants", "campaigns")
    message = _("There is no subject %(id)d in %(brand)s.") % {"id": pk, "brand": brand.name}
    return first_or_refuse(rows, message)


def count_capped(rows: QuerySet[Any]) -> int:
    """Count the rows, up to MAX_COUNTED."""
    return int(rows.order_by()[:MAX_COUNTED].count())


def get_ids_by_key(brand: Brand, keys: Iterable[str]) -> list[int] | None:
    """Return ids of the brand's active subjects with these SKUs; None for ["*"], meaning all. Raises Invalid."""
    requested_keys = list(dict.fromkeys(keys))
    if requested_keys == ["*"]:
        return None
    ids = dict(Subject.objects.filter(brand=brand, is_active=True, key__in=requested_keys).values_list("key", "pk"))
    unknown = [key for key in requested_keys if key not in ids]
    if unknown:
        message = _("%(brand)s has no active subject %(key)r.")
        problems = [Problem("/subjects", message % {"brand": brand.name, "key": key}, key) for key in unknown]
        raise Invalid(_("Some subjects are not known."), problems)
    return list(ids.values())


def list_with_photos(user: User, brand: Brand) -> QuerySet[Subject]:
    """Return the subjects of the brand with their photos, retired ones too; never the subject of a studio."""
    return Subject.objects.visible_to(user).filter(brand=brand, studio=None).prefetch_related(prefetch_photos())


def list_subject_history(user: User, subject: Subject) -> list[tuple[Event, str]]:
    """Return the newest events of the subject and of all its photos, each with its sentence. Two index scans."""
    named = ReferencePhoto.objects.filter(subject=subject).only("source")
    photos = {photo.pk: photo.redacted_source for photo in named}
    about = Event.objects.visible_to(user)
    own = about.filter(object_type="subject", object_id=subject.pk).order_by("-id")[:SHOWN_EVENTS]
    theirs = about.filter(object_type="photo", object_id__in=list(photos)).order_by("-id")[:SHOWN_EVENTS]
    rows = sorted([*own, *theirs], key=lambda event: -event.pk)[:SHOWN_EVENTS]
    return [(event, _describe(event, photos.get(event.object_id, ""))) for event in rows]


def _describe(event: Event, photo: str) -> str:
    if event.type in ("campaigns.photo.changed", "campaigns.subject.changed"):
        changes = event.payload.get("changes", {})
        return "; ".join(_describe_change(field, *values) for field, values in list(changes.items())[:4]) + "."
    sentences = {
        "cutout.accepted": _("Cut-out of %(photo)s accepted") if photo else _("Cut-out accepted"),
        "cutout.replaced": _("Another cut-out of %(photo)s accepted") if photo else _("Another cut-out accepted"),
        "cutout.refused": _("Cut-out of %(photo)s taken out of use") if photo else _("Cut-out taken out of use"),
        "photos.arranged": _("Photos put in another order"),
        "photo.removed": _("Photo %(photo)s removed"),
        "photo.restored": _("Photo %(photo)s brought back"),
        "subject.retired": _("Retired"),
        "subject.returned": _("Brought back"),
    }
    *_app, noun, verb = event.type.split(".")
    key = f"{noun}.{verb}"
    if key == "cutout.accepted" and event.payload.get("replaced"):
        key = "cutout.replaced"
    return sentences[key] % {"photo": photo[:60]} if key in sentences else f"{noun.capitalize()} {verb}"


def _describe_change(field: str, was: Any, now: Any) -> str:
    """Describe the change of a field: `Colour: sage → moss`."""
    label = field.removeprefix("attributes.").replace("_", " ").capitalize()
    if now in (None, ""):
        return _("%(label)s dropped (it was %(was)s)") % {"label": label, "was": str(was)[:60]}
    return f"{label}: {str(was)[:60]} → {str(now)[:60]}" if was else f"{label}: {str(now)[:60]}"
