"""Pages of one run: its progress, live updates, and actions such as release and pause. planning.py plans runs."""

from __future__ import annotations

import hashlib
from decimal import Decimal
from typing import Any

from django.contrib import messages
from django.http import HttpResponse, HttpResponseBase
from django.shortcuts import redirect, render
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext
from django.views.decorators.http import require_POST, require_safe

from core.errors import Conflict, DomainError, Invalid, NotFound
from core.pages import BrandRequest, brand_page, parse_row_id
from generation.choices import JobState, RunState, Stage
from generation.models import Run
from generation.selectors import budgets, endpoints, failures, gates, matrix
from generation.selectors import runs as selectors
from generation.services import runs as services
from generation.services.dispatch import retries, routing
from generation.services.endpoints import changes
from generation.services.planning.counting import Cause
from generation.services.remote import submissions

#: Seconds between two polls of a run by its page; a run in another state does not change by itself.
POLL_SECONDS = {RunState.RUNNING: 2, RunState.PAUSED: 10, RunState.PLANNED: 30}
PRIORITIES = [
    (10, gettext_lazy("Before others")),
    (0, gettext_lazy("Normal priority")),
    (-10, gettext_lazy("After others")),
]
#: The most cells of one poll: as many as fit on a very large screen, and a limit for the queries.
MAX_CELLS = 1500


@require_safe
@brand_page()
def detail(request: BrandRequest, run_id: int) -> HttpResponseBase:
    """Show a run with the first page of its matrix; `?only=problems` shows only problems, `?after=` the next page."""
    return _page(request, _run(request, run_id))


def _page(request: BrandRequest, run: Run, refusal: DomainError | None = None) -> HttpResponseBase:
    """Render the run's page, with a refusal beside the button that was refused."""
    context = _status_context(request, run) | {"sheet": _sheet(request, run), "refusal": refusal}
    if refusal is not None and "budget" in refusal.extra:
        context["short_of"] = Decimal(refusal.extra["needed"]) - Decimal(refusal.extra["left"])
    if run.state not in (RunState.FINISHED, RunState.CANCELLED):
        others = endpoints.list_usable(request.brand).exclude(pk=run.endpoint_id)
        context |= {"elsewhere": others, "alternates": others.filter(pk__in=run.alternates.all())}
    status = refusal.status if refusal else 200
    return render(request, "generation/run.html", context | {"groups": failures.groups(run)}, status=status)


@require_safe
@brand_page()
def rows(request: BrandRequest, run_id: int) -> HttpResponseBase:
    """Render the next page of the matrix, as rows to append."""
    run = _run(request, run_id)
    return render(request, "generation/run_rows.html", {"run": run, "sheet": _sheet(request, run)})


@require_POST
@brand_page()
def live(request: BrandRequest, run_id: int) -> HttpResponseBase:
    """Render what changed since the last poll: the head with the failures, and the cells on the screen, each if its
    mark changed. 204 if nothing changed.

    A POST request, because hundreds of marks are too long for an address; it changes nothing.
    """
    run = _run(request, run_id)
    context = _status_context(request, run)
    pairs = [pair.split("-", 1) for pair in request.POST.get("cells", "").split(".") if "-" in pair][:MAX_CELLS]
    page_marks = {pk: mark for pk, mark in ((parse_row_id(pk), mark) for pk, mark in pairs) if pk is not None}
    changed = matrix.load_changed_cells(run, page_marks)
    has_head = request.POST.get("head") != context["head_mark"]
    if not changed and not has_head:
        return HttpResponse(status=204)
    context |= {"changed": changed, "has_head": has_head, "groups": failures.groups(run) if has_head else []}
    return render(request, "generation/run_live.html", context)


@require_POST
@brand_page()
def act(request: BrandRequest, run_id: int, verb: str) -> HttpResponseBase:
    """Carry out an action: release, pause, resume, cancel, retry failed jobs, plan again the jobs whose engine was
    changed, tell the operator, free money that was not charged, change the priority or the alternates."""
    run = _run(request, run_id)
    if verb == "release":
        try:
            services.release(run_id=run.pk, by=request.user, override_reason=request.POST.get("override_reason", ""))
        except (Conflict, Invalid) as refusal:
            return _page(request, _run(request, run_id), refusal)
    elif verb in ("pause", "resume", "cancel"):
        change = {"pause": services.pause, "resume": services.resume, "cancel": services.cancel}[verb]
        change(run_id=run.pk, by=request.user)
    elif verb == "retry":
        count = _retry(request, run)
        sentence = ngettext("%(count)d image is tried again.", "%(count)d images are tried again.", count)
        messages.success(request, sentence % {"count": count})
    elif verb == "plan-anew":
        anew = changes.replan_held_jobs(run_id=run.pk, by=request.user)
        sentence = ngettext("%(n)d image is planned again.", "%(n)d images are planned again.", anew.jobs)
        left = ngettext("%(n)d still waits.", "%(n)d still wait.", anew.left) if anew.left else ""
        messages.success(request, f"{sentence % {'n': anew.jobs}} {left % {'n': anew.left}}".strip())
    elif verb == "not-charged":
        amount = submissions.mark_not_charged(run_id=run.pk, by=request.user)
        sentence = _("%(amount)s %(currency)s count as free again.")
        messages.success(request, sentence % {"amount": f"{amount:.2f}", "currency": request.brand.currency})
    elif verb == "operator":
        count = retries.notify_operators(run_id=run.pk, by=request.user, group=request.POST.get("group", ""))
        sentence = ngettext("%(count)d operator knows of it now.", "%(count)d operators know of it now.", count)
        messages.success(request, sentence % {"count": count})
    elif verb == "alternates":
        chosen = [parse_row_id(pk) for pk in request.POST.getlist("alternate")]
        places = list(endpoints.list_usable(request.brand).filter(pk__in=chosen))
        routing.set_alternates(run_id=run.pk, endpoints=places, by=request.user)
    elif verb == "priority":
        priority = {str(value): value for value, _label in PRIORITIES}.get(request.POST.get("priority", ""), 0)
        services.set_priority(run_id=run.pk, by=request.user, priority=priority)
    else:
        raise NotFound(_("There is no action %(verb)r for a run.") % {"verb": verb})
    return redirect("run", request.brand.slug, run.pk)


def _retry(request: BrandRequest, run: Run) -> int:
    """Retry a group of equal failures (`group`), the jobs of an image (`job`, repeated), or all failed jobs."""
    given = request.POST
    if group := given.get("group"):
        at_most = 1 if given.get("first") else None
        return retries.retry(run_id=run.pk, by=request.user, group=group, at_most=at_most)
    if jobs := given.getlist("job"):
        ids = [pk for pk in map(parse_row_id, jobs) if pk]
        return retries.retry(run_id=run.pk, by=request.user, job_ids=ids)
    return retries.retry(run_id=run.pk, by=request.user)


def _run(request: BrandRequest, run_id: int) -> Run:
    return selectors.get_of_brand(request.user, request.brand, run_id)


def _sheet(request: BrandRequest, run: Run) -> matrix.Sheet:
    after = parse_row_id(request.GET.get("after", ""))
    only_problems = request.GET.get("only") == "problems"
    return matrix.load_sheet(run, after=-1 if after is None else after, only_problems=only_problems)


def _status_context(request: BrandRequest, run: Run) -> dict[str, Any]:
    """Return the context of the page's head. head_mark: changes whenever the head would be drawn differently."""
    progress = selectors.progress(run)
    is_planned = run.state == RunState.PLANNED
    gate = gates.full_run(run.campaign, run.prompt_version) if is_planned and run.stage == Stage.FULL else None
    cost = budgets.release_cost(run) if is_planned else run.quoted_cost
    jobs, assets = progress.funnel.jobs, progress.funnel.assets
    moved = endpoints.list_moves(run)
    waiting_for = endpoints.list_wait_reasons(run) if run.state == RunState.RUNNING else []
    counts = (sorted(jobs.items()), sorted(assets.items()))
    text = repr((run.state, run.pause_reason, run.priority, run.release_at, counts, gate, cost, moved, waiting_for))
    is_in_flight = jobs[JobState.RUNNING] or jobs[JobState.WAITING]
    return {
        "run": run,
        "progress": progress,
        "gate": gate,
        "cost": cost,
        "left_out": [Cause(**cause) for cause in run.left_out],
        "moved": moved,
        "waiting_for": waiting_for,
        "head_mark": hashlib.sha256(text.encode()).hexdigest()[:8],
        "priorities": PRIORITIES,
        "poll": POLL_SECONDS.get(RunState.RUNNING if is_in_flight else RunState(run.state), 0),
    }
