"""Pages of destinations: the list, a new one of a kind, and one with its settings, tests and last deliveries."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django.contrib import messages
from django.http import HttpResponseBase
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils.translation import gettext as _
from django.utils.translation import ngettext
from django.views.decorators.http import require_POST, require_safe

from core.access import Action, can
from core.errors import Conflict, Invalid, NotFound
from core.pages import BrandRequest, brand_page
from review.choices import UpdateKind
from review.delivery import base
from review.models import Destination
from review.selectors import deliveries as selectors
from review.selectors import delivery_rules as delivery_rules_selectors
from review.services import delivery_rules, destination_checks
from review.services import destinations as services
from review.views.deliveries import add_words
from review.views.destination_form import DestinationForm, list_kinds
from review.views.destination_rules_form import RuleFormSet, change_rows, describe, preview

LAST_DELIVERIES = 8


@require_safe
@brand_page()
def index(request: BrandRequest) -> HttpResponseBase:
    """List the brand's destinations with their state, their last delivery and counts."""
    summaries = selectors.summarize_destinations(selectors.destinations(request.user, request.brand))
    context = {"summaries": summaries, "may_edit": can(request.user, Action.EDIT_BRAND, request.brand)}
    return render(request, "review/destinations.html", context)


@require_safe
@brand_page(Action.EDIT_BRAND)
def kinds(request: BrandRequest) -> HttpResponseBase:
    """Show the kinds of destinations, each with what it needs."""
    return render(request, "review/destination_kinds.html", {"kinds": list_kinds()})


@brand_page(Action.EDIT_BRAND)
def new(request: BrandRequest, kind: str) -> HttpResponseBase:
    """Show the form of a new destination of this kind. POST creates it."""
    if kind not in base.DESTINATIONS:
        raise NotFound(_("There is no kind of destination called %(kind)r.") % {"kind": kind})
    form = DestinationForm(request.POST if request.method == "POST" else None, kind=kind)
    if form.is_bound and form.is_valid():
        try:
            made = services.create(brand=request.brand, by=request.user, kind=kind, **form.cleaned_data)
        except (Invalid, Conflict) as refusal:
            form.add_refusal(refusal)
        else:
            sentence = _("%(name)s is set up. Test the connection, then see what a delivery would do.")
            messages.success(request, sentence % {"name": made.name})
            return redirect("destination", request.brand.slug, made.pk)
    context = {"form": form, "kind_label": selectors.kind_label(kind)}
    return render(request, "review/destination_new.html", context, status=422 if form.is_bound else 200)


@brand_page()
def detail(request: BrandRequest, pk: int) -> HttpResponseBase:
    """Show a destination. POST changes its name, settings or secret."""
    destination = selectors.get_destination(request.user, request.brand, pk)
    if request.method != "POST":
        return _page(request, destination)
    form = DestinationForm(request.POST, destination=destination)
    if form.is_valid():
        try:
            services.change(destination_id=pk, by=request.user, **form.changes())
        except (Invalid, Conflict) as refusal:
            form.add_refusal(refusal)
        else:
            messages.success(request, _("%(name)s is changed.") % {"name": form.cleaned_data["name"]})
            return redirect("destination", request.brand.slug, pk)
    return _page(request, destination, form=form, status=422)


@require_POST
@brand_page(Action.DELIVER)
def test_connection(request: BrandRequest, pk: int) -> HttpResponseBase:
    """Ask the destination whether it can be used, and show its answer."""
    destination = selectors.get_destination(request.user, request.brand, pk)
    answer = destination_checks.test_connection(destination_id=pk, by=request.user)
    return _show_answer(request, destination, connection=answer)


@require_POST
@brand_page(Action.DELIVER)
def plan(request: BrandRequest, pk: int) -> HttpResponseBase:
    """Show what the next deliveries would do there."""
    destination = selectors.get_destination(request.user, request.brand, pk)
    planned = destination_checks.plan_next(destination_id=pk, by=request.user)
    return _show_answer(request, destination, planned=planned, was_planned=True)


@require_POST
@brand_page(Action.EDIT_BRAND)
def rules(request: BrandRequest, pk: int) -> HttpResponseBase:
    """Change the rules of a destination. "preview" shows what they would send; "add" and "remove" change the rows."""
    destination = selectors.get_destination(request.user, request.brand, pk)
    formset = RuleFormSet(request.brand, change_rows(request.POST), kept=destination.rules)
    if request.headers.get("HX-Request"):
        context = {"preview": preview(request.brand, formset.given_rules())}
        return render(request, "review/destination_preview.html", context)
    if request.POST.keys() & {"add", "remove", "preview"}:
        return _page(request, destination, rules=formset)
    try:
        services.change(destination_id=pk, by=request.user, rules=formset.given_rules())
    except Invalid as refusal:
        formset.add_refusal(refusal)
        return _page(request, destination, rules=formset, status=422)
    messages.success(request, _("The rules are saved. They apply to what is approved from now on."))
    return redirect(f"{reverse('destination', args=[request.brand.slug, pk])}#rules")


@require_POST
@brand_page(Action.DELIVER)
def update(request: BrandRequest, pk: int, kind: str) -> HttpResponseBase:
    """Send what is missing at a destination, or recall what its rules no longer send."""
    if kind not in UpdateKind.values:
        raise NotFound(_("There is no update %(kind)r of a destination.") % {"kind": kind})
    made = delivery_rules.request_update(destination_id=pk, kind=kind, by=request.user)
    if made.ended_at and not made.done:
        messages.warning(request, _("Nothing was to do: somebody may have done it already."))
    else:
        messages.success(request, _UPDATED[kind](made.done) % {"count": f"{made.done:,}"})
    return redirect(f"{reverse('destination', args=[request.brand.slug, pk])}#rules")


@require_POST
@brand_page()
def switch(request: BrandRequest, pk: int, verb: str) -> HttpResponseBase:
    """Switch a destination on or off."""
    destination = selectors.get_destination(request.user, request.brand, pk)
    if verb not in {"on", "off"}:
        raise NotFound(_("There is no action %(verb)r for a destination.") % {"verb": verb})
    try:
        services.change(destination_id=pk, by=request.user, is_enabled=verb == "on")
    except Invalid as refusal:
        messages.error(request, refusal.message)
    else:
        sentence = _("%(name)s is switched on; what failed or waited there is tried again.")
        sentence = sentence if verb == "on" else _("%(name)s is switched off; nothing is sent there.")
        messages.success(request, sentence % {"name": destination.name})
    return redirect("destination", request.brand.slug, pk)


def _show_answer(request: BrandRequest, destination: Destination, **answer: Any) -> HttpResponseBase:
    """Return the answer alone to htmx, else the page with it."""
    if request.headers.get("HX-Request"):
        return render(request, "review/destination_answer.html", {"destination": destination, **answer})
    return _page(request, destination, **answer)


def _page(
    request: BrandRequest,
    destination: Destination,
    *,
    form: DestinationForm | None = None,
    rules: Any = None,
    status: int = 200,
    **more: Any,
) -> HttpResponseBase:
    may_edit = can(request.user, Action.EDIT_BRAND, request.brand)
    filters = selectors.Filters(destination=destination.slug)
    rows = selectors.matching_deliveries(request.user, request.brand, filters)
    chosen = selectors.destinations(request.user, request.brand).filter(pk=destination.pk)
    last = list(selectors.with_details(rows).order_by("-changed_at")[:LAST_DELIVERIES])
    for delivery in last:
        add_words(delivery)
    formset = (rules or RuleFormSet(request.brand, kept=destination.rules)) if may_edit else None
    context = {
        "rules": formset,
        "described_rules": [] if may_edit else describe(destination),
        "preview": preview(request.brand, formset.given_rules() if formset else destination.rules),
        "drift": delivery_rules_selectors.drift(destination),
        "destination": destination,
        "summary": selectors.summarize_destinations(chosen)[0],
        "last": last,
        "form": (form or DestinationForm(destination=destination)) if may_edit else None,
        "is_known_kind": destination.kind in base.DESTINATIONS,
        "has_secret": bool(destination.sealed_secret),
        "may_edit": may_edit,
        **more,
    }
    return render(request, "review/destination.html", context, status=status)


def _sent(count: int) -> str:
    return ngettext("%(count)s image is on its way.", "%(count)s images are on their way.", count)


def _recalled(count: int) -> str:
    return ngettext("%(count)s image is taken down.", "%(count)s images are taken down.", count)


_UPDATED: dict[str, Callable[[int], str]] = {UpdateKind.SEND: _sent, UpdateKind.RECALL: _recalled}
