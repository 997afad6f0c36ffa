"""One run: how far it is, watched live, and what people tell it to do. Planning one is in planning.py."""

from __future__ import annotations

from django.contrib import messages
from django.http import HttpResponseBase
from django.shortcuts import redirect, render
from django.views.decorators.http import require_POST, require_safe

from campaigns.errors import NotFound
from campaigns.pages import BrandRequest, brand_page, number
from generation.choices import RunState
from generation.models import Run
from generation.selectors import runs as selectors
from generation.services import gates, retries
from generation.services import runs as services
from generation.views.matrix import Sheet, load_sheet

LIVE = (RunState.RUNNING,)
POLL_SECONDS = 2


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
        count = _retry(request, run)
        messages.success(request, f"{count} {'picture is' if count == 1 else 'pictures are'} tried again.")
    elif verb == "priority":
        services.set_priority(run_id=run.pk, by=request.user, priority=_number(request.POST.get("priority", "")))
    else:
        raise NotFound(f"A run cannot be told to {verb!r}.")
    return redirect("run", request.brand.slug, run.pk)


def _retry(request: BrandRequest, run: Run) -> int:
    """One group of equal failures (`group`), one picture's jobs (`job`, repeated), or everything that failed."""
    given = request.POST
    if group := given.get("group"):
        at_most = 1 if given.get("first") else None
        return retries.retry_group(run_id=run.pk, by=request.user, group=group, at_most=at_most)
    if jobs := given.getlist("job"):
        ids = [pk for pk in map(number, jobs) if pk]
        return retries.retry_jobs(run_id=run.pk, by=request.user, job_ids=ids)
    return retries.retry_failed(run_id=run.pk, by=request.user)


def _run(request: BrandRequest, run_id: int) -> Run:
    run = selectors.get(request.user, run_id)
    if run.campaign.brand_id != request.brand.pk:
        raise NotFound(f"There is no run {run_id} in {request.brand.name}.")
    return run


def _sheet(request: BrandRequest, run: Run) -> Sheet:
    page = _number(request.GET.get("page", "1"))
    return load_sheet(run, page=max(1, page), only_problems=request.GET.get("only") == "problems")


def _number(text: str) -> int:
    try:
        return int(text)
    except ValueError:
        return 0
