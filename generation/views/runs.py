"""Runs: what one would make and cost, planning it, and watching it live."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from django.contrib import messages
from django.db.models import Q
from django.http import HttpResponseBase
from django.shortcuts import redirect, render
from django.views.decorators.http import require_POST, require_safe

from campaigns.errors import Conflict, DomainError, Invalid, NotFound
from campaigns.models import Campaign, PromptVersion
from campaigns.pages import BrandRequest, brand_page
from campaigns.prompts.pieces import cut
from campaigns.selectors import campaigns as campaign_selectors
from generation.choices import RunState, Stage
from generation.models import Endpoint, Run
from generation.selectors import runs as selectors
from generation.services import gates, planning
from generation.services import runs as services
from generation.views.matrix import Sheet, load_sheet

PILOT_SAMPLE = 10
LIVE = (RunState.RUNNING,)
POLL_SECONDS = 2


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
        "pilot": gates.pilot(campaign),
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


@require_safe
@brand_page()
def detail(request: BrandRequest, run_id: int) -> HttpResponseBase:
    run = _run(request, run_id)
    sheet = _sheet(request, run)
    context = {"run": run, "progress": selectors.progress(run), "sheet": sheet, "pilot": gates.pilot(run.campaign)}
    return render(request, "generation/run.html", context | {"poll": POLL_SECONDS, "is_live": run.state in LIVE})


@require_POST
@brand_page()
def live(request: BrandRequest, run_id: int) -> HttpResponseBase:
    """What changed since the page's last look: the head, and the cells whose mark is not the one that it posts.

    Posted, because a thousand marks are too long for an address; it changes nothing.
    """
    run = _run(request, run_id)
    sheet = _sheet(request, run)
    known = dict(pair.split(":", 1) for pair in request.POST.get("cells", "").split(",") if ":" in pair)
    changed = [cell for cell in sheet.cells if known.get(str(cell.cell_id)) != cell.mark]
    context = {"run": run, "progress": selectors.progress(run), "changed": changed, "pilot": gates.pilot(run.campaign)}
    return render(request, "generation/run_live.html", context | {"poll": POLL_SECONDS, "is_live": run.state in LIVE})


@require_POST
@brand_page()
def act(request: BrandRequest, run_id: int, verb: str) -> HttpResponseBase:
    """Release, pause, resume, cancel, retry what failed, or change the priority."""
    run = _run(request, run_id)
    if verb == "release":
        services.release(
            run_id=run.pk, by=request.user, override_reason=request.POST.get("override_reason", "").strip()
        )
    elif verb == "pause":
        services.pause(run_id=run.pk, by=request.user)
    elif verb == "resume":
        services.resume(run_id=run.pk, by=request.user)
    elif verb == "cancel":
        services.cancel(run_id=run.pk, by=request.user)
    elif verb == "retry":
        count = services.retry_failed(run_id=run.pk, by=request.user)
        messages.success(request, f"{count} {'job is' if count == 1 else 'jobs are'} tried again.")
    elif verb == "priority":
        services.set_priority(run_id=run.pk, by=request.user, priority=_number(request.POST.get("priority", "")))
    else:
        raise NotFound(f"A run cannot be told to {verb!r}.")
    return redirect("run", request.brand.slug, run.pk)


def _run(request: BrandRequest, run_id: int) -> Run:
    run = selectors.get(request.user, run_id)
    if run.campaign.brand_id != request.brand.pk:
        raise NotFound(f"There is no run {run_id} in {request.brand.name}.")
    return run


def _sheet(request: BrandRequest, run: Run) -> Sheet:
    page = _number(request.GET.get("page", "1"))
    return load_sheet(run, page=max(1, page), only_problems=request.GET.get("only") == "problems")


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


def _causes(problems: Iterable[planning.SubjectProblem]) -> list[tuple[str, list[str]]]:
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
