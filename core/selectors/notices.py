"""Selectors for a person's own notices."""

from __future__ import annotations

from typing import Any

from django.db.models import Case, IntegerField, QuerySet, Value, When

from core.models import Brand, Notice, User

MAX_COUNTED = 99


def list_notices(*, user: User, brand: Brand) -> QuerySet[Any]:
    """Return the person's notices in the brand: unread first, then newest first."""
    is_read = Case(When(read_at=None, then=Value(0)), default=Value(1), output_field=IntegerField())
    return Notice.objects.visible_to(user).filter(user=user, brand=brand).order_by(is_read, "-created_at", "-id")


def count_unread(*, user: User, brand: Brand) -> int:
    """Return the number of the person's unread notices, counted to 99. Uses one index."""
    return Notice.objects.filter(user=user, brand=brand, read_at=None).order_by()[:MAX_COUNTED].count()
