"""Selectors for brands and their rows, as far as a person may see them."""

from __future__ import annotations

from typing import Any

from django.db.models import QuerySet
from django.utils.translation import gettext as _

from core.models import Brand, User
from core.selectors.rows import first_or_refuse


def visible(user: User) -> QuerySet[Any]:
    """Return the brands in which the person has a role, by slug."""
    return Brand.objects.visible_to(user)


def get(user: User, slug: str) -> Brand:
    """Return the brand. Raises NotFound, also for a brand that the person may not see."""
    rows = Brand.objects.visible_to(user).filter(slug=slug)
    brand: Brand = first_or_refuse(rows, _("There is no brand %(slug)r.") % {"slug": slug}, slug=slug)
    return brand
