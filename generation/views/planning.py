"""Planning a run: the form, what it would make and cost, its schedule, and the two sides of an A/B."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from django.contrib import messages
from django.db import transaction
from django.http import HttpResponseBase
from django.shortcuts import redirect, render
from django.views.decorators.http import require_POST, require_safe

from campaigns.choices import SubjectKind
from campaigns.models import Campaign, OutputSpec, PromptVersion
from campaigns.prompts.pieces import cut
from campaigns.selectors import campaigns as campaign_selectors
from campaigns.selectors import prompts as prompt_rows
from core.access import Action
from core.errors import DomainError, Invalid, NotFound
from core.pages import BrandRequest, brand_page, number
from generation.choices import Stage
from generation.models import Endpoint, Run
from generation.selectors import compare as comparing
from generation.selectors import endpoints, needs, picking, rollout
from generation.selectors import runs as run_rows
from generation.selectors import runs as run_selectors
from generation.services import comparisons
from generation.services.planning import job_templates, plans, schedules
from generation.services.planning.previews import SubjectProblem
from generation.views import run_form
from generation.views.run_form import Form


@brand_page()
def new(request: BrandRequest, slug: str) -> HttpResponseBase:
    """Choose what is made of what; the preview beside follows. Posting plans the run, nothing is made yet."""
    campaign = campaign_selectors.by_slug(request.user, request.brand.slug, slug)
    form, refusal = Form(), None
    if request.method == "POST":
        try:
            form = run_form.sent(request.POST)
            form = run_form.sent(request.POST, request.FILES)
            return _planned(request, campaign, form)
        except DomainError as error:
            refusal = error
    else:
        clone = number(request.GET.get("clone", ""))
        form = run_form.begun(request.GET, plans.clone(run_id=clone, by=request.user) if clone else None)
    # What is wrong with single subjects the preview says, by cause.
    problems = [one for one in getattr(refusal, "problems", ()) if not one.pointer.startswith("subjects/")]
    context = _page(request, campaign, form) | {"refusal": refusal, "refusal_problems": problems}
    return render(request, "generation/run_new.html", context, status=refusal.status if refusal else 200)


@require_POST
@brand_page()
def preview(request: BrandRequest, slug: str) -> HttpResponseBase:
    """Count, cost, time and the first prompts of what the form says, as a fragment; a refusal is shown in its place."""
    campaign = campaign_selectors.by_slug(request.user, request.brand.slug, slug)
    context: dict[str, Any] = {"campaign": campaign}
    try:
        form = run_form.sent(request.POST, request.FILES)
        context |= {"form": form, "release_at": run_form.release_at(form)}
        asked = _asked(request, campaign, form)
        other = _version(request, form.other) if form.is_pair else None
        if other is not None:
            first = asked["prompt_version"]
            context["other"] = other
            context["other_preview"] = plans.preview(**comparisons.asked_of(other, first, asked))
            asked = comparisons.asked_of(first, other, asked)
        seen = plans.preview(**asked)
        context |= {
            "preview": seen,
            "first": [(one, cut(one.text, one.spans)) for one in seen.first],
            "causes": _causes(seen.problems),
            "is_full": form.stage == Stage.FULL,
        }
    except DomainError as error:
        context["refusal"] = error
    return render(request, "generation/run_preview.html", context)


@require_safe
@brand_page()
def axes(request: BrandRequest, slug: str) -> HttpResponseBase:
    """The editor of axes for another prompt version or engine, as a fragment."""
    campaign_selectors.by_slug(request.user, request.brand.slug, slug)
    version = _version(request, request.GET.get("prompt", ""))
    offer = _offer(request, request.GET.get("endpoint", ""))
    response = render(
        request,
        "generation/run_axes.html",
        {
            "axis_rows": run_form.axis_rows(Form(), version),
            "obeyed": _obeyed(version, offer),
            "prompt": str(version.pk) if version else "",
        },
    )
    response["HX-Trigger-After-Settle"] = "axes"
    return response


@require_POST
@brand_page(Action.EDIT_CAMPAIGN)
def outputs(request: BrandRequest, slug: str) -> HttpResponseBase:
    """Add the outputs that a common job needs, as the person was asked."""
    campaign = campaign_selectors.by_slug(request.user, request.brand.slug, slug)
    template = request.POST.get("template", "")
    job_templates.add_outputs(campaign_id=campaign.pk, slug=template, by=request.user)
    return redirect(f"{request.path.removesuffix('outputs/')}?template={template}")


@require_POST
@brand_page()
def schedule(request: BrandRequest, run_id: int) -> HttpResponseBase:
    """Release a planned run at a time of the person's own zone; without a time, no longer by itself."""
    run = _run(request, run_id)
    text = request.POST.get("release_at", "").strip()
    if text:
        at = run_form.moment(text, request.POST.get("zone", ""))
        schedules.schedule(run_id=run.pk, by=request.user, at=at)
        messages.success(request, f"{run.name} is released by itself on {at:%d %b %Y, %H:%M} UTC.")
    else:
        schedules.unschedule(run_id=run.pk, by=request.user)
        messages.success(request, f"{run.name} waits for somebody to release it.")
    return redirect("run", request.brand.slug, run.pk)


@require_safe
@brand_page()
def compare(request: BrandRequest, run_id: int, other_id: int) -> HttpResponseBase:
    """Two runs side by side: the same subjects and values, what each made of them and what people said."""
    one, two = _run(request, run_id), _run(request, other_id)
    page = min(max(1, number(request.GET.get("page", "")) or 1), 1_000_000)
    return render(request, "generation/compare.html", {"one": one, "two": two, **comparing.sides(one, two, page=page)})


# -- the parts -----------------------------------------------------------------------------------------------------


@transaction.atomic
def _planned(request: BrandRequest, campaign: Campaign, form: Form) -> HttpResponseBase:
    asked = _asked(request, campaign, form)
    if form.is_pair:
        other = _version(request, form.other)
        if other is None:
            raise Invalid("Choose the second version.")
        one, two = comparisons.plan_pair(other=other, name=form.name, **asked)
        return redirect("run_compare", request.brand.slug, one.pk, two.pk)
    clone = number(form.clone)
    run = plans.plan(
        name=form.name,
        job_template=form.template if form.template in job_templates.BY_SLUG else "",
        cloned_from=run_selectors.get(request.user, clone) if clone else None,
        release_at=run_form.release_at(form),
        alternates=list(endpoints.usable(request.brand).filter(pk__in=[number(one) for one in form.alternates])),
        **asked,
    )
    return redirect("run", request.brand.slug, run.pk)


def _asked(request: BrandRequest, campaign: Campaign, form: Form) -> Any:
    """The form as the planning services take it."""
    version = _version(request, form.prompt)
    endpoint = endpoints.usable(request.brand).filter(pk=number(form.endpoint)).first()
    if version is None or endpoint is None:
        raise Invalid("Choose a prompt version and an engine.")
    return {
        "campaign": campaign,
        "prompt_version": version,
        "endpoint": endpoint,
        "by": request.user,
        **run_form.asked(form, campaign, version),
    }


def _page(request: BrandRequest, campaign: Campaign, form: Form) -> dict[str, Any]:
    versions = list(_versions(request).order_by("template__name", "-number"))
    chosen = _version(request, form.prompt) or rollout.latest_version(request.user, campaign)
    likely = needs.likely_endpoint(campaign, chosen) if chosen else None
    endpoint = form.endpoint or str(likely.pk if likely else "")
    usable = endpoints.offered(request.brand, chosen=endpoint)
    specs = list(campaign.output_specs.order_by("id"))
    template = job_templates.BY_SLUG.get(form.template)
    return {
        "campaign": campaign,
        "form": form,
        "template": template,
        "templates": job_templates.ALL,
        "lacking": job_templates.lacking(template, specs) if template else [],
        "versions": versions,
        "prompt": str(chosen.pk) if chosen else "",
        "endpoints": usable,
        "endpoint": endpoint,
        "stages": Stage.choices,
        "picks": run_form.PICKS,
        "kinds": SubjectKind.choices,
        "attributes": picking.attributes(campaign),
        "groups": _groups(specs, form),
        "axis_rows": run_form.axis_rows(form, chosen),
        "obeyed": _obeyed(chosen, _offer(request, endpoint)),
        "subject_count": campaign.subjects.filter(is_active=True).count(),
        "copied": run_rows.find(request.user, number(form.clone)) if form.clone else None,
    }


def _groups(specs: Iterable[OutputSpec], form: Form) -> list[tuple[str, str, bool]]:
    """(aspect, its outputs in words, ticked) for every aspect of the campaign."""
    named: dict[str, list[str]] = {}
    for spec in specs:
        named.setdefault(spec.aspect, []).append(spec.slug)
    return [(one, ", ".join(slugs), form.aspects is None or one in form.aspects) for one, slugs in named.items()]


def _versions(request: BrandRequest) -> Any:
    return prompt_rows.of_brand(request.user, request.brand).filter(template__studio=None)


def _version(request: BrandRequest, text: str) -> PromptVersion | None:
    found: PromptVersion | None = _versions(request).filter(pk=number(text)).first()
    return found


def _offer(request: BrandRequest, text: str) -> endpoints.Offer | None:
    found: Endpoint | None = endpoints.usable(request.brand).filter(pk=number(text)).first()
    return endpoints.offer(found) if found else None


def _obeyed(version: PromptVersion | None, offer: endpoints.Offer | None) -> list[str]:
    """Names that an axis may have: what the prompt leaves open, and what the engine obeys by name."""
    if offer is None or offer.capabilities is None:
        return []
    named = sorted(offer.capabilities.obeys - {"prompt", "negative"})
    if version is not None and offer.capabilities.obeys_prompt:
        named = [*comparing.placeholders(version), *named]
    return list(dict.fromkeys(named))


def _run(request: BrandRequest, run_id: int) -> Run:
    run = run_selectors.get(request.user, run_id)
    if run.campaign.brand_id != request.brand.pk:
        raise NotFound(f"There is no run {run_id} in {request.brand.name}.")
    return run


def _causes(problems: Iterable[SubjectProblem]) -> list[tuple[str, list[str], str, int | None]]:
    """Equal sentences once, each with the products that it is about, its kind and the concept that it names."""
    found: dict[str, tuple[str, list[str], str, int | None]] = {}
    for one in problems:
        _, subjects, _, _ = found.setdefault(one.message, (one.message, [], one.kind, one.concept))
        if one.subject not in subjects:
            subjects.append(one.subject)
    return list(found.values())
