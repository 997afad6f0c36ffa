"""Cut-outs: the sheet on which they are judged, and the bench on which one is repaired."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from django.contrib import messages
from django.http import HttpRequest, HttpResponseBase, JsonResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils.http import url_has_allowed_host_and_scheme
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from campaigns.selectors import cutouts as selectors
from campaigns.selectors import guides
from campaigns.selectors import photos as photo_selectors
from campaigns.services import cutouts as services
from campaigns.services.cutouts import Step
from campaigns.views.uploads import received
from core.access import Action, can
from core.errors import Invalid
from core.models import Brand
from core.pages import BrandRequest, brand_page, number

REMEMBERED = "cutouts_undo"
MAX_MASK_BYTES = 24 * 1024 * 1024


@require_safe
@brand_page()
def sheet(request: BrandRequest) -> HttpResponseBase:
    """Cut-outs big enough to judge. `?show=all` all of them, `?ids=1,2` all of these products, else those that want a
    look; `?after=` a photo's id."""
    ids = [pk for pk in map(number, request.GET.get("ids", "").split(",")) if pk is not None]
    is_all = request.GET.get("show") == "all" or bool(ids)
    after = number(request.GET.get("after", "")) or 0
    found = selectors.sheet(request.user, request.brand, is_all=is_all, after=after, subject_ids=ids)
    context = {
        "sheet": found,
        "is_all": is_all,
        "chosen": len(ids),
        "to_look_at": selectors.capped(selectors.to_be_looked_at(request.user, request.brand)),
        "total": selectors.capped(selectors.photos(request.user, request.brand)),
        "backdrop": _backdrop(request.brand),
        "undo": len(request.session.get(REMEMBERED, {}).get(request.brand.slug, [])),
    }
    return render(request, "campaigns/cutouts.html", context)


@require_POST
@brand_page(Action.EDIT_PHOTO)
def judge(request: BrandRequest, verdict: str) -> HttpResponseBase:
    """Accept the chosen cut-outs (`cutout`, several) or take them out of use; the last of it can be undone."""
    ids = [pk for pk in map(number, request.POST.getlist("cutout")) if pk is not None]
    act = services.accept_many if verdict == "accept" else services.refuse_many
    steps = act(cutout_ids=ids, by=request.user)
    _remember(request, steps)
    done = f"{len(steps)} {'cut-out' if len(steps) == 1 else 'cut-outs'}"
    said = f"{done} accepted." if verdict == "accept" else f"{done} taken out of use."
    return _answered(request, said, done=len(steps))


@require_POST
@brand_page(Action.EDIT_PHOTO)
def undo(request: BrandRequest) -> HttpResponseBase:
    """Take back what this person did last on the sheet or the bench."""
    kept = request.session.get(REMEMBERED, {})
    steps = [Step(**one) for one in kept.pop(request.brand.slug, [])]
    request.session[REMEMBERED] = kept
    if not steps:
        raise Invalid("There is nothing left to undo.")
    count = services.take_back(steps=steps, by=request.user)
    photos = sorted(step.photo for step in steps)
    return _answered(request, f"Taken back: {count} {'cut-out' if count == 1 else 'cut-outs'}.", photos=photos)


@require_http_methods(["GET", "HEAD", "POST"])
@brand_page()
def bench(request: BrandRequest, photo_id: int) -> HttpResponseBase:
    """One photo's cut-out, to be painted (POST `mask`, a PNG) or chosen among the earlier ones."""
    photo = photo_selectors.get(photo_id=photo_id, user=request.user, brand=request.brand)
    if request.method == "POST":
        return _repaired(request, photo_id)
    rows = list(selectors.earlier(photo))
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


def _repaired(request: BrandRequest, photo_id: int) -> HttpResponseBase:
    mask = received(request, "mask", most=MAX_MASK_BYTES, what="a mask")
    seen = number(request.POST.get("seen", ""))
    _, step = services.repair(photo_id=photo_id, mask=mask.read(), by=request.user, seen=seen)
    _remember(request, [step])
    return _answered(request, "The new cut-out is saved and used from now on.")


def _answered(request: BrandRequest, said: str, **facts: Any) -> HttpResponseBase:
    """JSON for the page's script; for a plain form its words, and back to where it came from."""
    address = _next(request) or reverse("cutouts", args=[request.brand.slug])
    if "json" in request.headers.get("Accept", ""):
        if facts.get("done") is None:
            messages.success(request, said)
        return JsonResponse({"said": said, "href": address, **facts})
    messages.success(request, said)
    return redirect(address)


def _remember(request: BrandRequest, steps: list[Step]) -> None:
    if steps:
        kept = request.session.get(REMEMBERED, {})
        request.session[REMEMBERED] = kept | {request.brand.slug: [asdict(step) for step in steps]}


def _next(request: HttpRequest) -> str:
    """Return the page that the person came from, if it is an address of ours."""
    asked = str(request.POST.get("next") or request.GET.get("next") or "")
    return asked if url_has_allowed_host_and_scheme(asked, None) and asked.startswith("/") else ""


def _backdrop(brand: Brand) -> dict[str, str]:
    """The brand's standard backdrop as {"name", "hex"}, or, as white is there anyhow, its first that is not white."""
    guide = guides.published(brand.pk)
    known = [one for one in (guide.backdrops if guide else []) if one.get("hex", "").casefold() not in ("", "#ffffff")]
    names = {one.get("name", "").casefold(): one for one in known}
    return (names.get(guide.backdrop.casefold()) if guide else None) or next(iter(known), {})
