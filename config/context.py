"""The context of every page template: the brand, the person's other brands, and their rights in the brand."""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest
from django.utils.functional import SimpleLazyObject

from core.access import Action, can
from core.models import Brand
from core.selectors import notices

PAGES_BY_SECTION = {
    "home": "brand_home",
    "campaigns": "campaigns campaign campaign_new campaign_edit campaign_specs run run_new",
    "products": "products product subject_edit photos subjects_new cutouts cutout import import_detail import_mapping",
    "prompts": "prompts prompt prompt_version",
    "studio": "studio studio_make studio_again studio_keep comparisons comparison comparison_new comparison_results",
    "guide": "guide guide_version guide_compare guide_edit guide_save",
    "library": "library asset download verify",
    "review": "review workspace",
    "deliveries": "deliveries delivery delivery_product destinations destination destination_kinds destination_new "
    "webhooks webhook webhook_new webhook_secret webhook_test webhook_message "
    "image_feeds image_feed image_feed_new ai_rules",
    "audit": "audit",
    "notices": "notices",
}
"""The entries of the main navigation, and the names of the pages at which each is marked as the current one."""

SECTIONS = {page: section for section, pages in PAGES_BY_SECTION.items() for page in pages.split()}


def navigation(request: HttpRequest) -> dict[str, Any]:
    """Context processor. Each query runs only if a template uses it."""
    user = getattr(request, "user", None)
    if user is None or not user.is_authenticated:
        return {}
    brand = getattr(request, "brand", None)
    return {
        "brand": brand,
        "brands": Brand.objects.visible_to(user),
        "unread_notices": SimpleLazyObject(lambda: notices.count_unread(user=user, brand=brand) if brand else 0),
        # For templates that hide forbidden actions; the services decide.
        "may": SimpleLazyObject(lambda: {action.value: can(user, action, brand) for action in Action} if brand else {}),
        "section": SECTIONS.get(getattr(request.resolver_match, "url_name", None) or ""),
    }
