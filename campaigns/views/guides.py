"""Pages to read the brand guide: one version, the differences of two, a check of a sentence."""

from __future__ import annotations

from typing import Any

from django.contrib import messages
from django.http import HttpResponseBase
from django.shortcuts import redirect, render
from django.utils.translation import gettext as _
from django.views.decorators.http import require_POST, require_safe

from campaigns import prompts
from campaigns.choices import GuideStatus, ImageUse
from campaigns.models import GuideVersion
from campaigns.photos import colours, palettes
from campaigns.prompts.pieces import split_text
from campaigns.selectors import guides as selectors
from campaigns.views.guide_forms import WordingForm
from core.access import Action, can
from core.choices import BannedWords
from core.errors import NotFound
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
    return render(request, "campaigns/guide.html", _context(request, versions, shown))


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


def shared_context(guide: GuideVersion) -> dict[str, Any]:
    """Return what the page of a version and the page of the draft show alike. backdrop_hex: white if undefined."""
    return {
        "guide": guide,
        "frames": FRAMES,
        "backdrop_hex": selectors.colours_by_name(guide).get(guide.backdrop.casefold(), "#ffffff"),
        "remarks": [
            *palettes.similar_colour_remarks(guide.palette),
            *palettes.low_contrast_remarks(guide.palette, guide.backdrops),
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


def _context(request: BrandRequest, versions: list[GuideVersion], shown: GuideVersion) -> dict[str, Any]:
    current, draft = selectors.current(versions), selectors.open_draft(versions)
    return shared_context(shown) | {
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
