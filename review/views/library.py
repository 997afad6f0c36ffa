"""Views of the library, of one asset and of one cell of a run."""

from __future__ import annotations

import json
from typing import Any

from django.contrib import messages
from django.http import HttpResponseBase, QueryDict
from django.shortcuts import redirect, render
from django.utils.translation import gettext as _
from django.views.decorators.http import require_POST, require_safe

from core.access import Action
from core.errors import Conflict, Invalid, NotFound
from core.pages import BrandRequest, brand_page, parse_row_id
from generation.choices import AssetState
from generation.models import Asset
from generation.services.images import rounds
from review.selectors import asset_details, library
from review.selectors.library import Filters
from review.selectors.workspace import ControlValue
from review.services import consequences, decisions, queue

#: The states that the library shows when none is chosen: those in which an image exists.
DEFAULT_STATES = tuple(state for state in AssetState.values if state not in {AssetState.MAKING, AssetState.SUPERSEDED})


@require_safe
@brand_page()
def index(request: BrandRequest) -> HttpResponseBase:
    """Show the library with its filters. htmx requests the next rows with `?after=`."""
    filters = parse_filters(request)
    after = request.GET.get("after", "")
    page = library.page(user=request.user, brand=request.brand, filters=filters, after=parse_row_id(after))
    query = request.GET.copy()
    query.pop("after", None)
    context = {"page": page, "filters": filters, "query": query.urlencode(), "chosen": request.GET.getlist("state")}
    if request.headers.get("HX-Request") and after:
        return render(request, "review/library_rows.html", context)
    facets = library.facets(user=request.user, brand=request.brand, filters=filters)
    facets["campaigns"].sort(key=lambda facet: (facet.value != str(filters.campaign_id), -facet.number))
    # A query string per facet without its own value: the chips of a hundred campaigns would take long to reverse.
    context["without"] = {name: _without(query, name) for name in ("state", "campaign", "problem", "run")}
    approved = next((facet for facet in facets["states"] if facet.value == AssetState.APPROVED), None)
    context |= {"facets": facets, "approved": approved if AssetState.APPROVED in filters.states else None}
    return render(request, "review/library.html", context)


def _without(query: QueryDict, name: str) -> str:
    """Return the query without this name, to be continued by another value of it."""
    others = query.copy()
    others.pop(name, None)
    return f"{others.urlencode()}&" if others else ""


@require_safe
@brand_page()
def asset(request: BrandRequest, asset_id: int) -> HttpResponseBase:
    detail = asset_details.asset_detail(user=request.user, asset_id=asset_id)
    if detail["asset"].brand_id != request.brand.pk:
        names = {"number": asset_id, "brand": request.brand.name}
        raise NotFound(_("There is no image %(number)s in %(brand)s.") % names)
    versions = {str(version.pk): version for version in detail["versions"]}
    current = versions.get(str(detail["asset"].current_version_id)) or next(iter(detail["versions"]), None)
    task = detail["asset"].tasks.order_by("id").last()
    shown = versions.get(request.GET.get("version", ""), current)
    context = {
        "detail": detail,
        "shown": shown,
        "marks": asset_details.describe_marks(shown) if shown else {},
        "record": json.dumps(detail["record"], indent=2, ensure_ascii=False, default=str),
        "task": task,
        "control_values": _control_values(detail["asset"]) if task and task.escalated_to_id else [],
    }
    return render(request, "review/asset.html", context)


@require_safe
@brand_page()
def cell(request: BrandRequest, run_id: int, cell_id: int) -> HttpResponseBase:
    """Show one cell of a run: a fragment beside the matrix, or a whole page without JavaScript."""
    detail = asset_details.cell_detail(user=request.user, brand=request.brand, run_id=run_id, cell_id=cell_id)
    is_fragment = request.headers.get("X-Requested-With") == "drawer"
    name = "review/cell_drawer.html" if is_fragment else "review/cell.html"
    answer = render(request, name, {"detail": detail, "run": detail["asset"].cell.run})
    answer["Vary"] = "X-Requested-With, Cookie"
    return answer


@require_POST
@brand_page(Action.REVOKE)
def revoke_or_reopen(request: BrandRequest, asset_id: int, verb: str) -> HttpResponseBase:
    """Revoke an approval, or put the asset back into review. For leads."""
    note = request.POST.get("note", "").strip()
    if verb == "revoke":
        decisions.revoke(asset_id=asset_id, by=request.user, note=note)
        messages.success(request, _("The approval is revoked; every destination takes the image away."))
    elif verb == "reopen":
        decisions.reopen(asset_id=asset_id, by=request.user, note=note)
        messages.success(request, _("The image is back in review."))
    else:
        raise NotFound(_("There is no action %(verb)r for an image.") % {"verb": verb})
    return redirect("asset", request.brand.slug, asset_id)


@require_POST
@brand_page(Action.RUN)
def settle_escalation(request: BrandRequest, task_id: int, verb: str) -> HttpResponseBase:
    """Settle an escalated task, as the campaign manager: open another round, or return it to review."""
    task = queue.get(task_id, request.user)
    if verb == "again":
        controls = {}
        for control_value in _control_values(task.asset):
            name = control_value.control.parameter
            given = request.POST.get(f"control:{name}", "")
            is_colour = control_value.control.kind == "colour"
            if given and given != (control_value.hex if is_colour else str(control_value.value)):
                controls[name] = given
        consequences.allow_round(task_id=task_id, by=request.user, controls=controls)
        messages.success(request, _("It is made once more with these changes."))
    elif verb == "return":
        consequences.return_to_review(task_id=task_id, by=request.user, note=request.POST.get("note", "").strip())
        messages.success(request, _("The image is back in review."))
    else:
        raise NotFound(_("There is no action %(verb)r for an image that was sent back.") % {"verb": verb})
    return redirect("asset", request.brand.slug, task.asset_id)


def _control_values(asset: Asset) -> list[ControlValue]:
    """Return the engine's controls with the values of the current version; empty if its engine is gone."""
    if asset.current_version is None:
        return []
    try:
        controls, values = rounds.controls_of(asset.current_version)
    except (Invalid, Conflict, ValueError):
        return []
    return [ControlValue(control, values[control.parameter]) for control in controls]


def parse_filters(request: BrandRequest) -> Filters:
    """Return the filters of the library as an address has them."""
    given: Any = request.GET
    states = [state for state in given.getlist("state") if state in AssetState.values]
    return Filters(
        text=given.get("q", "").strip()[:200],
        states=states or DEFAULT_STATES,
        campaign_id=parse_row_id(given.get("campaign", "")),
        run_id=parse_row_id(given.get("run", "")),
        problem=given.get("problem", "")[:40],
        live=given.get("live", "")[:50],
    )
