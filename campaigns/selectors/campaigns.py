"""Read campaigns."""

from __future__ import annotations

from typing import Any

from django.db.models import Count, QuerySet
from django.utils.translation import gettext as _

from campaigns.models import Campaign
from core.models import User
from core.selectors.rows import first_or_refuse


def visible(user: User, *, brand_id: int | None = None) -> QuerySet[Any]:
    """Return the campaigns, newest first, with brand, owners and `subject_count`, without the sandbox campaigns."""
    rows = Campaign.objects.visible_to(user).filter(is_sandbox=False).select_related("brand", "owner", "review_owner")
    if brand_id is not None:
        rows = rows.filter(brand_id=brand_id)
    return rows.annotate(subject_count=Count("subjects")).order_by("-created_at", "-id")


def get(user: User, campaign_id: int) -> Campaign:
    """Return a campaign with brand, owners and output specs. Raises NotFound, also if the user may not see it."""
    rows = Campaign.objects.visible_to(user).select_related("brand", "owner", "review_owner")
    rows = rows.prefetch_related("output_specs").filter(pk=campaign_id)
    return first_or_refuse(rows, _("There is no campaign %(id)d.") % {"id": campaign_id})


def get_by_slug(user: User, brand_slug: str, slug: str) -> Campaign:
    """Return a campaign by its slug. Raises NotFound, also if the user may not see it."""
    rows = Campaign.objects.visible_to(user).select_related("brand").filter(brand__slug=brand_slug, slug=slug)
    message = _("There is no campaign %(slug)r in the brand %(brand)r.") % {"slug": slug, "brand": brand_slug}
    return first_or_refuse(rows, message, slug=slug)


def placeholder_values(*, key: str, name: str, kind: str, attributes: dict[str, Any]) -> dict[str, Any]:
    """Return a subject's values for placeholders: its attributes, and name, kind, key and sku."""
    given = {label: value for label, value in attributes.items() if value not in (None, "")}
    return {"name": name, "kind": kind, **given, "key": key, "sku": key}
