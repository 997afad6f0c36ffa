"""Pages of the brand guide: read and compare versions, check a sentence; edit the draft by parts, and publish it."""

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

from campaigns import prompts
from campaigns.choices import GuideStatus, ImageUse
from campaigns.forms import GUIDE_PARTS, WordingForm
from campaigns.models import GuideVersion
from campaigns.photos import colours, intake, reading
from campaigns.prompts.pieces import split_text
from campaigns.selectors import guides as selectors
from campaigns.services import guides, images
from core.access import Action, can
from core.choices import BannedWords
from core.errors import Invalid, NotFound
from core.pages import BrandRequest, brand_page, parse_row_id
from core.services import brands

SENTENCE_LENGTH = 2000
FRAMES = ("1 / 1", "4 / 5")  # width / height of the frames in which fill and baseline are drawn


@require_safe
@brand_page()
def page(request: BrandRequest, version: int | None = None) -> HttpResponseBase:
    """Show one version of the guide; without a number the published one, or else the draft."""
    versions = list(selectors.list_versions(request.user, request.brand))
    shown = _shown(versions, version, request)
    if shown is None:
        return render(request, "campaigns/guide_none.html", {"versions": versions})
    current, draft = selectors.current(versions), selectors.open_draft(versions)
    context = _shared_context(shown) | {
        "versions": versions,
        "current": current,
        "draft": draft,
        "is_draft": shown.status == GuideStatus.DRAFT,
        "draft_changes": len(selectors.compare(current, draft)) if current and draft else 0,
        "may_edit": can(request.user, Action.EDIT_BRAND, request.brand),
        "banned_choices": BannedWords.choices,
        "palette": _with_ink(shown.palette),
        "backdrops": _with_ink(shown.backdrops),
        "logos": selectors.images_of_use(shown, ImageUse.LOGO),
        "dos": selectors.images_of_use(shown, ImageUse.DO),
        "donts": selectors.images_of_use(shown, ImageUse.DONT),
        "references": selectors.images_of_use(shown, ImageUse.REFERENCE),
        "limits": selectors.list_thresholds(shown),
    }
    return render(request, "campaigns/guide.html", context)


@require_POST
@brand_page(Action.EDIT_BRAND)
def set_banned_words(request: BrandRequest) -> HttpResponseBase:
    """Save what happens when a prompt has a banned word."""
    chosen = request.POST.get("banned_words", "")
    brand = brands.change(brand_id=request.brand.pk, banned_words=chosen, by=request.user)
    message = _("Banned words in a prompt: %(choice)s.")
    messages.success(request, message % {"choice": brand.get_banned_words_display().lower()})
    return redirect("guide", request.brand.slug)


@require_safe
@brand_page()
def compare(request: BrandRequest, version: int) -> HttpResponseBase:
    """Show the differences between a version and another: `?with=`, or else the one before it."""
    versions = list(selectors.list_versions(request.user, request.brand))
    newer = next((guide for guide in versions if guide.number == version), None)
    other_number = parse_row_id(request.GET.get("with", ""))
    earlier = [guide for guide in versions if guide.number == other_number] or [
        guide for guide in versions if guide.number < version
    ]
    if newer is None or not earlier:
        message = _("The guide of %(brand)s has nothing to compare version %(number)d with.")
        raise NotFound(message % {"brand": request.brand.name, "number": version})
    older, newer = sorted((earlier[0], newer), key=lambda guide: guide.number)
    context = {"versions": versions, "older": older, "newer": newer, "changes": selectors.compare(older, newer)}
    return render(request, "campaigns/guide_compare.html", context)


@require_POST
@brand_page()
def sentence(request: BrandRequest) -> HttpResponseBase:
    """Check a sentence against the guide's wording, or against the wording in the form if it is sent."""
    text = request.POST.get("sentence", "")[:SENTENCE_LENGTH]
    versions = list(selectors.list_versions(request.user, request.brand))
    guide = _shown(versions, parse_row_id(request.POST.get("version", "")), request) or GuideVersion()
    if "banned_wording" in request.POST:
        form = WordingForm(guide, request.POST)
        guide = GuideVersion(**(form.cleaned_data if form.is_valid() else {}))
    remarks = prompts.lint(text, guide) if text.strip() else []
    context = {
        "pieces": split_text(text, remarks=remarks),
        "remarks": remarks,
        "sentence": text,
        "is_fine": not any(remark.is_problem for remark in remarks),
    }
    return render(request, "campaigns/guide_sentence.html", context)


def _shared_context(guide: GuideVersion) -> dict[str, Any]:
    """Return what the page of a version and the page of the draft show alike. backdrop_hex: white if undefined."""
    return {
        "guide": guide,
        "frames": FRAMES,
        "backdrop_hex": selectors.colours_by_name(guide).get(guide.backdrop.casefold(), "#ffffff"),
        "remarks": [
            *colours.similar_colour_remarks(guide.palette),
            *colours.low_contrast_remarks(guide.palette, guide.backdrops),
        ],
    }


def _with_ink(listed: list[dict[str, str]]) -> list[dict[str, str]]:
    """Add a readable text colour ("ink") to each colour, for a template."""
    return [{**colour, "ink": colours.readable_ink(colour["hex"])} for colour in listed]


def _shown(versions: list[GuideVersion], requested: int | None, request: BrandRequest) -> GuideVersion | None:
    if requested is not None:
        shown = next((guide for guide in versions if guide.number == requested), None)
        if shown is None:
            message = _("The guide of %(brand)s has no version %(number)d.")
            raise NotFound(message % {"brand": request.brand.name, "number": requested})
        return shown
    return selectors.current(versions) or (versions[0] if versions else None)


@require_POST
@brand_page(Action.EDIT_BRAND)
def begin_draft(request: BrandRequest) -> HttpResponseBase:
    """Open the draft; if there is none, create it as a copy of the published version."""
    guides.edit_draft(brand=request.brand, by=request.user)
    return redirect("guide_edit", request.brand.slug)


@require_safe
@brand_page(Action.EDIT_BRAND)
def edit_draft(request: BrandRequest) -> HttpResponseBase:
    draft = _draft(request)
    if draft is None:
        return redirect("guide", request.brand.slug)
    return _draft_page(request, draft)


@require_POST
@brand_page(Action.EDIT_BRAND)
def save_part(request: BrandRequest, part: str) -> HttpResponseBase:
    """Save one part of the draft. If it is refused, show the page with the typed values and the reasons."""
    if part not in GUIDE_PARTS:
        raise NotFound(_("The guide has no part %(part)r.") % {"part": part})
    draft = _draft(request) or GuideVersion(brand=request.brand, number=1)
    form = GUIDE_PARTS[part](draft, request.POST)
    saved = _save_part(request, form, seen=request.POST.get("seen", ""))
    if saved is None:
        return _draft_page(request, draft, {part: form}, status=422)
    messages.success(request, _("Saved in the draft v%(number)d.") % {"number": saved.number})
    return _redirect_to_part(request, part)


@require_POST
@brand_page(Action.EDIT_BRAND)
def publish(request: BrandRequest) -> HttpResponseBase:
    look_again = request.POST.get("look_again", "") == "yes"
    count = selectors.count_approved_images(request.user, request.brand) if look_again else 0
    made = guides.publish(
        guide_id=_ensure_draft(request).pk, by=request.user, note=request.POST.get("note", ""), look_again=look_again
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
def discard_draft(request: BrandRequest) -> HttpResponseBase:
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
        return _draft_page(request, draft, status=422, failed=f"images-{use}", problems=problems)
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
    return _draft_page(request, draft, **context)


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
    form = GUIDE_PARTS["palette"](draft, palette)
    if _save_part(request, form) is None:
        return _draft_page(request, draft, {"palette": form}, status=422)
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


def _draft_page(
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
    parts = {part: build(draft) for part, build in GUIDE_PARTS.items()} | dict(refused)
    context = _shared_context(draft) | {
        "current": current,
        "changes": selectors.compare(current, draft) if current and draft.pk else [],
        "approved_images": selectors.count_approved_images(request.user, request.brand),
        "parts": parts,
        "failed": next(iter(refused), ""),
        "problems": [problem for form in refused.values() for problem in form.non_field_errors()],
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
