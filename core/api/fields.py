"""Request fields that name rows. Only rows of the caller's brands can be named; any other gives 404."""

from __future__ import annotations

from typing import Any, NoReturn, cast

from django.db.models import Q, QuerySet
from django.utils.translation import gettext as _
from rest_framework import serializers

from core.errors import NotFound
from core.models import User


class _RowOfBrandField(serializers.RelatedField[Any, Any, Any]):
    """Base: a row of another brand is refused with the same message as a row that does not exist.

    `or_shared`: rows that belong to no brand may be named too.
    """

    def __init__(self, *, or_shared: bool = False, **options: Any) -> None:
        self.or_shared = or_shared
        super().__init__(**options)

    def get_queryset(self) -> QuerySet[Any]:
        user, rows = getattr(self.context.get("request"), "user", None), cast(Any, self).queryset
        if not isinstance(user, User):
            return rows.none()
        if self.or_shared:
            return rows.filter(Q(brand=None) | Q(brand__in=user.brand_ids()))
        return rows.all().visible_to(user)

    def fail(self, key: str, **details: Any) -> NoReturn:
        if key == "does_not_exist":
            value = details.get("pk_value", details.get("value"))
            raise NotFound(_("There is no %(field)s %(value)s.") % {"field": self.field_name, "value": value})
        super().fail(key, **details)


class OwnKey(_RowOfBrandField, serializers.PrimaryKeyRelatedField[Any]):
    """A primary key."""


class OwnSlug(_RowOfBrandField, serializers.SlugRelatedField[Any]):
    """A slug."""
