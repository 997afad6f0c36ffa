"""Read campaigns and their subjects."""

from __future__ import annotations

from typing import Any

from django.db.models import Count, QuerySet

from campaigns.models import Campaign, Subject
from core.errors import NotFound
from core.models import User


def visible(user: User, *, brand_id: int | None = None) -> QuerySet[Any]:
    """Return the campaigns, newest first, with brand, owners and `subject_count`, without the sandbox campaigns."""
    rows = Campaign.objects.visible_to(user).filter(is_sandbox=False).select_related("brand", "owner", "review_owner")
    if brand_id is not None:
        rows = rows.filter(brand_id=brand_id)
    return rows.annotate(subject_count=Count("subjects")).order_by("-created_at", "-id")


def get(user: User, campaign_id: int) -> Campaign:
    """Return a campaign with brand, owners and output specs. Raises NotFound, also if the user may not see it."""
    rows = Campaign.objects.visible_to(user).select_related("brand", "owner", "review_owner")
    campaign: Campaign | None = rows.prefetch_related("output_specs").filter(pk=campaign_id).first()
    if campaign is None:
        raise NotFound(f"There is no campaign {campaign_id}.")
    return campaign


def get_by_slug(user: User, brand_slug: str, slug: str) -> Campaign:
    """Return a campaign by its slug. Raises NotFound, also if the user may not see it."""
    rows = Campaign.objects.visible_to(user).select_related("brand")
    campaign: Campaign | None = rows.filter(brand__slug=brand_slug, slug=slug).first()
    if campaign is None:
        raise NotFound(f"There is no campaign {slug!r} in the brand {brand_slug!r}.", slug=slug)
    return campaign


def list_subjects(user: User, campaign: Campaign) -> QuerySet[Any]:
    """Return the campaign's subjects by key, with photos and cut-outs prefetched."""
    rows = Subject.objects.visible_to(user).filter(campaigns=campaign)
    return rows.prefetch_related("photos__cutouts").order_by("key")


def placeholder_values(*, key: str, name: str, kind: str, attributes: dict[str, Any]) -> dict[str, Any]:
    """Return a subject's values for placeholders: its attributes, and name, kind, key and sku."""
    given = {label: value for label, value in attributes.items() if value not in (None, "")}
    return {"name": name, "kind": kind, **given, "key": key, "sku": key}
