"""Pages of the photos of a subject and their cut-outs: add, order and remove photos; accept and repair cut-outs."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from django.contrib import messages
from django.core.files.uploadedfile import UploadedFile
from django.http import HttpRequest, HttpResponseBase, JsonResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils.http import url_has_allowed_host_and_scheme
from django.utils.translation import gettext as _
from django.utils.translation import ngettext
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from campaigns.choices import PhotoRole
from campaigns.models import ReferencePhoto
from campaigns.photos import intake
from campaigns.selectors import guides
from campaigns.selectors import photos as selectors
from campaigns.selectors import subjects as subject_rows
from campaigns.services import cutouts
from campaigns.services import photos as services
from campaigns.services.cutouts import CutoutChange
from core.access import Action, can
from core.errors import Invalid, Problem
from core.models import Brand
from core.pages import BrandRequest, brand_page, parse_row_id

MAX_FILES = 50
UNDO_SESSION_KEY = "cutouts_undo"
MAX_MASK_BYTES = 24 * 1024 * 1024


def get_uploaded_files(request: HttpRequest, name: str, *, most: int, missing: str) -> list[UploadedFile]:
    """Return the files of a form field. Raises Invalid if there is none (`missing`), or one is empty or too large."""
    files = [file for file in request.FILES.getlist(name) if isinstance(file, UploadedFile)]
    if not files:
        raise Invalid(missing)
    if len(files) > MAX_FILES:
        message = _("%(count)d files at once are too many; take %(most)d, or pack them into a ZIP.")
        raise Invalid(message % {"count": len(files), "most": MAX_FILES})
    problems = []
    for file in files:
        facts = {"name": file.name, "size": (file.size or 0) / 2**20, "most": most // 2**20}
        if not file.size:
            problems.append(Problem(name, _("%(name)s is empty.") % facts, str(file.name)[:300]))
        elif file.size > most:
            message = _("%(name)s has %(size).0f MB; at most %(most)d MB are accepted.") % facts
            problems.append(Problem(name, message, str(file.name)[:300]))
    if problems:
        raise Invalid(problems[0].message, problems)
    return files


@require_POST
@brand_page(Action.EDIT_PHOTO)
def add(request: BrandRequest, pk: int) -> HttpResponseBase:
    """Add photos to a subject (`file`, several; `role`), or replace the file of one of its photos (`photo`)."""
    subject = subject_rows.get(request.user, request.brand, pk)
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
    given = {name: request.POST.get(name) for name in ("role", "alt_text", "rights_end_on")}
    services.change(photo_id=photo.pk, by=request.user, **given)
    messages.success(request, _("The photo is changed."))
    return _back(request, photo.subject_id)


@require_POST
@brand_page(Action.EDIT_PHOTO)
def move(request: BrandRequest, photo_id: int) -> HttpResponseBase:
    """Move a photo one place up or down (`by`, -1 or 1) among its subject's photos."""
    photo = _own(request, photo_id)
    subject = subject_rows.get(request.user, request.brand, photo.subject_id)
    order = [sibling.pk for sibling in subject.photos.all()]
    if photo.pk in order:
        at = order.index(photo.pk)
        to = max(0, min(len(order) - 1, at + (-1 if request.POST.get("by") == "-1" else 1)))
        order.insert(to, order.pop(at))
        services.arrange(subject_id=subject.pk, order=order, by=request.user)
    return _back(request, subject.pk)


@require_POST
@brand_page(Action.EDIT_PHOTO)
def switch(request: BrandRequest, photo_id: int, verb: str) -> HttpResponseBase:
    """Remove a photo, or restore it."""
    photo = _own(request, photo_id)
    if verb == "remove":
        services.remove(photo_id=photo.pk, by=request.user)
        message = _("The photo is removed. Runs that were planned with it still find it; bring it back below.")
    else:
        services.restore(photo_id=photo.pk, by=request.user)
        message = _("The photo is back.")
    messages.success(request, message)
    return _back(request, photo.subject_id)


def _own(request: BrandRequest, photo_id: int) -> ReferencePhoto:
    return selectors.get(photo_id=photo_id, user=request.user, brand=request.brand)


def _back(request: BrandRequest, subject_id: int, **facts: object) -> HttpResponseBase:
    return _answer(request, reverse("product", args=[request.brand.slug, subject_id]), facts)


def _answer(request: BrandRequest, address: str, facts: dict[str, Any]) -> HttpResponseBase:
    """Answer the page's script with JSON, and a plain form with a redirect."""
    return JsonResponse({"href": address, **facts}) if _wants_json(request) else redirect(address)


def _wants_json(request: BrandRequest) -> bool:
    return "json" in request.headers.get("Accept", "")


@require_safe
@brand_page()
def cutout_sheet(request: BrandRequest) -> HttpResponseBase:
    """Show large cut-outs for review: all of them (`?show=all`), those of given products (`?ids=1,2`), or by default
    those that need a look. `?after=` is the id of the first photo of the page."""
    ids = [pk for pk in map(parse_row_id, request.GET.get("ids", "").split(",")) if pk is not None]
    is_all = request.GET.get("show") == "all" or bool(ids)
    after = parse_row_id(request.GET.get("after", "")) or 0
    page = selectors.sheet(request.user, request.brand, is_all=is_all, after=after, subject_ids=ids)
    context = {
        "sheet": page,
        "is_all": is_all,
        "chosen": len(ids),
        "to_look_at": subject_rows.count_capped(selectors.photos_to_review(request.user, request.brand)),
        "total": subject_rows.count_capped(selectors.usable_photos(request.user, request.brand)),
        "backdrop": _backdrop(request.brand),
        "undo": len(request.session.get(UNDO_SESSION_KEY, {}).get(request.brand.slug, [])),
    }
    return render(request, "campaigns/cutouts.html", context)


@require_POST
@brand_page(Action.EDIT_PHOTO)
def decide_cutouts(request: BrandRequest, decision: str) -> HttpResponseBase:
    """Accept the chosen cut-outs (`cutout`, several) or take them out of use; the last action can be undone."""
    ids = [pk for pk in map(parse_row_id, request.POST.getlist("cutout")) if pk is not None]
    if decision == "accept":
        steps = cutouts.accept_many(cutout_ids=ids, by=request.user)
        message = ngettext("%(count)d cut-out accepted.", "%(count)d cut-outs accepted.", len(steps))
    else:
        steps = cutouts.refuse_many(cutout_ids=ids, by=request.user)
        message = ngettext("%(count)d cut-out taken out of use.", "%(count)d cut-outs taken out of use.", len(steps))
    _remember(request, steps)
    return _respond(request, message % {"count": len(steps)}, done=len(steps))


@require_POST
@brand_page(Action.EDIT_PHOTO)
def undo_cutouts(request: BrandRequest) -> HttpResponseBase:
    """Undo the user's last action on the sheet or the repair page."""
    kept = request.session.get(UNDO_SESSION_KEY, {})
    steps = [CutoutChange(**fields) for fields in kept.pop(request.brand.slug, [])]
    request.session[UNDO_SESSION_KEY] = kept
    if not steps:
        raise Invalid(_("There is nothing left to undo."))
    count = cutouts.undo_changes(steps=steps, by=request.user)
    message = ngettext("Taken back: %(count)d cut-out.", "Taken back: %(count)d cut-outs.", count) % {"count": count}
    return _respond(request, message, photos=sorted(step.photo for step in steps))


@require_http_methods(["GET", "HEAD", "POST"])
@brand_page()
def repair_cutout(request: BrandRequest, photo_id: int) -> HttpResponseBase:
    """Show a photo's cut-out with the earlier ones, to choose another or to paint a new one (POST `mask`, a PNG)."""
    photo = _own(request, photo_id)
    if request.method == "POST":
        mask = get_uploaded_files(request, "mask", most=MAX_MASK_BYTES, missing=_("Choose a mask first."))[0]
        seen = parse_row_id(request.POST.get("seen", ""))
        _cutout, step = cutouts.repair_with_mask(photo_id=photo_id, mask=mask.read(), by=request.user, seen=seen)
        _remember(request, [step])
        return _respond(request, _("The new cut-out is saved and used from now on."))
    rows = list(photo.cutouts.select_related("made_by", "accepted_by").order_by("-id"))
    current = next((row for row in rows if row.is_accepted), next(iter(rows), None))
    context = {
        "photo": photo,
        "subject": photo.subject,
        "current": current,
        "earlier": rows,
        "backdrop": _backdrop(request.brand),
        "next": _next(request),
        "may_edit": can(request.user, Action.EDIT_PHOTO, request.brand),
    }
    return render(request, "campaigns/cutout.html", context)


def _respond(request: BrandRequest, message: str, **facts: Any) -> HttpResponseBase:
    """Answer with the message. The script of the sheet shows it itself."""
    if "done" not in facts or not _wants_json(request):
        messages.success(request, message)
    address = _next(request) or reverse("cutouts", args=[request.brand.slug])
    return _answer(request, address, {"said": message, **facts})


def _remember(request: BrandRequest, steps: list[CutoutChange]) -> None:
    if steps:
        kept = request.session.get(UNDO_SESSION_KEY, {})
        request.session[UNDO_SESSION_KEY] = kept | {request.brand.slug: [asdict(step) for step in steps]}


def _next(request: HttpRequest) -> str:
    """Return the address in `next` if it is a path of this site, else ""."""
    address = str(request.POST.get("next") or request.GET.get("next") or "")
    return address if url_has_allowed_host_and_scheme(address, None) and address.startswith("/") else ""


def _backdrop(brand: Brand) -> dict[str, str]:
    """Return the brand's default backdrop as {"name", "hex"}, else its first; white is left out as always offered."""
    offered = guides.choices_by_axis(guides.get_published(brand.pk)).get("backdrop", [])
    return next((backdrop for backdrop in offered if backdrop["hex"].casefold() != "#ffffff"), {})
