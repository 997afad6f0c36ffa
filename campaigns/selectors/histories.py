"""The history of a subject and its photos, as sentences."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.utils.translation import gettext as _

from campaigns.models import ReferencePhoto, Subject
from core.models import Event, User

SHOWN_EVENTS = 20


@dataclass(frozen=True)
class HistoryEntry:
    """One event as a sentence, with who did it and when."""

    sentence: str
    actor_label: str
    at: datetime


def list_subject_history(user: User, subject: Subject) -> list[HistoryEntry]:
    """Return the newest events of the subject and of all its photos, also removed ones. Two index scans."""
    photos = {
        photo.pk: photo.redacted_source for photo in ReferencePhoto.objects.filter(subject=subject).only("source")
    }
    about = Event.objects.visible_to(user)
    own = about.filter(object_type="subject", object_id=subject.pk).order_by("-id")[:SHOWN_EVENTS]
    theirs = about.filter(object_type="photo", object_id__in=list(photos)).order_by("-id")[:SHOWN_EVENTS]
    rows = sorted([*own, *theirs], key=lambda event: -event.pk)[:SHOWN_EVENTS]
    return [
        HistoryEntry(_describe(event, photos.get(event.object_id, "")), event.actor_label, event.at) for event in rows
    ]


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
