"""What happened to one object, for its page."""

from __future__ import annotations

from typing import Any

from django.db.models import QuerySet

from core.models import Event, User


def timeline(*, user: User, object_type: str, object_id: int) -> QuerySet[Any]:
    """The events of one object, oldest first, each with its seal if it has one already (`event.seal.seq`)."""
    return (
        Event.objects.visible_to(user)
        .filter(object_type=object_type, object_id=object_id)
        .select_related("actor", "seal")
        .order_by("id")
    )
