"""Selectors for events: the timeline of one object, and the trail of a brand."""

from __future__ import annotations

from typing import Any

from django.db.models import QuerySet

from core.models import Brand, Event, User


def timeline(*, user: User, object_type: str, object_id: int) -> QuerySet[Any]:
    """Return the events of one object, oldest first, each with its seal if it is sealed (`event.seal.seq`)."""
    rows = Event.objects.visible_to(user).filter(object_type=object_type, object_id=object_id)
    return rows.select_related("actor", "seal").order_by("id")


def trail(*, user: User, brand: Brand, beginning: str = "", before: int | None = None) -> QuerySet[Any]:
    """Return the brand's events with their seals, newest first: those whose type begins so, with a smaller id."""
    rows = Event.objects.visible_to(user).filter(brand=brand).select_related("seal").order_by("-pk")
    if beginning:
        rows = rows.filter(type__startswith=beginning)
    return rows.filter(pk__lt=before) if before else rows
