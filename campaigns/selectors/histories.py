"""The history of a subject and its photos, as sentences."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from campaigns.models import ReferencePhoto, Subject
from core.models import Event, User


@dataclass(frozen=True)
class HistoryEntry:
    """One event as a sentence, with who did it and when."""

    sentence: str
    actor_label: str
    at: datetime


def list_subject_history(user: User, subject: Subject, *, limit: int = 20) -> list[HistoryEntry]:
    """Return the newest events of the subject and of all its photos, also removed ones. Two index scans."""
    photos = {
        photo.pk: photo.redacted_source for photo in ReferencePhoto.objects.filter(subject=subject).only("source")
    }
    about = Event.objects.visible_to(user)
    own = about.filter(object_type="subject", object_id=subject.pk).order_by("-id")[:limit]
    theirs = about.filter(object_type="photo", object_id__in=list(photos)).order_by("-id")[:limit]
    rows = sorted([*own, *theirs], key=lambda event: -event.pk)[:limit]
    return [
        HistoryEntry(_describe(event, photos.get(event.object_id, "")), event.actor_label, event.at) for event in rows
    ]


def _describe(event: Event, photo: str) -> str:
    name = f" of {photo[:60]}" if photo else ""
    payload: dict[str, Any] = event.payload
    plain = {
        "campaigns.cutout.refused": f"Cut-out{name} taken out of use",
        "campaigns.photos.arranged": "Photos put in another order",
        "campaigns.photo.removed": f"Photo {photo[:60]} removed",
        "campaigns.photo.restored": f"Photo {photo[:60]} brought back",
        "campaigns.subject.retired": "Retired",
        "campaigns.subject.returned": "Brought back",
    }
    if event.type == "campaigns.cutout.accepted":
        return f"Another cut-out{name} accepted" if payload.get("replaced") else f"Cut-out{name} accepted"
    if event.type in ("campaigns.photo.changed", "campaigns.subject.changed"):
        changes = payload.get("changes", {})
        return "; ".join(_describe_change(field, *values) for field, values in list(changes.items())[:4]) + "."
    return plain.get(
        event.type, event.type.rpartition(".")[0].rpartition(".")[2].capitalize() + " " + event.type.rpartition(".")[2]
    )


def _describe_change(field: str, was: Any, now: Any) -> str:
    """Describe the change of a field: `Colour: sage → moss`."""
    label = field.removeprefix("attributes.").replace("_", " ").capitalize()
    if now in (None, ""):
        return f"{label} dropped (it was {str(was)[:60]})"
    return f"{label}: {str(was)[:60]} → {str(now)[:60]}" if was else f"{label}: {str(now)[:60]}"
