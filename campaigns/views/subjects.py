"""Products: the list with photos, the sheet of cut-outs, one product."""

from __future__ import annotations

from typing import Any

from django.contrib import messages
from django.core.paginator import Paginator
from django.db.models import Prefetch, Q
from django.http import HttpResponseBase
from django.shortcuts import redirect, render
from django.views.decorators.http import require_POST, require_safe

from campaigns.access import Action
from campaigns.errors import Invalid, NotFound
from campaigns.models import Cutout, ReferencePhoto, Subject
from campaigns.pages import BrandRequest, brand_page, number
from campaigns.selectors import campaigns as campaign_selectors
from campaigns.services import archives, cutouts
from campaigns.services import photos as services

PAGE = 60
SMALL_PHOTO_PX = 800
SHOWN_REFUSALS = 8


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


@require_POST
@brand_page(Action.IMPORT_FEED)
def photos(request: BrandRequest) -> HttpResponseBase:
    """A ZIP of photos, each given to the products whose feed row names it."""
    file = request.FILES.get("photos")
    if file is None:
        raise Invalid("Choose a ZIP archive of photos first.")
    report = archives.attach_zip(brand=request.brand, file=file, by=request.user)
    messages.success(
        request,
        f"{report.ready} photos are in, {report.cutouts} cut-outs made; {report.refused} refused, "
        f"{len(report.unmatched)} files that no product names, {report.missing} photos still missing.",
    )
    for refusal in report.refusals[:SHOWN_REFUSALS]:
        messages.error(request, f"{refusal.file}: {refusal.message}")
    return redirect("products", request.brand.slug)


@require_POST
@brand_page(Action.IMPORT_FEED)
def add_photo(request: BrandRequest, pk: int) -> HttpResponseBase:
    """One photo of one product, or a better file for one that it has (`photo`)."""
    file = request.FILES.get("file")
    if file is None:
        raise Invalid("Choose a photo first.")
    chosen = request.POST.get("photo", "")
    photo_id = number(chosen)
    target: dict[str, Any] = {"photo_id": photo_id} if photo_id else {"subject_id": pk}
    services.attach(data=file.read(), file_name=file.name or "photo", by=request.user, **target)
    messages.success(request, "The photo is in and cut out.")
    return redirect("product", request.brand.slug, pk)


@require_POST
@brand_page(Action.EDIT_CAMPAIGN)
def accept_cutout(request: BrandRequest, pk: int, cutout_id: int) -> HttpResponseBase:
    cutouts.accept(cutout_id=cutout_id, by=request.user)
    messages.success(request, "This cut-out is used from now on.")
    return redirect("product", request.brand.slug, pk)


def _photos() -> Prefetch[str]:
    cutouts = Prefetch("cutouts", Cutout.objects.order_by("-is_accepted", "-id"))
    return Prefetch("photos", ReferencePhoto.objects.prefetch_related(cutouts).order_by("position", "id"))
