"""The command palette (`/`): find pages, campaigns, products and prompts of the brand by name."""

from __future__ import annotations

from django.http import HttpResponseBase, JsonResponse
from django.urls import reverse
from django.views.decorators.http import require_safe

from campaigns.selectors import search as selectors
from core.pages import BrandRequest, brand_page

PAGES = {
    "Home": "brand_home",
    "Campaigns": "campaigns",
    "Products": "products",
    "Import a feed": "import",
    "Prompts": "prompts",
    "Studio": "studio",
    "Compare": "comparisons",
    "Brand guide": "guide",
    "Library": "library",
    "Review": "review",
    "Deliveries": "deliveries",
    "Endpoints": "endpoints",
    "Endpoints in use now": "endpoints_now",
    "Audit": "audit",
}


@require_safe
@brand_page()
def search(request: BrandRequest) -> HttpResponseBase:
    """Return JSON {"results": [{"name", "kind", "href"}]}, pages first."""
    words = request.GET.get("q", "").strip()[:100]
    brand = request.brand.slug
    results = [
        {"name": name, "kind": "page", "href": reverse(view, args=[brand])}
        for name, view in PAGES.items()
        if words.lower() in name.lower()
    ]
    if words:
        matches = selectors.find_matches(request.user, request.brand, words)
        results += [
            *(
                {"name": row.name, "kind": "campaign", "href": reverse("campaign", args=[brand, row.slug])}
                for row in matches.campaigns
            ),
            *(
                {"name": f"{row.key} {row.name}", "kind": "product", "href": reverse("product", args=[brand, row.pk])}
                for row in matches.subjects
            ),
            *(
                {"name": row.name, "kind": "prompt", "href": reverse("prompt", args=[brand, row.slug])}
                for row in matches.templates
            ),
        ]
    return JsonResponse({"results": results})
