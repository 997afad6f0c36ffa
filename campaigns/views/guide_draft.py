"""Pages to change the brand guide: edit the draft by parts, add images, extract a palette, publish."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

from django.contrib import messages
from django.http import HttpResponseBase
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils.translation import gettext as _
from django.utils.translation import ngettext
from django.views.decorators.http import require_POST, require_safe

from campaigns.choices import ImageUse, Light
from campaigns.models import GuideVersion
from campaigns.photos import colours, intake, reading
from campaigns.selectors import approvals
from campaigns.selectors import guides as selectors
from campaigns.services import guide_fields, guides, images
from campaigns.views.guides import lines, shared_context
from core.access import Action
from core.errors import Invalid, NotFound, Problem
from core.pages import BrandRequest, brand_page

#: The parts of the page, which are saved separately, and the fields of each.
PARTS: dict[str, tuple[str, ...]] = {
    "palette": ("palette",),
    "backdrops": ("backdrops", "backdrop"),
    "setting": ("light", "fill_ratio", "baseline"),
    "wording": guide_fields.WORDING,
    "limits": ("thresholds",),
}


@dataclass(frozen=True)
class ColourRow:
    """One colour in the form."""

    name: str
    hex: str
    number: int
    problem: str = ""
    is_default: bool = False

    @property
    def input_value(self) -> str:
        """Return the colour as "#rrggbb" for the browser's colour field, which accepts nothing else."""
        try:
            return colours.normalise_hex(self.hex)
        except ValueError:
            return "#ffffff"


@dataclass
class DraftForm:
    """The values in the form of a part: the draft's own, or the typed ones if they were refused."""

    guide: GuideVersion
    values: dict[str, Any] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)
    part: str = ""

    def value(self, name: str) -> Any:
        return self.values.get(name, getattr(self.guide, name))

    def problem_at(self, name: str) -> str:
        """Return the problem at exactly this pointer, or ""."""
        return next((problem.message for problem in self.problems if problem.pointer == name), "")

    def rows(self, name: str, *, spare: int = 0) -> list[ColourRow]:
        """Return the colours of a list, then `spare` empty rows."""
        given = self.value(name)
        default = str(self.value("backdrop")).casefold()
        rows = []
        for place, colour in enumerate(given):
            problems = [each.message for each in self.problems if each.pointer.startswith(f"{name}/{place}/")]
            is_default = name == "backdrops" and " ".join(colour["name"].split()).casefold() == default
            rows.append(ColourRow(colour["name"], colour["hex"], place, " ".join(problems), is_default))
        return rows + [ColourRow("", "", len(given) + place) for place in range(spare)]

    def setting(self) -> dict[str, Any]:
        """Return fill, baseline and light for the drawing, and the percentages for the fields."""
        shares = {"fill": self.value("fill_ratio"), "baseline": self.value("baseline")}
        percents = {
            f"{name}_percent": round(share * 100) if isinstance(share, float) and math.isfinite(share) else share
            for name, share in shares.items()
        }
        return {**shares, **percents, "light": self.value("light")}

    def words(self) -> list[dict[str, Any]]:
        labels = {
            "required_wording": _("Must be said"), "approved_wording": _("Our words"), "banned_wording": _("Never")
        }  # fmt: skip
        return [
            {"name": name, "label": label, "words": self.value(name), "problem": self.problem_at(name)}
            for name, label in labels.items()
        ]

    def limits(self) -> list[dict[str, Any]]:
        """Return each threshold with the text of its field."""
        given = self.values.get("thresholds", {})
        rows = []
        for threshold in selectors.list_thresholds(self.guide):
            value = given.get(threshold.check, {}).get(threshold.threshold.name, threshold.value)
            text = f"{value:g}" if isinstance(value, float) else str(value)
            rows.append({"shown": threshold, "value": text, "problem": self.problem_at(threshold.pointer)})
        return rows


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
    return _page(request, DraftForm(draft))


@require_POST
@brand_page(Action.EDIT_BRAND)
def save(request: BrandRequest, part: str) -> HttpResponseBase:
    """Save one part of the draft. If it is refused, show the page with the typed values and the reasons."""
    if part not in PARTS:
        raise NotFound(_("The guide has no part %(part)r.") % {"part": part})
    problems: list[Problem] = []
    given = _read_part(request, part, problems)
    try:
        if problems:
            raise Invalid(_("The guide has mistakes."), problems)
        draft = guides.edit_draft(brand=request.brand, by=request.user, seen=request.POST.get("seen", ""), **given)
    except Invalid as refusal:
        draft = _draft(request) or GuideVersion(brand=request.brand, number=1)
        return _page(request, DraftForm(draft, given, refusal.problems, part), status=422)
    messages.success(request, _("Saved in the draft v%(number)d.") % {"number": draft.number})
    return _redirect_to_part(request, part)


@require_POST
@brand_page(Action.EDIT_BRAND)
def publish(request: BrandRequest) -> HttpResponseBase:
    look_again = request.POST.get("look_again", "") == "yes"
    count = approvals.count_approved_images(request.user, request.brand) if look_again else 0
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
        return _page(request, DraftForm(draft, {}, refusal.problems, f"images-{use}"), status=422)
    return _redirect_to_part(request, f"images-{use}")


@require_POST
@brand_page(Action.EDIT_BRAND)
def change_image(request: BrandRequest, pk: int) -> HttpResponseBase:
    """Save the caption and the position (`move`) of an image, or remove it (`remove`)."""
    image = selectors.get_image(request.user, request.brand, pk)
    if "remove" in request.POST:
        images.remove_from_guide(image_id=pk, by=request.user)
    else:
        move = {"earlier": -1, "later": 1}.get(request.POST.get("move", ""), 0)
        images.change_in_guide(image_id=pk, by=request.user, caption=request.POST.get("caption"), move=move)
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
    return _page(request, DraftForm(draft), **context)


@require_POST
@brand_page(Action.EDIT_BRAND)
def take_colours(request: BrandRequest) -> HttpResponseBase:
    """Append the ticked colours of an image to the palette."""
    draft = _ensure_draft(request)
    ticked = [
        {"name": request.POST.get(f"name_{place}", ""), "hex": request.POST.get(f"hex_{place}", "")}
        for place in request.POST.getlist("take")
    ]
    palette = [*draft.palette, *ticked]
    try:
        guides.edit_draft(brand=request.brand, by=request.user, palette=palette)
    except Invalid as refusal:
        return _page(request, DraftForm(draft, {"palette": palette}, refusal.problems, "palette"), status=422)
    message = ngettext("%(count)d colour taken over.", "%(count)d colours taken over.", len(ticked))
    messages.success(request, message % {"count": len(ticked)})
    return _redirect_to_part(request, "palette")


def _draft(request: BrandRequest) -> GuideVersion | None:
    return selectors.open_draft(selectors.list_versions(request.user, request.brand))


def _ensure_draft(request: BrandRequest) -> GuideVersion:
    return _draft(request) or guides.edit_draft(brand=request.brand, by=request.user)


def _redirect_to_part(request: BrandRequest, part: str) -> HttpResponseBase:
    return redirect(f"{reverse('guide_edit', args=[request.brand.slug])}#part-{part}")


def _page(request: BrandRequest, typed: DraftForm, status: int = 200, **more: Any) -> HttpResponseBase:
    draft = typed.guide
    versions = list(selectors.list_versions(request.user, request.brand))
    current = selectors.current(versions)
    context = shared_context(draft) | {
        "current": current,
        "changes": selectors.compare(current, draft) if current and draft.pk else [],
        "approved_images": approvals.count_approved_images(request.user, request.brand),
        "typed": typed,
        "failed": typed.part,
        "problems": [problem for problem in typed.problems if "/" not in problem.pointer],
        "seen": {part: guides.draft_token(draft, names) for part, names in PARTS.items()},
        "lights": Light.choices,
        "palette_rows": typed.rows("palette", spare=2),
        "backdrop_rows": typed.rows("backdrops", spare=1),
        "setting": typed.setting(),
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


def _read_part(request: BrandRequest, part: str, problems: list[Problem]) -> dict[str, Any]:
    """Return the typed values of a part by field; text that is no number stays as it is and adds a problem."""
    if part == "palette":
        return {"palette": [colour for _label, colour in _rows(request, "palette")]}
    if part == "backdrops":
        rows = _rows(request, "backdrops")
        chosen = request.POST.get("default", "")
        default = next((" ".join(colour["name"].split()) for label, colour in rows if label == chosen), "")
        return {"backdrops": [colour for _label, colour in rows], "backdrop": default}
    if part == "setting":
        fill_ratio, baseline = (
            _number(request.POST.get(name, ""), name, problems, scale=100) for name in ("fill_ratio", "baseline")
        )
        return {"light": request.POST.get("light", ""), "fill_ratio": fill_ratio, "baseline": baseline}
    if part == "wording":
        return {name: lines(request.POST.get(name, "")) for name in guide_fields.WORDING}
    thresholds: dict[str, dict[str, Any]] = {}
    for threshold in selectors.list_thresholds(None):
        text = request.POST.get(threshold.field, "")
        if text.strip():
            number = _number(text, threshold.pointer, problems)
            thresholds.setdefault(threshold.check, {})[threshold.threshold.name] = number
    return {"thresholds": thresholds}


def _rows(request: BrandRequest, prefix: str) -> list[tuple[str, dict[str, str]]]:
    """Return (row label, colour) of each row that is not empty."""
    names, hexes = request.POST.getlist(f"{prefix}_name"), request.POST.getlist(f"{prefix}_hex")
    labels = request.POST.getlist(f"{prefix}_row") or [str(place) for place in range(len(names))]
    typed = zip(labels, names, hexes, strict=False)
    return [(label, {"name": name, "hex": colour}) for label, name, colour in typed if name.strip() or colour.strip()]


def _number(text: str, pointer: str, problems: list[Problem], *, scale: float = 1) -> Any:
    """Parse a typed number such as "80", "80 %" or "0,8"; return other text unchanged and add a problem."""
    plain = text.strip().removesuffix("%").strip().replace(",", ".")
    try:
        return float(plain) / scale
    except ValueError:
        problems.append(Problem(pointer, _("Give a number."), text[:100]))
        return text
