"""Take one row of a query, or refuse."""

from __future__ import annotations

from typing import Any, TypeVar

from django.db.models import Model, QuerySet

from core.errors import NotFound

M = TypeVar("M", bound=Model)


def first_or_refuse(rows: QuerySet[M], message: str, **extra: Any) -> M:
    """Return the first row. Raises NotFound with this message and `extra` if there is none."""
    row = rows.first()
    if row is None:
        raise NotFound(message, **extra)
    return row
