"""Pages of prompts and style presets: their lists, decisions about a prompt version, and the words of a preset.

The editor of prompts belongs to the generation app.
"""

from __future__ import annotations

from typing import Any

from django.contrib import messages
from django.http import HttpResponseBase
from django.shortcuts import redirect, render
from django.utils.text import slugify
from django.utils.translation import gettext as _
from django.views.decorators.http import require_POST

from campaigns import prompts
from campaigns.forms import StyleForm, save
from campaigns.models import StylePreset
from campaigns.prompts import pieces
from campaigns.prompts.presets import PRESETS
from campaigns.selectors import campaigns
from campaigns.selectors import prompts as selectors
from campaigns.services import prompts as services
from campaigns.services import styles as style_services
from core.access import Action
from core.errors import NotFound
from core.pages import BrandRequest, brand_page

SAMPLE = "The {name}, standing on a plain backdrop"


@brand_page()
def index(request: BrandRequest) -> HttpResponseBase:
    """Show the brand's prompts, those that wait for approval first; POST creates a new one."""
    if request.method == "POST":
        name = request.POST.get("name", "").strip()
        made = services.create_template(brand=request.brand, slug=slugify(name)[:50], name=name, by=request.user)
        return redirect("prompt", request.brand.slug, made.slug)
    context = {
        "templates": selectors.list_templates(request.user, brand_id=request.brand.pk),
        "asked": selectors.list_awaiting_approval(request.user, request.brand.pk)[:12],
    }
    return render(request, "campaigns/prompts.html", context)


@require_POST
@brand_page()
def decide(request: BrandRequest, slug: str, number: int, verb: str) -> HttpResponseBase:
    """Request approval of a draft from the leads, or, as a lead, approve a version or send it back with an answer."""
    version_id = selectors.get_version_by_number(request.user, request.brand, slug, number).pk
    if verb == "ask":
        version = services.request_approval(version_id=version_id, by=request.user)
        message = _("The leads are asked to approve %(version)s.")
    elif verb == "approve":
        version = services.approve_version(version_id=version_id, by=request.user)
        message = _("%(version)s may now be used for real.")
    else:
        version = services.send_back(version_id=version_id, by=request.user, answer=request.POST.get("answer", ""))
        message = _("%(version)s is a draft again; who asked is told why.")
    messages.success(request, message % {"version": version})
    return redirect("prompt_version", request.brand.slug, slug, number)


@brand_page()
def styles(request: BrandRequest) -> HttpResponseBase:
    """Show all presets of the brand with an example; POST creates one."""
    form = StyleForm(request.POST or None)
    slug, taken = slugify(request.POST.get("name", ""))[:50], _("Another style has this name; give it one of its own.")
    if made := save(form, style_services.create, brand=request.brand, slug=slug, by=request.user, taken=taken):
        messages.success(request, _("%(name)s can now be chosen in prompts.") % {"name": made.name})
        return redirect("styles", request.brand.slug)
    return _styles_page(request, form)


@brand_page()
def style(request: BrandRequest, slug: str) -> HttpResponseBase:
    """Show one preset in the form; POST changes its words for later prompt versions."""
    style = selectors.get_style(request.user, request.brand, slug)
    form = StyleForm(request.POST or None, initial={"name": style.name, "text": style.text, "negative": style.negative})
    if save(form, style_services.change, style_id=style.pk, by=request.user):
        message = _("%(name)s is changed. Versions written before keep the words they had.")
        messages.success(request, message % {"name": style.name})
        return redirect("styles", request.brand.slug)
    return _styles_page(request, form, style)


@require_POST
@brand_page()
def preview_style(request: BrandRequest) -> HttpResponseBase:
    """Show the typed words on a real prompt and product; nothing is saved."""
    words, negative = request.POST.get("text", ""), request.POST.get("negative", "")
    return render(request, "campaigns/style_example.html", {"example": _example(request, words, negative)})


@require_POST
@brand_page(Action.EDIT_PROMPT)
def add_style_presets(request: BrandRequest) -> HttpResponseBase:
    """Add those of the five standard presets that the brand does not have."""
    made = style_services.add_presets(brand=request.brand, by=request.user)
    names = ", ".join(style.name for style in made)
    messages.success(request, _("Added: %(names)s.") % {"names": names} if made else _("All five are there already."))
    return redirect("styles", request.brand.slug)


@require_POST
@brand_page(Action.EDIT_PROMPT)
def change_style(request: BrandRequest, slug: str, verb: str) -> HttpResponseBase:
    """Retire a preset, restore it, or copy it under a new name."""
    style = selectors.get_style(request.user, request.brand, slug)
    if verb in ("retire", "restore"):
        style_services.set_active(style_id=style.pk, by=request.user, is_active=verb == "restore")
        return redirect("styles", request.brand.slug)
    if verb != "copy":
        raise NotFound(_("There is no action %(verb)r for a style.") % {"verb": verb})
    made = style_services.copy(style_id=style.pk, by=request.user)
    return redirect("style", request.brand.slug, made.slug)


def _styles_page(request: BrandRequest, form: StyleForm, style: StylePreset | None = None) -> HttpResponseBase:
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


def _example(request: BrandRequest, words: str, negative: str) -> dict[str, Any]:
    """Render the style's words with the brand's newest prompt and one of its products: its pieces, or the problem."""
    version = selectors.list_versions_of_brand(request.user, request.brand).order_by("-pk").first()
    subject = next(iter(selectors.example_subjects(request.user, request.brand.pk, [])), None)
    values: dict[str, Any] = {"name": "mug", "brand": request.brand.name, "campaign": "Autumn"}
    if subject:
        values |= campaigns.placeholder_values(subject)
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
        return {"title": title, "problem": _("%(subject)s has no value for %(names)s.") % names}
    return {"title": title, "pieces": pieces.mark_remarks(rendered), "negative": rendered.negative}
