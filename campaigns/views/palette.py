"""What `/` finds: pages, campaigns, products and prompts of the brand, by name."""

from __future__ import annotations

from django.db.models import Q
from django.http import HttpResponseBase, JsonResponse
from django.urls import reverse
from django.views.decorators.http import require_safe

from campaigns.models import Campaign, PromptTemplate, Subject
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
EACH = 6


@require_safe
@brand_page()
def search(request: BrandRequest) -> HttpResponseBase:
    """JSON: {"results": [{"name", "kind", "href"}]}, pages first."""
    words = request.GET.get("q", "").strip()[:100]
    brand = request.brand.slug
    found = [
        {"name": name, "kind": "page", "href": reverse(view, args=[brand])}
        for name, view in PAGES.items()
        if words.lower() in name.lower()
    ]
    if words:
        campaigns = Campaign.objects.visible_to(request.user).filter(brand=request.brand, name__icontains=words)
        found += [
            {"name": one.name, "kind": "campaign", "href": reverse("campaign", args=[brand, one.slug])}
            for one in campaigns[:EACH]
        ]
        subjects = Subject.objects.visible_to(request.user).filter(brand=request.brand, studio=None)
        subjects = subjects.filter(Q(key__icontains=words) | Q(name__icontains=words)).order_by("key")
        found += [
            {"name": f"{one.key} {one.name}", "kind": "product", "href": reverse("product", args=[brand, one.pk])}
            for one in subjects[:EACH]
        ]
        templates = PromptTemplate.objects.visible_to(request.user).filter(brand=request.brand, studio=None)
        templates = templates.filter(name__icontains=words)
        found += [
            {"name": one.name, "kind": "prompt", "href": reverse("prompt", args=[brand, one.slug])}
            for one in templates[:EACH]
        ]
    return JsonResponse({"results": found})
