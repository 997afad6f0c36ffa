"""Pages to plan a run: the form, the preview with cost and time, the schedule, and the comparison of two runs."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from django.contrib import messages
from django.db import transaction
from django.http import HttpResponseBase
from django.shortcuts import redirect, render
from django.utils.translation import gettext as _
from django.views.decorators.http import require_POST, require_safe

from campaigns import prompts
from campaigns.choices import SubjectKind
from campaigns.models import Campaign, OutputSpec, PromptVersion
from campaigns.prompts.pieces import split_text
from campaigns.selectors import campaigns as campaign_selectors
from campaigns.selectors import prompts as prompt_rows
from core.access import Action
from core.errors import DomainError, Invalid
from core.pages import BrandRequest, brand_page, parse_row_id
from generation.choices import Stage
from generation.models import Endpoint
from generation.selectors import endpoints, gates, subjects
from generation.selectors import runs as run_selectors
from generation.services import comparisons, runs
from generation.services.planning import job_templates, plans
from generation.services.planning.counting import SubjectProblem
from generation.services.planning.plan_requests import PlanArguments
from generation.views import run_form
from generation.views.run_form import RunForm


@brand_page()
def new(request: BrandRequest, slug: str) -> HttpResponseBase:
    """Show the form of a new run with its preview. POST plans the run; no image is made yet."""
    campaign = campaign_selectors.get_by_slug(request.user, request.brand.slug, slug)
    form, refusal = RunForm(), None
    if request.method == "POST":
        try:
            form = run_form.submitted_form(request.POST)
            form = run_form.submitted_form(request.POST, request.FILES)
            return _plan(request, campaign, form)
        except DomainError as error:
            refusal = error
    else:
        clone = parse_row_id(request.GET.get("clone", ""))
        form = run_form.initial_form(request.GET, plans.copy_run(run_id=clone, by=request.user) if clone else None)
    # The preview shows the problems of single subjects, grouped by cause.
    problems = [problem for problem in getattr(refusal, "problems", ()) if not problem.pointer.startswith("subjects/")]
    context = _page(request, campaign, form) | {"refusal": refusal, "refusal_problems": problems}
    return render(request, "generation/run_new.html", context, status=refusal.status if refusal else 200)


@require_POST
@brand_page()
def preview(request: BrandRequest, slug: str) -> HttpResponseBase:
    """Render count, cost, time and the first prompts of the run as a fragment, or the error that prevents it."""
    campaign = campaign_selectors.get_by_slug(request.user, request.brand.slug, slug)
    context: dict[str, Any] = {"campaign": campaign, "form": None}
    try:
        form = run_form.submitted_form(request.POST, request.FILES)
        release_at = run_form.release_at(form)
        context |= {"form": form, "release_at": release_at and runs.validate_release_time(release_at)}
        arguments = _arguments(request, campaign, form)
        if form.is_pair and (other := _version(request, form.other)):
            first = arguments.prompt_version
            context["other"] = other
            context["other_preview"] = plans.preview(comparisons.side_of_pair(other, first, arguments))
            arguments = comparisons.side_of_pair(first, other, arguments)
        seen = plans.preview(arguments)
        context |= {
            "preview": seen,
            "first": [(prompt, split_text(prompt.text, prompt.spans)) for prompt in seen.first],
            "causes": _causes(seen.problems),
            "is_full": form.stage == Stage.FULL,
        }
    except DomainError as error:
        context["refusal"] = error
    return render(request, "generation/run_preview.html", context)


@require_safe
@brand_page()
def axes(request: BrandRequest, slug: str) -> HttpResponseBase:
    """Render the axis editor for another prompt version or engine, as a fragment."""
    campaign_selectors.get_by_slug(request.user, request.brand.slug, slug)
    version = _version(request, request.GET.get("prompt", ""))
    context = {
        "axis_rows": run_form.axis_rows(RunForm(), version),
        "obeyed": _list_axis_names(request, version, request.GET.get("endpoint", "")),
        "prompt": str(version.pk) if version else "",
    }
    response = render(request, "generation/run_axes.html", context)
    response["HX-Trigger-After-Settle"] = "axes"
    return response


@require_POST
@brand_page(Action.EDIT_CAMPAIGN)
def add_outputs(request: BrandRequest, slug: str) -> HttpResponseBase:
    """Add the output specs that a job template needs, after the person agreed."""
    campaign = campaign_selectors.get_by_slug(request.user, request.brand.slug, slug)
    template = request.POST.get("template", "")
    job_templates.add_outputs(campaign_id=campaign.pk, slug=template, by=request.user)
    return redirect(f"{request.path.removesuffix('outputs/')}?template={template}")


@require_POST
@brand_page()
def schedule(request: BrandRequest, run_id: int) -> HttpResponseBase:
    """Schedule the release of a planned run, in the person's time zone; without a time, remove the schedule."""
    run = run_selectors.get_of_brand(request.user, request.brand, run_id)
    text = request.POST.get("release_at", "").strip()
    at = run_form.parse_local_time(text, request.POST.get("zone", "")) if text else None
    runs.schedule(run_id=run.pk, by=request.user, at=at)
    if at:
        sentence = _("%(run)s is released by itself on %(time)s UTC.")
        messages.success(request, sentence % {"run": run.name, "time": f"{at:%d %b %Y, %H:%M}"})
    else:
        messages.success(request, _("%(run)s waits for somebody to release it.") % {"run": run.name})
    return redirect("run", request.brand.slug, run.pk)


@require_safe
@brand_page()
def compare(request: BrandRequest, run_id: int, other_id: int) -> HttpResponseBase:
    """Show two runs side by side: the images of the same subjects and values, with their decisions."""
    first_run = run_selectors.get_of_brand(request.user, request.brand, run_id)
    second_run = run_selectors.get_of_brand(request.user, request.brand, other_id)
    pairs = run_selectors.compare_runs(first_run, second_run, page=request.GET.get("page"))
    return render(request, "generation/compare.html", {"one": first_run, "two": second_run, **pairs})


@transaction.atomic
def _plan(request: BrandRequest, campaign: Campaign, form: RunForm) -> HttpResponseBase:
    arguments = _arguments(request, campaign, form)
    if form.is_pair:
        if (other := _version(request, form.other)) is None:
            raise Invalid(_("Choose the second version."))
        first_run, second_run = comparisons.plan_pair(arguments, other=other, name=form.name)
        return redirect("run_compare", request.brand.slug, first_run.pk, second_run.pk)
    clone = parse_row_id(form.clone)
    alternates = endpoints.list_usable(request.brand).filter(pk__in=[parse_row_id(pk) for pk in form.alternates])
    run = plans.plan(
        arguments,
        name=form.name,
        job_template=form.template if form.template in job_templates.BY_SLUG else "",
        cloned_from=run_selectors.get(request.user, clone) if clone else None,
        release_at=run_form.release_at(form),
        alternates=list(alternates),
    )
    return redirect("run", request.brand.slug, run.pk)


def _arguments(request: BrandRequest, campaign: Campaign, form: RunForm) -> PlanArguments:
    version, endpoint = _version(request, form.prompt), _endpoint(request, form.endpoint)
    if version is None or endpoint is None:
        raise Invalid(_("Choose a prompt version and an engine."))
    plain = run_form.plan_arguments(form, campaign, version)
    return PlanArguments(campaign=campaign, prompt_version=version, endpoint=endpoint, by=request.user, **plain)


def _page(request: BrandRequest, campaign: Campaign, form: RunForm) -> dict[str, Any]:
    versions = list(_versions(request).order_by("template__name", "-number"))
    chosen = _version(request, form.prompt) or gates.latest_version(request.user, campaign)
    likely = subjects.likely_endpoint(campaign, chosen) if chosen else None
    endpoint = form.endpoint or str(likely.pk if likely else "")
    specs = list(campaign.output_specs.order_by("id"))
    template = job_templates.BY_SLUG.get(form.template)
    return {
        "campaign": campaign,
        "form": form,
        "template": template,
        "templates": job_templates.ALL,
        "lacking": job_templates.find_missing_outputs(template, specs) if template else [],
        "versions": versions,
        "prompt": str(chosen.pk) if chosen else "",
        "endpoints": endpoints.list_offered(request.brand, chosen=endpoint),
        "endpoint": endpoint,
        "stages": Stage.choices,
        "picks": run_form.PICKS,
        "kinds": SubjectKind.choices,
        "attributes": subjects.attributes(campaign),
        "groups": _groups(specs, form),
        "axis_rows": run_form.axis_rows(form, chosen),
        "obeyed": _list_axis_names(request, chosen, endpoint),
        "subject_count": campaign.subjects.filter(is_active=True).count(),
        "copied": run_selectors.visible(request.user).filter(pk=parse_row_id(form.clone)).first(),
    }


def _groups(specs: Iterable[OutputSpec], form: RunForm) -> list[tuple[str, str, bool]]:
    """Return (aspect, names of its output specs, whether it is ticked) for every aspect of the campaign."""
    named: dict[str, list[str]] = {}
    for spec in specs:
        named.setdefault(spec.aspect, []).append(spec.slug)
    return [
        (aspect, ", ".join(slugs), form.aspects is None or aspect in form.aspects) for aspect, slugs in named.items()
    ]


def _versions(request: BrandRequest) -> Any:
    return prompt_rows.list_versions_of_brand(request.user, request.brand).filter(template__studio=None)


def _version(request: BrandRequest, text: str) -> PromptVersion | None:
    version: PromptVersion | None = _versions(request).filter(pk=parse_row_id(text)).first()
    return version


def _endpoint(request: BrandRequest, text: str) -> Endpoint | None:
    endpoint: Endpoint | None = endpoints.list_usable(request.brand).filter(pk=parse_row_id(text)).first()
    return endpoint


def _list_axis_names(request: BrandRequest, version: PromptVersion | None, endpoint_id: str) -> list[str]:
    """Return the names that an axis may have: the prompt's placeholders, and the engine's controls."""
    endpoint = _endpoint(request, endpoint_id)
    capabilities = endpoints.build_offer(endpoint).capabilities if endpoint else None
    if capabilities is None:
        return []
    named = sorted(capabilities.obeys - {"prompt", "negative"})
    if version is not None and capabilities.obeys_prompt:
        named = [*(slot.name for slot in prompts.placeholders(f"{version.text} {version.negative}")), *named]
    return list(dict.fromkeys(named))


def _causes(problems: Iterable[SubjectProblem]) -> list[tuple[str, list[str], str, int | None]]:
    """Return each distinct message once, as (message, its products, its kind, the id of the concept)."""
    causes: dict[str, tuple[str, list[str], str, int | None]] = {}
    for problem in problems:
        cause = causes.setdefault(problem.message, (problem.message, [], problem.kind, problem.concept))
        if problem.subject not in cause[1]:
            cause[1].append(problem.subject)
    return list(causes.values())
