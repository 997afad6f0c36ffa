"""The page "verify an image": drop a file that was found anywhere, and see what Proofline knows about it."""

from __future__ import annotations

from typing import Any

from django.contrib.auth.decorators import login_required
from django.http import HttpResponseBase, JsonResponse
from django.shortcuts import redirect, render
from django.template.loader import render_to_string
from django.utils.translation import gettext as _
from django.views.decorators.http import require_http_methods, require_safe

from campaigns.photos import intake
from campaigns.views.photos import get_uploaded_files
from core.pages import BrandRequest, brand_page
from core.selectors import brands
from generation.finishing import found_files
from review.selectors import found_images
from review.services import verify_requests


@require_safe
@login_required
def entry(request: Any) -> HttpResponseBase:
    """Redirect to the page in the brand used last; every brand of the person is searched there."""
    brand = brands.get_last_used(request.user, request.session.get("brand", ""))
    if brand is None:
        return render(request, "no_brand.html")
    return redirect("verify", brand.slug)


@require_http_methods(["GET", "HEAD", "POST"])
@brand_page()
def index(request: BrandRequest) -> HttpResponseBase:
    """Show the drop zone; with a file also what was found. A script gets that part as {"html"}."""
    if request.method != "POST":
        found_files.prepare()  # so that the first image need not wait for it
        return render(request, "review/verify.html", {"formats": "JPEG, PNG, WebP, AVIF"})
    [file, *_more] = get_uploaded_files(
        request, "file", most=intake.MAX_BYTES, missing=_("Choose an image first, or drop one.")
    )
    examined = verify_requests.verify(file, user=request.user)
    context = {"examined": examined, "match": examined.match, "file_name": file.name}
    if examined.match:
        context["sentence"] = found_images.explain(examined.match)
    if "application/json" in request.headers.get("Accept", ""):
        return JsonResponse({"html": render_to_string("review/verify_result.html", context, request)})
    return render(request, "review/verify.html", context)
