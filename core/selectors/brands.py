"""Read brands and their members, as one person sees them."""

from __future__ import annotations

from typing import Any

from django.db.models import QuerySet

from core.errors import NotFound
from core.models import Brand, Membership, User


def visible(user: User) -> QuerySet[Any]:
    """The brands in which the person has a role, by slug."""
    return Brand.objects.visible_to(user).order_by("slug")


def get(user: User, slug: str) -> Brand:
    """Raises NotFound, also for a brand that the person must not know of."""
    brand: Brand | None = Brand.objects.visible_to(user).filter(slug=slug).first()
    if brand is None:
        raise NotFound(f"There is no brand {slug!r}.", slug=slug)
    return brand


def members(user: User, brand: Brand) -> QuerySet[Any]:
    """Memberships of a brand, with their people."""
    return Membership.objects.visible_to(user).filter(brand=brand).select_related("user").order_by("user", "role")


def row(model: Any, user: User, brand: Brand, pk: int, *, path: str = "brand") -> Any:
    """Return the row of any model by its key if it belongs to the brand by `path`, else None."""
    return model.objects.visible_to(user).filter(pk=pk, **{path: brand}).first()
