"""The command palette (`/`): find pages, campaigns, products and prompts of the brand by name."""

from __future__ import annotations

from django.http import HttpResponseBase, JsonResponse
from django.urls import reverse
from django.utils.translation import gettext_lazy as _
from django.views.decorators.http import require_safe

from campaigns.selectors import campaigns as selectors
from core.access import Action, can
from core.pages import BrandRequest, brand_page

PAGES = {
    "brand_home": _("Home"),
    "campaigns": _("Campaigns"),
    "products": _("Products"),
    "import": _("Import a feed"),
    "prompts": _("Prompts"),
    "studio": _("Studio"),
    "comparisons": _("Compare"),
    "guide": _("Brand guide"),
    "library": _("Library"),
    "download": _("Download approved images"),
    "verify": _("Verify an image"),
    "review": _("Review"),
    "deliveries": _("Deliveries"),
    "destinations": _("Destinations"),
    "image_feeds": _("Image feeds"),
    "webhooks": _("Webhooks"),
    "ai_rules": _("Rules for AI images"),
    "endpoints": _("Endpoints"),
    "endpoints_now": _("Endpoints in use now"),
    "audit": _("Audit"),
}
ACTIONS = {
    "import": Action.IMPORT_FEED,
    "studio": Action.RUN_SANDBOX,
    "download": Action.PULL,
    "image_feeds": Action.DELIVER,
    "webhooks": Action.DELIVER,
    "audit": Action.READ_AUDIT,
}
"""The right that a page needs; the others everybody in the brand may see."""


@require_safe
@brand_page()
def search(request: BrandRequest) -> HttpResponseBase:
    """Return JSON {"results": [{"name", "kind", "href"}]}, pages first."""
    words = request.GET.get("q", "").strip()[:100]
    brand = request.brand.slug
    results = [
        _result(str(name), "page", view, brand)
        for view, name in PAGES.items()
        if words.lower() in name.lower() and can(request.user, ACTIONS.get(view, Action.VIEW), request.brand)
    ]
    if words:
        campaigns, subjects, templates = selectors.find_matches(request.user, request.brand, words)
        results += [_result(row.name, "campaign", "campaign", brand, row.slug) for row in campaigns]
        results += [_result(f"{row.key} {row.name}", "product", "product", brand, row.pk) for row in subjects]
        results += [_result(row.name, "prompt", "prompt", brand, row.slug) for row in templates]
    return JsonResponse({"results": results})


def _result(name: str, kind: str, view: str, *keys: str | int) -> dict[str, str]:
    return {"name": name, "kind": kind, "href": reverse(view, args=keys)}
