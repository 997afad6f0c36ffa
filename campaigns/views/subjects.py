"""Products: the list with photos, the sheet of cut-outs, one product."""

from __future__ import annotations

from django.core.paginator import Paginator
from django.db.models import Prefetch, Q
from django.http import HttpResponseBase
from django.shortcuts import render
from django.views.decorators.http import require_safe

from campaigns.errors import NotFound
from campaigns.models import Cutout, ReferencePhoto, Subject
from campaigns.pages import BrandRequest, brand_page
from campaigns.selectors import campaigns as campaign_selectors

PAGE = 60
SMALL_PHOTO_PX = 800


@require_safe
@brand_page()
def index(request: BrandRequest) -> HttpResponseBase:
    """A brand's subjects by key. `?q=` searches, `?view=cutouts` shows the sheet on checkerboard."""
    words = request.GET.get("q", "").strip()
    found = Subject.objects.visible_to(request.user).filter(brand=request.brand, is_active=True)
    for word in words.split():
        found = found.filter(Q(key__icontains=word) | Q(name__icontains=word))
    page = Paginator(found.prefetch_related(_photos()).order_by("key"), PAGE).get_page(request.GET.get("page"))
    view = "cutouts" if request.GET.get("view") == "cutouts" else "list"
    return render(
        request,
        "campaigns/products.html",
        {
            "page": page,
            "words": words,
            "view": view,
            "small_px": SMALL_PHOTO_PX,
            "campaigns": campaign_selectors.visible(request.user, brand_id=request.brand.pk),
        },
    )


@require_safe
@brand_page()
def detail(request: BrandRequest, pk: int) -> HttpResponseBase:
    rows = Subject.objects.visible_to(request.user).filter(brand=request.brand, pk=pk)
    subject = rows.prefetch_related(_photos(), "variants", "campaigns").first()
    if subject is None:
        raise NotFound(f"There is no product {pk} in {request.brand.name}.")
    twins = ReferencePhoto.objects.visible_to(request.user).filter(
        sha256__in=[photo.sha256 for photo in subject.photos.all() if photo.sha256]
    )
    twins = twins.exclude(subject=subject).filter(subject__brand=request.brand).select_related("subject")
    return render(request, "campaigns/product.html", {"subject": subject, "twins": twins, "small_px": SMALL_PHOTO_PX})


def _photos() -> Prefetch[str]:
    cutouts = Prefetch("cutouts", Cutout.objects.order_by("-is_accepted", "-id"))
    return Prefetch("photos", ReferencePhoto.objects.prefetch_related(cutouts).order_by("position", "id"))
