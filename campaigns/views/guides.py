"""Pages to read the brand guide: one version, the differences of two, a check of a sentence."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from django.contrib import messages
from django.http import HttpResponseBase
from django.shortcuts import redirect, render
from django.views.decorators.http import require_POST, require_safe

from campaigns import prompts
from campaigns.choices import GuideStatus, ImageUse
from campaigns.models import GuideVersion
from campaigns.photos import colours, palettes
from campaigns.prompts.pieces import Piece
from campaigns.selectors import guides as selectors
from core.access import Action, can
from core.choices import BannedWords
from core.errors import NotFound
from core.pages import BrandRequest, brand_page, parse_row_id
from core.services import brands

SENTENCE_LENGTH = 2000
#: Width / height of the frames in which fill and baseline are drawn.
FRAMES = ("1 / 1", "4 / 5")


@dataclass(frozen=True)
class Wording:
    """Three lists of words, as `prompts.lint` expects them."""

    required_wording: list[str]
    approved_wording: list[str]
    banned_wording: list[str]


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
def banned_words(request: BrandRequest) -> HttpResponseBase:
    """Save what happens when a prompt has a banned word."""
    chosen = request.POST.get("banned_words", "")
    brand = brands.set_banned_words(brand_id=request.brand.pk, banned_words=chosen, by=request.user)
    messages.success(request, f"Banned words in a prompt: {brand.get_banned_words_display().lower()}.")
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
        raise NotFound(f"The guide of {request.brand.name} has nothing to compare version {version} with.")
    older, newer = sorted((earlier[0], newer), key=lambda guide: guide.number)
    changes = selectors.compare(older, newer)
    return render(
        request,
        "campaigns/guide_compare.html",
        {"versions": versions, "older": older, "newer": newer, "changes": changes},
    )


@require_POST
@brand_page()
def sentence(request: BrandRequest) -> HttpResponseBase:
    """Check a sentence against the guide's wording, or against the wording in the form if it is sent."""
    text = request.POST.get("sentence", "")[:SENTENCE_LENGTH]
    versions = list(selectors.list_versions(request.user, request.brand))
    guide = _shown(versions, parse_row_id(request.POST.get("version", "")), request)
    wording: Any = guide or Wording([], [], [])
    if "banned_wording" in request.POST:
        wording = Wording(
            *(lines(request.POST.get(f"{kind}_wording", "")) for kind in ("required", "approved", "banned"))
        )
    remarks = prompts.lint(text, wording) if text.strip() else []
    context = {"pieces": split_at_remarks(text, remarks), "remarks": remarks, "sentence": text}
    return render(
        request,
        "campaigns/guide_sentence.html",
        context | {"is_fine": not any(remark.is_problem for remark in remarks)},
    )


def lines(text: str) -> list[str]:
    """Return the phrases of a field that has one per line."""
    return [line.strip() for line in text.splitlines() if line.strip()]


def split_at_remarks(text: str, remarks: list[prompts.Lint]) -> list[Piece]:
    """Split the text at the guide's remarks; `kind` is "banned" or "approved"."""
    placed = [remark for remark in remarks if remark.end > remark.start]
    edges = sorted({0, len(text), *(edge for remark in placed for edge in (remark.start, remark.end))})
    pieces = []
    for start, end in pairwise(edges):
        remark = next((mark for mark in placed if mark.start <= start and end <= mark.end), None)
        pieces.append(
            Piece(text[start:end], kind=remark.kind, title=remark.message) if remark else Piece(text[start:end])
        )
    return pieces


def with_ink(listed: list[dict[str, str]]) -> list[dict[str, str]]:
    """Add a readable text colour ("ink") to each colour, for a template."""
    return [{**colour, "ink": colours.readable_ink(colour["hex"])} for colour in listed]


def backdrop_hex(guide: GuideVersion) -> str:
    """Return the default backdrop as "#rrggbb"; white if the guide does not define it."""
    return selectors.colours_by_name(guide).get(guide.backdrop.casefold(), "#ffffff")


def _shown(versions: list[GuideVersion], requested: int | None, request: BrandRequest) -> GuideVersion | None:
    if requested is not None:
        shown = next((guide for guide in versions if guide.number == requested), None)
        if shown is None:
            raise NotFound(f"The guide of {request.brand.name} has no version {requested}.")
        return shown
    return selectors.current(versions) or (versions[0] if versions else None)


def _context(request: BrandRequest, versions: list[GuideVersion], shown: GuideVersion) -> dict[str, Any]:
    current, draft = selectors.current(versions), selectors.open_draft(versions)
    return {
        "guide": shown,
        "versions": versions,
        "current": current,
        "draft": draft,
        "is_draft": shown.status == GuideStatus.DRAFT,
        "draft_changes": len(selectors.compare(current, draft)) if current and draft else 0,
        "may_edit": can(request.user, Action.EDIT_BRAND, request.brand),
        "banned_choices": BannedWords.choices,
        "palette": with_ink(shown.palette),
        "backdrops": with_ink(shown.backdrops),
        "backdrop_hex": backdrop_hex(shown),
        "remarks": [
            *palettes.similar_colour_remarks(shown.palette),
            *palettes.low_contrast_remarks(shown.palette, shown.backdrops),
        ],
        "logos": selectors.images_of_use(shown, ImageUse.LOGO),
        "dos": selectors.images_of_use(shown, ImageUse.DO),
        "donts": selectors.images_of_use(shown, ImageUse.DONT),
        "references": selectors.images_of_use(shown, ImageUse.REFERENCE),
        "limits": selectors.list_thresholds(shown),
        "frames": FRAMES,
    }
