"""Reference photos of a subject: upload, change role and order, remove and restore; upload many as a ZIP."""

from __future__ import annotations

from django.contrib import messages
from django.http import HttpResponseBase, JsonResponse
from django.shortcuts import redirect
from django.urls import reverse
from django.utils.translation import gettext as _
from django.utils.translation import ngettext
from django.views.decorators.http import require_POST

from campaigns.choices import PhotoRole
from campaigns.models import ReferencePhoto
from campaigns.photos import intake
from campaigns.selectors import photos as selectors
from campaigns.selectors import subjects as subject_selectors
from campaigns.services import archives
from campaigns.services import photos as services
from campaigns.views.uploads import get_uploaded_files
from core.access import Action
from core.errors import Invalid
from core.pages import BrandRequest, brand_page, parse_row_id

SHOWN = 8


@require_POST
@brand_page(Action.IMPORT_FEED)
def archive(request: BrandRequest) -> HttpResponseBase:
    """Upload a ZIP of photos, each matched to a subject by the feed's file names or the SKU in its own name."""
    missing = _("Choose a ZIP archive of photos first.")
    file = get_uploaded_files(request, "photos", most=archives.MAX_ZIP_BYTES, missing=missing)[0]
    report = archives.attach_zip(brand=request.brand, file=file, by=request.user)
    messages.success(request, _summary(report))
    for refusal in [*report.ambiguous[:SHOWN], *report.refusals[:SHOWN]]:
        messages.error(request, f"{refusal.file}: {refusal.message}")
    for remark in report.remarks[:SHOWN]:
        messages.warning(request, f"{remark.file}: {remark.message}")
    if report.unmatched:
        names = ", ".join(report.unmatched[:SHOWN]) + (" …" if len(report.unmatched) > SHOWN else "")
        messages.warning(request, _("These files name no SKU of yours: %(names)s") % {"names": names})
    return redirect("products", request.brand.slug)


@require_POST
@brand_page(Action.EDIT_PHOTO)
def add(request: BrandRequest, pk: int) -> HttpResponseBase:
    """Add photos to a subject (`file`, several; `role`), or replace the file of one of its photos (`photo`)."""
    subject = subject_selectors.get(request.user, request.brand, pk)
    offered = get_uploaded_files(request, "file", most=intake.MAX_BYTES, missing=_("Choose a photo first."))
    target = {"subject_id": subject.pk}
    photo_id = parse_row_id(request.POST.get("photo", ""))
    if photo_id is not None:
        target = {"photo_id": _own(request, photo_id).pk}
        offered = offered[:1]
    role = request.POST.get("role") or PhotoRole.FRONT
    refused, done = [], 0
    for file in offered:
        try:
            services.attach(data=file.read(), file_name=file.name or "photo", by=request.user, role=role, **target)
            done += 1
        except Invalid as error:
            refused.append(f"{file.name}: {error.message}")
    message = ngettext("%(count)d photo is in and cut out.", "%(count)d photos are in and cut out.", done)
    message %= {"count": done}
    if done:
        messages.success(request, message)
    for sentence in refused:
        messages.error(request, sentence)
    return _back(request, pk, said=message if done else refused[0], done=done)


@require_POST
@brand_page(Action.EDIT_PHOTO)
def change(request: BrandRequest, photo_id: int) -> HttpResponseBase:
    photo = _own(request, photo_id)
    services.change(
        photo_id=photo.pk, by=request.user, role=request.POST.get("role"), alt_text=request.POST.get("alt_text")
    )
    messages.success(request, _("The photo is changed."))
    return _back(request, photo.subject_id)


@require_POST
@brand_page(Action.EDIT_PHOTO)
def move(request: BrandRequest, photo_id: int) -> HttpResponseBase:
    """Move a photo one place up or down (`by`, -1 or 1) among its subject's photos."""
    photo = _own(request, photo_id)
    subject = subject_selectors.get(request.user, request.brand, photo.subject_id)
    order = [sibling.pk for sibling in subject.photos.all()]
    if photo.pk in order:
        at = order.index(photo.pk)
        to = max(0, min(len(order) - 1, at + (-1 if request.POST.get("by") == "-1" else 1)))
        order.insert(to, order.pop(at))
        services.arrange(subject_id=subject.pk, order=order, by=request.user)
    return _back(request, subject.pk)


@require_POST
@brand_page(Action.EDIT_PHOTO)
def remove(request: BrandRequest, photo_id: int) -> HttpResponseBase:
    photo = services.remove(photo_id=_own(request, photo_id).pk, by=request.user)
    message = _("The photo is removed. Runs that were planned with it still find it; bring it back below.")
    messages.success(request, message)
    return _back(request, photo.subject_id)


@require_POST
@brand_page(Action.EDIT_PHOTO)
def restore(request: BrandRequest, photo_id: int) -> HttpResponseBase:
    photo = services.restore(photo_id=_own(request, photo_id).pk, by=request.user)
    messages.success(request, _("The photo is back."))
    return _back(request, photo.subject_id)


def _own(request: BrandRequest, photo_id: int) -> ReferencePhoto:
    return selectors.get(photo_id=photo_id, user=request.user, brand=request.brand)


def _back(request: BrandRequest, subject_id: int, **facts: object) -> HttpResponseBase:
    address = reverse("product", args=[request.brand.slug, subject_id])
    if "json" in request.headers.get("Accept", ""):
        return JsonResponse({"href": address, **facts})
    return redirect(address)


def _summary(report: archives.AttachReport) -> str:
    """Return `12 photos are in (9 by the SKU in their name), 12 cut-outs made; 1 refused; 3 still missing.`"""
    ready = ngettext(
        "%(ready)d photo is in (%(by_sku)d by the SKU in their name), %(cutouts)d cut-outs made",
        "%(ready)d photos are in (%(by_sku)d by the SKU in their name), %(cutouts)d cut-outs made",
        report.ready,
    )
    parts = [ready % {"ready": report.ready, "by_sku": report.by_sku, "cutouts": report.cutouts}]
    for count, words in (
        (report.unchanged, _("%(count)d were here already")),
        (len(report.ambiguous), _("%(count)d could be of several products and were left")),
        (len(report.refusals), _("%(count)d refused")),
        (report.missing, _("%(count)d still missing")),
    ):
        if count:
            parts.append(words % {"count": count})
    return "; ".join(parts) + "."
