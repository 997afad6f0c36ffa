"""Pages of cut-outs: the sheet to accept or refuse them, and the page to repair one."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from django.contrib import messages
from django.http import HttpRequest, HttpResponseBase, JsonResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils.http import url_has_allowed_host_and_scheme
from django.utils.translation import gettext as _
from django.utils.translation import ngettext
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from campaigns.selectors import guides
from campaigns.selectors import photos as selectors
from campaigns.selectors.subjects import count_capped
from campaigns.services import cutouts as services
from campaigns.services.cutouts import CutoutChange
from campaigns.views.uploads import get_uploaded_files
from core.access import Action, can
from core.errors import Invalid
from core.models import Brand
from core.pages import BrandRequest, brand_page, parse_row_id

UNDO_SESSION_KEY = "cutouts_undo"
MAX_MASK_BYTES = 24 * 1024 * 1024


@require_safe
@brand_page()
def sheet(request: BrandRequest) -> HttpResponseBase:
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
        "to_look_at": count_capped(selectors.photos_to_review(request.user, request.brand)),
        "total": count_capped(selectors.usable_photos(request.user, request.brand)),
        "backdrop": _backdrop(request.brand),
        "undo": len(request.session.get(UNDO_SESSION_KEY, {}).get(request.brand.slug, [])),
    }
    return render(request, "campaigns/cutouts.html", context)


@require_POST
@brand_page(Action.EDIT_PHOTO)
def decide(request: BrandRequest, decision: str) -> HttpResponseBase:
    """Accept the chosen cut-outs (`cutout`, several) or take them out of use; the last action can be undone."""
    ids = [pk for pk in map(parse_row_id, request.POST.getlist("cutout")) if pk is not None]
    if decision == "accept":
        steps = services.accept_many(cutout_ids=ids, by=request.user)
        message = ngettext("%(count)d cut-out accepted.", "%(count)d cut-outs accepted.", len(steps))
    else:
        steps = services.refuse_many(cutout_ids=ids, by=request.user)
        message = ngettext("%(count)d cut-out taken out of use.", "%(count)d cut-outs taken out of use.", len(steps))
    _remember(request, steps)
    return _respond(request, message % {"count": len(steps)}, done=len(steps))


@require_POST
@brand_page(Action.EDIT_PHOTO)
def undo(request: BrandRequest) -> HttpResponseBase:
    """Undo the user's last action on the sheet or the repair page."""
    kept = request.session.get(UNDO_SESSION_KEY, {})
    steps = [CutoutChange(**fields) for fields in kept.pop(request.brand.slug, [])]
    request.session[UNDO_SESSION_KEY] = kept
    if not steps:
        raise Invalid(_("There is nothing left to undo."))
    count = services.undo_changes(steps=steps, by=request.user)
    message = ngettext("Taken back: %(count)d cut-out.", "Taken back: %(count)d cut-outs.", count) % {"count": count}
    return _respond(request, message, photos=sorted(step.photo for step in steps))


@require_http_methods(["GET", "HEAD", "POST"])
@brand_page()
def repair(request: BrandRequest, photo_id: int) -> HttpResponseBase:
    """Show a photo's cut-out with the earlier ones, to choose another or to paint a new one (POST `mask`, a PNG)."""
    photo = selectors.get(photo_id=photo_id, user=request.user, brand=request.brand)
    if request.method == "POST":
        return _repair(request, photo_id)
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


def _repair(request: BrandRequest, photo_id: int) -> HttpResponseBase:
    mask = get_uploaded_files(request, "mask", most=MAX_MASK_BYTES, missing=_("Choose a mask first."))[0]
    seen = parse_row_id(request.POST.get("seen", ""))
    _cutout, step = services.repair_with_mask(photo_id=photo_id, mask=mask.read(), by=request.user, seen=seen)
    _remember(request, [step])
    return _respond(request, _("The new cut-out is saved and used from now on."))


def _respond(request: BrandRequest, message: str, **facts: Any) -> HttpResponseBase:
    """Answer the page's script with JSON; answer a plain form with a message and a redirect."""
    address = _next(request) or reverse("cutouts", args=[request.brand.slug])
    is_json = "json" in request.headers.get("Accept", "")
    if not is_json or "done" not in facts:
        messages.success(request, message)
    return JsonResponse({"said": message, "href": address, **facts}) if is_json else redirect(address)


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
