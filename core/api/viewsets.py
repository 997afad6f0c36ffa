"""The base class of view sets for rows that belong to brands."""

from __future__ import annotations

from typing import Any, TypeVar

from django.db.models import Model
from rest_framework import viewsets

from core.api.conventions import get_caller

M = TypeVar("M", bound=Model)


class BrandRowsViewSet(viewsets.ReadOnlyModelViewSet[M]):
    """List and retrieve the rows of the caller's brands; `queryset` says with which filters and related rows."""

    def get_queryset(self) -> Any:
        rows: Any = super().get_queryset()
        return rows.visible_to(get_caller(self.request))
