"""Pages to change the brand guide: edit the draft by parts, add images, extract a palette, publish."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from django.contrib import messages
from django.http import HttpResponseBase, QueryDict
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils.translation import gettext as _
from django.utils.translation import ngettext
from django.views.decorators.http import require_POST, require_safe

from campaigns.choices import ImageUse
from campaigns.models import GuideVersion
from campaigns.photos import intake, reading
from campaigns.selectors import guides as selectors
from campaigns.services import guides, images
from campaigns.views.guide_forms import PARTS
from campaigns.views.guides import shared_context
from core.access import Action
from core.errors import Invalid, NotFound
from core.pages import BrandRequest, brand_page


@require_POST
@brand_page(Action.EDIT_BRAND)
def begin(request: BrandRequest) -> HttpResponseBase:
    """Open the draft; if there is none, create it as a copy of the published version."""
    guides.edit_draft(brand=request.brand, by=request.user)
    return redirect("guide_edit", request.brand.slug)


@require_safe
@brand_page(Action.EDIT_BRAND)
def edit(request: BrandRequest) -> HttpResponseBase:
    draft = _draft(request)
    if draft is None:
        return redirect("guide", request.brand.slug)
    return _page(request, draft)


@require_POST
@brand_page(Action.EDIT_BRAND)
def save(request: BrandRequest, part: str) -> HttpResponseBase:
    """Save one part of the draft. If it is refused, show the page with the typed values and the reasons."""
    if part not in PARTS:
        raise NotFound(_("The guide has no part %(part)r.") % {"part": part})
    draft = _draft(request) or GuideVersion(brand=request.brand, number=1)
    form = PARTS[part](draft, request.POST)
    saved = _save_part(request, form, seen=request.POST.get("seen", ""))
    if saved is None:
        return _page(request, draft, {part: form}, status=422)
    messages.success(request, _("Saved in the draft v%(number)d.") % {"number": saved.number})
    return _redirect_to_part(request, part)


@require_POST
@brand_page(Action.EDIT_BRAND)
def publish(request: BrandRequest) -> HttpResponseBase:
    look_again = request.POST.get("look_again", "") == "yes"
    count = selectors.count_approved_images(request.user, request.brand) if look_again else 0
    made = guides.publish(
        guide_id=_ensure_draft(request).pk,
        by=request.user,
        note=request.POST.get("note", ""),
        look_again=look_again,
    )
    after = _("Runs planned before are still judged by theirs.")
    if look_again:
        after = ngettext(
            "%(count)s approved image goes back to review.", "%(count)s approved images go back to review.", count
        )
        after %= {"count": f"{count:,}"}
    now = _("v%(number)d counts from now on.") % {"number": made.number}
    messages.success(request, f"{now} {after}")
    return redirect("guide", request.brand.slug)


@require_POST
@brand_page(Action.EDIT_BRAND)
def discard(request: BrandRequest) -> HttpResponseBase:
    gone = _ensure_draft(request)
    guides.discard(guide_id=gone.pk, by=request.user)
    messages.success(request, _("The draft v%(number)d is thrown away.") % {"number": gone.number})
    return redirect("guide", request.brand.slug)


@require_POST
@brand_page(Action.EDIT_BRAND)
def add_images(request: BrandRequest, use: str) -> HttpResponseBase:
    given = [(file.name or "image", file.read()) for file in request.FILES.getlist("file")]
    draft = _ensure_draft(request)
    try:
        images.add_to_guide(guide_id=draft.pk, use=use, files_given=given, by=request.user)
    except Invalid as refusal:
        problems = [problem.message for problem in refusal.problems if "/" not in problem.pointer]
        return _page(request, draft, status=422, failed=f"images-{use}", problems=problems)
    return _redirect_to_part(request, f"images-{use}")


@require_POST
@brand_page(Action.EDIT_BRAND)
def change_image(request: BrandRequest, pk: int) -> HttpResponseBase:
    """Save the caption and the position (`move`) of an image, or remove it (`remove`)."""
    image = selectors.get_image(request.user, request.brand, pk)
    if "remove" in request.POST:
        images.remove(image=image, by=request.user)
    else:
        move = {"earlier": -1, "later": 1}.get(request.POST.get("move", ""), 0)
        images.change(image=image, by=request.user, caption=request.POST.get("caption"), move=move)
    return _redirect_to_part(request, f"images-{image.use}")


@require_POST
@brand_page(Action.EDIT_BRAND)
def find_colours(request: BrandRequest) -> HttpResponseBase:
    """Show the main colours of an uploaded image to choose from; the image is not kept."""
    draft, file = _ensure_draft(request), request.FILES.get("file")
    context: dict[str, Any] = {"found_name": file.name if file else ""}
    try:
        if file is None:
            raise Invalid(_("Choose an image first."))
        context["found"] = reading.palette(file.read())
        if not context["found"]:
            raise Invalid(_("Everything in this image is transparent; it has no colours."))
    except (Invalid, intake.Refused) as refusal:
        context["found_problem"] = str(refusal)
    if getattr(request, "htmx", False):
        return render(request, "campaigns/guide_found.html", context)
    return _page(request, draft, **context)


@require_POST
@brand_page(Action.EDIT_BRAND)
def take_colours(request: BrandRequest) -> HttpResponseBase:
    """Append the ticked colours of an image to the palette."""
    draft, given = _ensure_draft(request), request.POST
    ticked = given.getlist("take")
    palette = QueryDict(mutable=True)
    for key in ("name", "hex"):
        present = [colour[key] for colour in draft.palette]
        palette.setlist(f"palette_{key}", [*present, *(given.get(f"{key}_{place}", "") for place in ticked)])
    form = PARTS["palette"](draft, palette)
    if _save_part(request, form) is None:
        return _page(request, draft, {"palette": form}, status=422)
    message = ngettext("%(count)d colour taken over.", "%(count)d colours taken over.", len(ticked))
    messages.success(request, message % {"count": len(ticked)})
    return _redirect_to_part(request, "palette")


def _save_part(request: BrandRequest, form: Any, seen: str = "") -> GuideVersion | None:
    """Save a part in the draft; return None if it is refused, with the reasons in the form."""
    if not form.is_valid():
        return None
    try:
        return guides.edit_draft(brand=request.brand, by=request.user, seen=seen, **form.guide_fields())
    except Invalid as refusal:
        form.add_refusal(refusal)
        return None


def _draft(request: BrandRequest) -> GuideVersion | None:
    return selectors.open_draft(selectors.list_versions(request.user, request.brand))


def _ensure_draft(request: BrandRequest) -> GuideVersion:
    return _draft(request) or guides.edit_draft(brand=request.brand, by=request.user)


def _redirect_to_part(request: BrandRequest, part: str) -> HttpResponseBase:
    return redirect(f"{reverse('guide_edit', args=[request.brand.slug])}#part-{part}")


def _page(
    request: BrandRequest,
    draft: GuideVersion,
    refused: Mapping[str, Any] = MappingProxyType({}),
    *,
    status: int = 200,
    **more: Any,
) -> HttpResponseBase:
    """Render the page of the draft. refused: the form of the part that was refused, by the name of the part."""
    versions = list(selectors.list_versions(request.user, request.brand))
    current = selectors.current(versions)
    parts = {part: build(draft) for part, build in PARTS.items()} | dict(refused)
    context = shared_context(draft) | {
        "current": current,
        "changes": selectors.compare(current, draft) if current and draft.pk else [],
        "approved_images": selectors.count_approved_images(request.user, request.brand),
        "parts": parts,
        "failed": next(iter(refused), ""),
        "problems": [problem for form in refused.values() for problem in form.errors_of_part()],
        "seen": {part: guides.draft_token(draft, form.field_names) for part, form in parts.items()},
        "uses": _image_parts(draft),
    }
    return render(request, "campaigns/guide_edit.html", context | more, status=status)


def _image_parts(draft: GuideVersion) -> list[dict[str, Any]]:
    parts = [
        (ImageUse.LOGO, _("Logos"), _("As files with a transparent ground where you have them (PNG or WebP).")),
        (ImageUse.DO, _("Do"), _("Images that are right, with a word on what makes them so.")),
        (ImageUse.DONT, _("Don’t"), _("Images that are wrong, with a word on what is wrong with them.")),
        (ImageUse.REFERENCE, _("Mood"), _("Images that show the feeling: a room, a surface, a light.")),
    ]
    images = list(draft.images.all()) if draft.pk else []
    return [
        {"use": use.value, "label": label, "hint": hint, "images": [image for image in images if image.use == use]}
        for use, label, hint in parts
    ]
