"""Planning a run: what it would make and cost, and the form that plans it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from django.db.models import Q
from django.http import HttpResponseBase
from django.shortcuts import redirect, render
from django.views.decorators.http import require_POST

from campaigns.errors import Conflict, DomainError, Invalid
from campaigns.models import Campaign, PromptVersion
from campaigns.pages import BrandRequest, brand_page
from campaigns.prompts.pieces import cut
from campaigns.selectors import campaigns as campaign_selectors
from generation.choices import Stage
from generation.models import Endpoint
from generation.services import planning
from generation.services.previews import SubjectProblem

PILOT_SAMPLE = 10


@brand_page()
def new(request: BrandRequest, slug: str) -> HttpResponseBase:
    """Choose prompt, engine and stage; the preview beside follows. Posting plans the run, nothing is made yet."""
    campaign = campaign_selectors.by_slug(request.user, request.brand.slug, slug)
    refusal = None
    if request.method == "POST":
        try:
            run = planning.plan(
                by=request.user, name=request.POST.get("name", "").strip(), **_wanted(request, campaign)
            )
        except DomainError as error:
            refusal = error
        else:
            return redirect("run", request.brand.slug, run.pk)
    versions = PromptVersion.objects.visible_to(request.user).filter(template__brand=request.brand)
    context = {
        "campaign": campaign,
        "versions": versions.select_related("template").order_by("template__name", "-number"),
        "endpoints": _endpoints(request),
        "stages": Stage.choices,
        "sample": PILOT_SAMPLE,
        "refusal": refusal,
        "subject_count": campaign.subjects.count(),
        "chosen": request.GET.get("prompt", ""),
    }
    return render(request, "generation/run_new.html", context, status=refusal.status if refusal else 200)


@require_POST
@brand_page()
def preview(request: BrandRequest, slug: str) -> HttpResponseBase:
    """Count, cost, time and the first prompts of what the form says, as a fragment; a refusal is shown in its place."""
    campaign = campaign_selectors.by_slug(request.user, request.brand.slug, slug)
    context: dict[str, Any] = {"campaign": campaign}
    try:
        seen = planning.preview(by=request.user, **_wanted(request, campaign))
        context |= {
            "preview": seen,
            "first": [(one, cut(one.text, one.spans)) for one in seen.first],
            "causes": _causes(seen.problems),
        }
    except DomainError as error:
        context["refusal"] = error
    return render(request, "generation/run_preview.html", context)


def _endpoints(request: BrandRequest) -> Any:
    return Endpoint.objects.filter(Q(brand=None) | Q(brand=request.brand), is_enabled=True).order_by("name")


def _wanted(request: BrandRequest, campaign: Campaign) -> dict[str, Any]:
    """The form as the planning services take it."""
    given = request.POST
    rows = PromptVersion.objects.visible_to(request.user).filter(template__brand=request.brand)
    version = (
        rows.select_related("template__brand", "style").filter(pk=_number(given.get("prompt_version", ""))).first()
    )
    endpoint = _endpoints(request).filter(pk=_number(given.get("endpoint", ""))).first()
    if version is None or endpoint is None:
        raise Invalid("Choose a prompt version and an engine.")
    if not campaign.subjects.exists():
        raise Conflict(f"{campaign.name} has no products yet; add some first.")
    sample = _number(given.get("sample", ""))
    return {
        "campaign": campaign,
        "prompt_version": version,
        "endpoint": endpoint,
        "stage": given.get("stage", Stage.PILOT),
        "sample": sample or None,
    }


def _causes(problems: Iterable[SubjectProblem]) -> list[tuple[str, list[str]]]:
    """Equal sentences once, each with the products that it is about."""
    found: dict[str, list[str]] = {}
    for one in problems:
        subjects = found.setdefault(one.message, [])
        if one.subject not in subjects:
            subjects.append(one.subject)
    return list(found.items())


def _number(text: str) -> int:
    try:
        return int(text)
    except ValueError:
        return 0
