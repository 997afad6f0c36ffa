"""Views of the review queue page and of the review workspace: its sidebar, and the decisions that its script posts."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any, TypeVar

from django.http import HttpResponse, HttpResponseBase, JsonResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils import timezone
from django.utils.translation import gettext as _
from django.views.decorators.http import require_POST, require_safe

from core import storable
from core.access import Action, can
from core.errors import DomainError, Invalid, Problem
from core.pages import BrandRequest, brand_page, parse_row_id, set_brand
from core.templatetags.proofline import image
from review.models import Decision
from review.selectors import task_queue, workspace
from review.selectors.task_queue import Queue
from review.services import checklists, decisions, queue

CLAIM_SIZE = 20  # tasks claimed at a time
Member = TypeVar("Member", str, dict[str, Any])


@require_safe
@brand_page()
def queue_page(request: BrandRequest) -> HttpResponse:
    """Show the review queue page: how many images wait, for whom and since when."""
    counts = task_queue.count_tasks(user=request.user, brand=request.brand, action=Action.VIEW)
    stages = checklists.list_stages(brand_id=request.brand.pk)
    first_ids = task_queue.find_free_tasks(
        brand_id=request.brand.pk, stages=stages, by=request.user, now=timezone.now(), count=8, has_mine=True
    )
    first = workspace.load_tasks(first_ids)
    versions = workspace.candidates_by_asset(first)
    queues, more_runs = task_queue.list_queues(user=request.user, brand=request.brand, stages=stages)
    context = {
        "count": counts["waiting_count"],
        "held_by_me": counts["claimed_count"],
        "held_by_others": counts["held_by_others_count"],
        "left_to_others": counts["decided_count"],
        "overdue": counts["overdue_count"],
        "queues": queues if len(queues) > 1 else [],
        "more_runs": more_runs,
        "now": timezone.now(),
        "first": [(task, versions.get(task.asset_id, [])) for task in first],
        "lately": workspace.recent_decisions(user=request.user, brand_id=request.brand.pk, count=12)[::-1],
        "may_review": can(request.user, Action.REVIEW, request.brand),
    }
    return render(request, "review/queue.html", context)


@brand_page(Action.REVIEW)
def page(request: BrandRequest) -> HttpResponse:
    """Show the review workspace and claim the user's next twenty tasks.

    `?task=` puts one of them first; `?queue=` claims tasks of this queue only.
    """
    chosen = Queue.read(request.GET.get("queue", ""))
    tasks = _claim_tasks(request, chosen)
    first_id = parse_row_id(request.GET.get("task", ""))
    if first_id and all(task.pk != first_id for task in tasks):
        tasks = [*workspace.load_tasks([queue.get(first_id, request.user).pk]), *tasks]
    lately = workspace.recent_decisions(user=request.user, brand_id=request.brand.pk)
    reasons = workspace.reasons(brand_id=request.brand.pk)
    state: dict[str, Any] = {
        "cards": workspace.task_cards(tasks),
        "first": first_id,
        "lately": [_past_decision_json(decision) for decision in lately],
        "reasons": [{"code": reason.code, "label": reason.label} for reason in reasons],
        "urls": _script_urls(request.brand.slug, chosen),
        **_task_counts(request),
    }
    return render(request, "review/workspace.html", {"state": state, "is_empty": not tasks})


@require_safe
@brand_page(Action.REVIEW)
def sidebar(request: BrandRequest, task_id: int) -> HttpResponse:
    """Render the sidebar of one task as a fragment. The script loads it ahead for the next tasks."""
    task = queue.get(task_id, request.user)
    detail = workspace.task_detail(task=task, user=request.user)
    return render(request, "review/sidebar.html", {"detail": detail, "task": task, "now": timezone.now()})


def json_action(view: Callable[..., dict[str, Any]]) -> Callable[..., HttpResponseBase]:
    """Decorate a view that answers JSON to the workspace's script. Errors keep their status, message and details."""

    @require_POST
    @wraps(view)
    def answer(request: Any, brand: str, *args: Any, **kwargs: Any) -> HttpResponseBase:
        if not request.user.is_authenticated:
            body = {"title": _("Signed out"), "detail": _("Your session has ended; sign in again.")}
            return JsonResponse(body, status=401)
        try:
            return JsonResponse(view(set_brand(request, brand, Action.REVIEW), *args, **kwargs))
        except DomainError as error:
            problems = [problem.message for problem in getattr(error, "problems", [])]
            details = {"title": _(error.title), "detail": error.message, "errors": problems, **error.extra}
            return JsonResponse(details, status=error.status)

    return answer


@json_action
def approve(request: BrandRequest, task_id: int) -> dict[str, Any]:
    body = _body(request)
    given = _seen_version(body) | {"answers": _member(body, "answers", dict), "note": _member(body, "note", str)}
    return _decision_json(decisions.approve(task_id=task_id, by=request.user, **given))


@json_action
def reject(request: BrandRequest, task_id: int) -> dict[str, Any]:
    body = _body(request)
    given = _seen_version(body) | {name: _member(body, name, str) for name in ("reason", "note")}
    return _decision_json(decisions.reject(task_id=task_id, by=request.user, **given))


@json_action
def revise(request: BrandRequest, task_id: int) -> dict[str, Any]:
    body = _body(request)
    given = _seen_version(body) | {name: _member(body, name, str) for name in ("reason", "note")}
    given |= {"controls": _member(body, "controls", dict), "needs_retouch": bool(body.get("retouch"))}
    return _decision_json(decisions.request_revision(task_id=task_id, by=request.user, **given))


@json_action
def skip(request: BrandRequest, task_id: int) -> dict[str, Any]:
    queue.skip(task_id=task_id, by=request.user)
    return {"task": task_id}


@json_action
def undo(request: BrandRequest, decision_id: int) -> dict[str, Any]:
    """Undo a decision and return its task, claimed again, so that the workspace can show it."""
    withdraws = bool(_body(request).get("withdraws"))
    voiding = decisions.undo(decision_id=decision_id, by=request.user, withdraws=withdraws)
    task = queue.get(voiding.task_id, request.user)
    return {"decision": voiding.pk, "card": workspace.task_cards(workspace.load_tasks([task.pk]))[0]}


@json_action
def more(request: BrandRequest) -> dict[str, Any]:
    """Renew the user's claims, claim up to twenty tasks, and return those that the page does not have yet."""
    ids = _body(request).get("known")
    shown = {pk for pk in ids if isinstance(pk, int)} if isinstance(ids, list) else set()
    queue.renew_claims(brand=request.brand, by=request.user)
    fresh = [task for task in _claim_tasks(request, Queue.read(request.GET.get("queue", ""))) if task.pk not in shown]
    return {"cards": workspace.task_cards(fresh), **_task_counts(request)}


@require_POST
@brand_page(Action.REVIEW)
def leave(request: BrandRequest) -> HttpResponseBase:
    queue.release_claims(brand=request.brand, by=request.user)
    return redirect("review", request.brand.slug)


def _claim_tasks(request: BrandRequest, chosen: Queue) -> list[Any]:
    """Claim and return the user's tasks of a queue in all stages, first stage first, at most twenty."""
    tasks: list[Any] = []
    for stage in checklists.list_stages(brand_id=request.brand.pk):
        if (size := CLAIM_SIZE - len(tasks)) > 0:
            tasks += queue.claim_batch(brand=request.brand, by=request.user, size=size, stage=stage, queue=chosen)
    return workspace.load_tasks([task.pk for task in tasks])


def _task_counts(request: BrandRequest) -> dict[str, int]:
    counts = task_queue.count_tasks(user=request.user, brand=request.brand)
    return {"waiting": counts["waiting_count"], "held_by_others": counts["held_by_others_count"]}


def _body(request: BrandRequest) -> dict[str, Any]:
    try:
        body = storable.read_json((request.body or b"{}").decode())
    except (ValueError, storable.InvalidJson):
        raise _unreadable() from None
    if not isinstance(body, dict):
        raise _unreadable(Problem("/", _("expected an object")))
    return body


def _unreadable(*problems: Problem) -> Invalid:
    return Invalid(_("The page sent something unreadable; load it again."), list(problems))


def _seen_version(body: dict[str, Any]) -> dict[str, Any]:
    """Return the version's id and the token of what was on the screen."""
    version, seen = body.get("version"), body.get("seen")
    if type(version) is not int or not isinstance(seen, str):
        problems = [Problem("/version", _("expected the version's number")), Problem("/seen", _("expected its token"))]
        raise Invalid(_("The page did not say which image it meant; load it again."), problems)
    return {"version_id": version, "seen": seen}


def _member(body: dict[str, Any], name: str, kind: type[Member]) -> Member:
    """Return a member of the body, empty if it is missing. Raises Invalid if it is of another kind."""
    value = body.get(name) or kind()
    if not isinstance(value, kind):
        expected = _("expected text") if kind is str else _("expected an object")
        raise _unreadable(Problem(f"/{name}", expected))
    return value


def _decision_json(decision: Decision) -> dict[str, Any]:
    return {"id": decision.pk, "task": decision.task_id, "decision": decision.kind}


def _past_decision_json(decision: Decision) -> dict[str, Any]:
    return {
        **_decision_json(decision),
        "sku": decision.task.asset.subject.key,
        "strip": image("master", decision.version.master, workspace.STRIP_PX),
        "disclaimer": decision.version.disclaimer,
    }


def _script_urls(brand: str, chosen: Queue) -> dict[str, str]:
    """Return the URLs for the script, with 0 in place of ids."""
    return {
        **{name: reverse(f"task_{name}", args=[brand, 0]) for name in ("approve", "reject", "revise", "skip")},
        "undo": reverse("decision_undo", args=[brand, 0]),
        "more": reverse("review_more", args=[brand]) + (f"?queue={chosen.slug}" if chosen.slug else ""),
        "queue": reverse("review", args=[brand]),
        "login": reverse("account_login"),
    }
