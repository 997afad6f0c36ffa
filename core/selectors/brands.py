"""Selectors for brands and their rows, as far as a person may see them."""

from __future__ import annotations

from django.utils.translation import gettext as _

from core.models import Brand, User
from core.selectors.rows import first_or_refuse


def get(user: User, slug: str) -> Brand:
    """Return the brand. Raises NotFound, also for a brand that the person may not see."""
    rows = Brand.objects.visible_to(user).filter(slug=slug)
    brand: Brand = first_or_refuse(rows, _("There is no brand %(slug)r.") % {"slug": slug}, slug=slug)
    return brand


def get_last_used(user: User, slug: str) -> Brand | None:
    """Return the brand with this slug if the person may see it, else the first that they may see, or None."""
    brands = Brand.objects.visible_to(user)
    return brands.filter(slug=slug).first() or brands.first()
