"""Request fields that name rows. Only rows of the caller's brands can be named; any other gives 404."""

from __future__ import annotations

from typing import Any, NoReturn, cast

from django.db.models import Q, QuerySet
from rest_framework import serializers

from core.errors import NotFound
from core.models import User


def _caller(field: serializers.Field[Any, Any, Any, Any]) -> User | None:
    user = getattr(field.context.get("request"), "user", None)
    return user if isinstance(user, User) else None


class _RowOfBrandField(serializers.RelatedField[Any, Any, Any]):
    """Base: a row of another brand is refused with the same message as a row that does not exist."""

    def fail(self, key: str, **details: Any) -> NoReturn:
        if key == "does_not_exist":
            raise NotFound(f"There is no {self.field_name} {details.get('pk_value', details.get('value'))}.")
        super().fail(key, **details)


class OwnKey(_RowOfBrandField, serializers.PrimaryKeyRelatedField[Any]):
    """A primary key."""

    def get_queryset(self) -> QuerySet[Any]:
        user = _caller(self)
        rows = cast(Any, self).queryset
        queryset: QuerySet[Any] = rows.all().visible_to(user) if user else rows.none()
        return queryset


class OwnSlug(_RowOfBrandField, serializers.SlugRelatedField[Any]):
    """A slug. `or_shared`: rows that belong to no brand may be named too."""

    def __init__(self, *, or_shared: bool = False, **options: Any) -> None:
        self.or_shared = or_shared
        super().__init__(**options)

    def get_queryset(self) -> QuerySet[Any]:
        user = _caller(self)
        rows = cast(Any, self).queryset
        if user is None:
            queryset = rows.none()
        elif self.or_shared:
            queryset = rows.filter(Q(brand=None) | Q(brand__in=user.brand_ids()))
        else:
            queryset = rows.all().visible_to(user)
        return cast("QuerySet[Any]", queryset)
