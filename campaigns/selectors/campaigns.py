"""Read campaigns, and find campaigns, products and prompts by name."""

from __future__ import annotations

from typing import Any

from django.db.models import Count, Q, QuerySet
from django.utils.translation import gettext as _

from campaigns.models import Campaign, PromptTemplate, Subject
from core.models import Brand, User
from core.selectors.rows import first_or_refuse

MATCHES_PER_KIND = 6


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


def placeholder_values(subject: Any) -> dict[str, Any]:
    """Return the values for placeholders of a subject, or of an object with its key, name, kind and attributes."""
    given = {label: value for label, value in subject.attributes.items() if value not in (None, "")}
    return {"name": subject.name, "kind": subject.kind, **given, "key": subject.key, "sku": subject.key}


def find_matches(
    user: User, brand: Brand, words: str
) -> tuple[QuerySet[Campaign], QuerySet[Subject], QuerySet[PromptTemplate]]:
    """Find rows with the words in their name, and subjects also by their key; the first MATCHES_PER_KIND of each."""
    campaigns = Campaign.objects.visible_to(user).filter(brand=brand, name__icontains=words)
    subjects = Subject.objects.visible_to(user).filter(brand=brand, studio=None)
    subjects = subjects.filter(Q(key__icontains=words) | Q(name__icontains=words)).order_by("key")
    templates = PromptTemplate.objects.visible_to(user).filter(brand=brand, studio=None, name__icontains=words)
    return campaigns[:MATCHES_PER_KIND], subjects[:MATCHES_PER_KIND], templates[:MATCHES_PER_KIND]
