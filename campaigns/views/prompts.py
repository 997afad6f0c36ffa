"""Prompts: templates, their versions, and the editor that shows at once what a text becomes on real subjects."""

from __future__ import annotations

import json
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from django.contrib import messages
from django.http import HttpResponseBase
from django.shortcuts import redirect, render
from django.utils.text import slugify
from django.views.decorators.http import require_POST

from campaigns import prompts
from campaigns.access import Action
from campaigns.errors import Invalid, NotFound
from campaigns.forms import PromptForm, add_problems
from campaigns.models import PromptTemplate, PromptVersion, Subject
from campaigns.pages import BrandRequest, brand_page
from campaigns.prompts import PromptSource
from campaigns.selectors import brands, campaigns
from campaigns.selectors import prompts as selectors
from campaigns.services import prompts as services

PREVIEWED = 3
ENGINES = ["packshot", "diffusers"]


@dataclass(frozen=True)
class Piece:
    """A stretch of text: plain, a placeholder's value (`name`), or a remark of the brand guide (`kind`, `title`)."""

    text: str
    name: str = ""
    kind: str = ""
    title: str = ""


@dataclass(frozen=True)
class Shown:
    """One subject in the live preview: its rendered prompt, or why there is none."""

    subject: Subject
    values: dict[str, Any]
    pieces: list[Piece]
    negative: str
    problem: str = ""


@brand_page()
def index(request: BrandRequest) -> HttpResponseBase:
    """The brand's prompts; posting begins a new one."""
    if request.method == "POST":
        name = request.POST.get("name", "").strip()
        made = services.create_template(brand=request.brand, slug=slugify(name)[:50], name=name, by=request.user)
        return redirect("prompt", request.brand.slug, made.slug)
    found = selectors.templates(request.user, brand_id=request.brand.pk)
    return render(request, "campaigns/prompts.html", {"templates": found})


@brand_page()
def editor(request: BrandRequest, slug: str, number: int | None = None) -> HttpResponseBase:
    """One prompt: the chosen version (the newest without a number) in the editor; saving makes the next version."""
    template = _template(request, slug)
    versions = list(selectors.versions(request.user, template))
    version = next((one for one in versions if number is None or one.number == number), None)
    if number is not None and version is None:
        raise NotFound(f"{template.name} has no version {number}.")
    form = PromptForm(request.POST or None, brand=request.brand, engines=ENGINES, initial=_initial(version))
    if request.method == "POST" and form.is_valid():
        try:
            made = services.add_version(template_id=template.pk, by=request.user, **form.version_fields())
        except Invalid as refusal:
            add_problems(form, refusal)
        else:
            messages.success(request, f"{made} is saved as a draft.")
            return redirect("prompt_version", request.brand.slug, template.slug, made.number)
    source = selectors.source(version) if version else PromptSource("")
    context = {"template": template, "versions": versions, "version": version, "form": form}
    context |= _preview(request, source, version.axes if version else {})
    return render(request, "campaigns/prompt.html", context)


@require_POST
@brand_page()
def preview(request: BrandRequest, slug: str) -> HttpResponseBase:
    """The live part of the editor: what is typed, rendered on three subjects, nothing saved."""
    _template(request, slug)
    form = PromptForm(request.POST, brand=request.brand, engines=ENGINES)
    form.is_valid()
    given = form.cleaned_data
    style = given.get("style")
    source = PromptSource(
        text=given.get("text", ""),
        negative=given.get("negative", ""),
        style=style.text if style else "",
        style_negative=style.negative if style else "",
        parameters=given.get("parameters", {}),
    )
    context = _preview(request, source, given.get("axes", {})) | {"form_errors": form.errors}
    return render(request, "campaigns/prompt_preview.html", context)


@require_POST
@brand_page(Action.APPROVE_PROMPT)
def approve(request: BrandRequest, slug: str, number: int) -> HttpResponseBase:
    template = _template(request, slug)
    version = PromptVersion.objects.visible_to(request.user).filter(template=template, number=number).first()
    if version is None:
        raise NotFound(f"{template.name} has no version {number}.")
    services.approve_version(version_id=version.pk, by=request.user)
    messages.success(request, f"{version} may now be used for real.")
    return redirect("prompt_version", request.brand.slug, template.slug, number)


def _template(request: BrandRequest, slug: str) -> PromptTemplate:
    found = PromptTemplate.objects.visible_to(request.user).filter(brand=request.brand, slug=slug).first()
    if found is None:
        raise NotFound(f"There is no prompt {slug!r} in {request.brand.name}.")
    template: PromptTemplate = found
    return template


def _initial(version: PromptVersion | None) -> dict[str, Any]:
    if version is None:
        return {"engine": "packshot", "parameters": "{}"}
    return {
        "text": version.text,
        "negative": version.negative,
        "style": version.style_id,
        "axes": "\n".join(f"{name}: {', '.join(str(one) for one in values)}" for name, values in version.axes.items()),
        "parameters": json.dumps(version.parameters, indent=2, ensure_ascii=False),
        "engine": version.needs.get("engine", ""),
        "seed_strategy": version.seed_strategy,
        "seed": version.seed,
        "candidates": version.candidates,
    }


def _preview(request: BrandRequest, source: PromptSource, axes: dict[str, Any]) -> dict[str, Any]:
    """Three subjects, always the same ones of a brand, each with its prompt; the variants that the axes give."""
    rows = Subject.objects.visible_to(request.user).filter(brand=request.brand, is_active=True)
    keys = list(rows.order_by("key").values_list("pk", flat=True)[:60])
    spread = keys[:: max(1, len(keys) // PREVIEWED)][:PREVIEWED]
    subjects = list(rows.filter(pk__in=spread).prefetch_related("photos").order_by("key"))
    guide = brands.current_guide(request.brand.pk)
    try:
        variants = prompts.expand_axes(axes)
    except prompts.AxisError as error:
        return {"shown": [], "variants": 0, "axis_problem": str(error)}
    shown = [
        _shown(subject, source, variants[place % len(variants)] if variants else {}, guide)
        for place, subject in enumerate(subjects)
    ]
    return {"shown": shown, "variants": len(variants), "axis_problem": ""}


def _shown(subject: Subject, source: PromptSource, variant: dict[str, Any], guide: Any) -> Shown:
    values = (
        campaigns.values_of(key=subject.key, name=subject.name, kind=subject.kind, attributes=subject.attributes)
        | variant
    )
    try:
        rendered = prompts.render(source, values)
    except prompts.MissingValues as lacking:
        return Shown(subject, variant, [], "", f"No value for {', '.join(lacking.names)}.")
    except prompts.PromptSyntaxError as error:
        return Shown(subject, variant, [], "", str(error))
    remarks = prompts.lint(rendered.text, guide) if guide else []
    return Shown(subject, variant, mark(rendered.text, rendered.spans, remarks), rendered.negative)


def mark(text: str, spans: Any, remarks: Any) -> list[Piece]:
    """Cut a text at its values and at what the brand guide remarks; a remark inside a value wins."""
    edges = sorted({0, len(text), *(edge for one in (*spans, *remarks) for edge in (one.start, one.end))})
    pieces = []
    for start, end in pairwise(edges):
        name = next((one.name for one in spans if one.start <= start and end <= one.end), "")
        remark = next((one for one in remarks if one.start <= start and end <= one.end), None)
        pieces.append(Piece(text[start:end], name, remark.kind if remark else "", remark.message if remark else ""))
    absent = [Piece(one.word, "", "required", one.message) for one in remarks if one.kind == "required"]
    return pieces + absent
