"""Pages of style presets: the brand's reusable wording, with an example prompt."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from django.contrib import messages
from django.http import HttpResponseBase
from django.shortcuts import redirect, render
from django.utils.text import slugify
from django.utils.translation import gettext as _
from django.views.decorators.http import require_POST

from campaigns import prompts
from campaigns.forms import StyleForm, add_problems
from campaigns.models import StylePreset
from campaigns.prompts import pieces
from campaigns.prompts.presets import PRESETS
from campaigns.selectors import campaigns
from campaigns.selectors import prompts as selectors
from campaigns.services import styles as services
from core.access import Action
from core.errors import Conflict, Invalid, NotFound
from core.pages import BrandRequest, brand_page

SAMPLE = "The {name}, standing on a plain backdrop"


@dataclass(frozen=True)
class Example:
    """A prompt with a style for one product: its pieces, or the reason why it cannot be rendered."""

    title: str
    pieces: list[pieces.Piece]
    negative: str = ""
    problem: str = ""


@brand_page()
def index(request: BrandRequest) -> HttpResponseBase:
    """Show all presets of the brand with an example; POST creates one."""
    form = StyleForm(request.POST or None)
    if request.method == "POST" and form.is_valid():
        given = form.cleaned_data
        try:
            made = services.create(brand=request.brand, slug=slugify(given["name"])[:50], by=request.user, **given)
        except Invalid as refusal:
            add_problems(form, refusal)
        except Conflict:
            form.add_error("name", _("Another style has this name; give it one of its own."))
        else:
            messages.success(request, _("%(name)s can now be chosen in prompts.") % {"name": made.name})
            return redirect("styles", request.brand.slug)
    return _page(request, form)


@brand_page()
def detail(request: BrandRequest, slug: str) -> HttpResponseBase:
    """Show one preset in the form; POST changes its words for later prompt versions."""
    style = selectors.get_style(request.user, request.brand, slug)
    form = StyleForm(request.POST or None, initial={"name": style.name, "text": style.text, "negative": style.negative})
    if request.method == "POST" and form.is_valid():
        try:
            services.change(style_id=style.pk, by=request.user, **form.cleaned_data)
        except Invalid as refusal:
            add_problems(form, refusal)
        else:
            message = _("%(name)s is changed. Versions written before keep the words they had.")
            messages.success(request, message % {"name": style.name})
            return redirect("styles", request.brand.slug)
    return _page(request, form, style)


@require_POST
@brand_page()
def preview(request: BrandRequest) -> HttpResponseBase:
    """Show the typed words on a real prompt and product; nothing is saved."""
    words, negative = request.POST.get("text", ""), request.POST.get("negative", "")
    return render(request, "campaigns/style_example.html", {"example": _example(request, words, negative)})


@require_POST
@brand_page(Action.EDIT_PROMPT)
def add_presets(request: BrandRequest) -> HttpResponseBase:
    """Add those of the five standard presets that the brand does not have."""
    made = services.add_presets(brand=request.brand, by=request.user)
    names = ", ".join(style.name for style in made)
    messages.success(request, _("Added: %(names)s.") % {"names": names} if made else _("All five are there already."))
    return redirect("styles", request.brand.slug)


@require_POST
@brand_page(Action.EDIT_PROMPT)
def act(request: BrandRequest, slug: str, verb: str) -> HttpResponseBase:
    """Retire a preset, restore it, or copy it under a new name."""
    style = selectors.get_style(request.user, request.brand, slug)
    if verb in ("retire", "restore"):
        services.set_active(style_id=style.pk, by=request.user, is_active=verb == "restore")
        return redirect("styles", request.brand.slug)
    if verb != "copy":
        raise NotFound(_("There is no action %(verb)r for a style.") % {"verb": verb})
    made = services.copy(style_id=style.pk, by=request.user)
    return redirect("style", request.brand.slug, made.slug)


def _page(request: BrandRequest, form: StyleForm, style: StylePreset | None = None) -> HttpResponseBase:
    listed = list(selectors.list_styles(request.user, brand_id=request.brand.pk))
    there = {preset.slug for preset in listed}
    words = form["text"].value() or (style.text if style else "")
    context: dict[str, Any] = {
        "styles": listed,
        "style": style,
        "form": form,
        "uses": {preset.slug: preset.use for preset in PRESETS},
        "missing_presets": [preset.name for preset in PRESETS if preset.slug not in there],
        "example": _example(request, words, form["negative"].value() or ""),
    }
    return render(request, "campaigns/styles.html", context, status=422 if form.errors else 200)


def _example(request: BrandRequest, words: str, negative: str) -> Example:
    """Render the style's words with the brand's newest prompt and one of its products."""
    version = selectors.list_versions_of_brand(request.user, request.brand).order_by("-pk").first()
    subject = next(iter(selectors.example_subjects(request.user, request.brand.pk, [])), None)
    values: dict[str, Any] = {"name": "mug", "brand": request.brand.name, "campaign": "Autumn"}
    if subject:
        values |= campaigns.placeholder_values(
            key=subject.key, name=subject.name, kind=subject.kind, attributes=subject.attributes
        )
    if version:
        values |= {name: held[0] for name, held in version.axes.items() if held}
    source = prompts.PromptSource(
        version.text if version else SAMPLE, version.negative if version else "", style=words, style_negative=negative
    )
    title = _("an example prompt")
    if version and subject:
        title = _("%(version)s on %(subject)s") % {"version": version, "subject": subject.key}
    try:
        rendered = prompts.render(source, values)
    except prompts.MissingValues as missing:
        names = {"subject": subject.key if subject else _("It"), "names": ", ".join(missing.names)}
        return Example(title, [], problem=_("%(subject)s has no value for %(names)s.") % names)
    return Example(title, pieces.mark_remarks(rendered), rendered.negative)
