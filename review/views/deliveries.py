"""The page of deliveries: every asset at every destination, with causes and the buttons that mend them; CSV."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

from django.contrib import messages
from django.db.models import QuerySet
from django.http import HttpResponseBase, QueryDict
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils import timezone
from django.utils.http import urlencode
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext
from django.views.decorators.http import require_POST, require_safe

from core import csv_files
from core.access import Action, can
from core.choices import StaleUse
from core.errors import Invalid, NotFound, Problem
from core.models import Brand
from core.pages import BrandRequest, brand_page, parse_row_id
from core.services import brands
from review.choices import DesiredState
from review.models import Delivery
from review.selectors import deliveries as selectors
from review.selectors import kept_marks
from review.selectors.deliveries import Filters
from review.services import delivery_requests

POLL_SECONDS = 4
MAX_CHANGED = 500
#: The words of the page; a column for the cause, which the page shows below the state.
CSV_COLUMNS = (
    *(gettext_lazy("Product"), gettext_lazy("Campaign"), gettext_lazy("Destination"), gettext_lazy("Wanted")),
    *(gettext_lazy("State"), gettext_lazy("Failed tries"), gettext_lazy("Changed"), gettext_lazy("Cause")),
    *(gettext_lazy("Publish at"), gettext_lazy("Served"), gettext_lazy("Alt text")),
)


@require_safe
@brand_page()
def index(request: BrandRequest) -> HttpResponseBase:
    """List assets with their deliveries, newest first, by keyset. `?format=csv` sends those that match."""
    filters = read_filters(request.GET)
    if request.GET.get("format") == "csv":
        deliveries = selectors.matching_deliveries(request.user, request.brand, filters)
        rows = selectors.with_details(deliveries).order_by("-asset_id", "destination__slug").iterator(chunk_size=500)
        return csv_files.response(f"{request.brand.slug}-deliveries", CSV_COLUMNS, map(_csv_row, rows))
    counts = selectors.count_by_state(request.user, request.brand, filters)
    context = _progress(counts) | {"filters": filters}
    if request.headers.get("HX-Request"):
        return render(request, "review/delivery_changes.html", context | _list_changes(request, filters))
    before = parse_row_id(request.GET.get("before", ""))
    assets, next_before = selectors.page(request.user, request.brand, filters, before=before)
    for asset in assets:
        for delivery in asset.deliveries:
            add_words(delivery)
    totals = {state: count for state, _label, count in counts}
    context |= {
        "refresh": _refresh_query(assets[0].asset.pk, assets[-1].asset.pk) if assets else "",
        "assets": assets,
        "next_before": next_before,
        "matching": totals.get(filters.state, 0) if filters.state else sum(totals.values()),
        "destinations": selectors.destinations(request.user, request.brand),
        "campaigns": selectors.campaigns(request.user, request.brand),
        "zone": request.brand.zone,
        "stale_uses": StaleUse.choices if can(request.user, Action.EDIT_BRAND, request.brand) else [],
    }
    return render(request, "review/deliveries.html", context)


def _list_changes(request: BrandRequest, filters: Filters) -> dict[str, Any]:
    """Return the rows of the page that changed since it was read: "first" and "last" are the ids of its assets."""
    numbers = [parse_row_id(request.GET.get(name, "")) for name in ("first", "last", "since")]
    if None in numbers:
        return {"refresh": "", "changed": []}
    first, last, since = (number or 0 for number in numbers)
    try:
        moment = datetime.fromtimestamp(since, UTC)
    except (ValueError, OverflowError, OSError):
        return {"refresh": "", "changed": []}
    refresh = _refresh_query(first, last)
    changed = list(selectors.changed_since(request.user, request.brand, filters, moment, first, last)[:MAX_CHANGED])
    for delivery in changed:
        add_words(delivery)
    return {"refresh": refresh, "changed": changed, "zone": request.brand.zone}


def _refresh_query(first: int, last: int) -> str:
    """Return the query that asks for the rows that change from now on; a second is read twice, so that none is lost."""
    return urlencode({"first": first, "last": last, "since": int(timezone.now().timestamp()) - 1})


@require_POST
@brand_page()
def act(request: BrandRequest) -> HttpResponseBase:
    """Carry out an action for one delivery ("one" is "retry:12"), for the chosen ones, or for all that match."""
    filters = read_filters(request.POST)
    verb, _colon, one = request.POST.get("one", "").partition(":")
    verb = verb or request.POST.get("verb", "")
    if verb not in _NOTHING_DONE:
        raise NotFound(_("There is no action %(verb)r for deliveries.") % {"verb": verb})
    ids = [one] if one else request.POST.getlist("delivery")
    if request.POST.get("everything") and not one:
        chosen = selectors.matching_deliveries(request.user, request.brand, filters)
    else:
        chosen = selectors.chosen_deliveries(request.user, request.brand, [parse_row_id(pk) or 0 for pk in ids])
    try:
        if not (ids or request.POST.get("everything")):
            raise Invalid(_("Select a delivery first: tick its box, or the one for all that match."))
        _carry_out(request, verb, chosen)
    except Invalid as refusal:
        messages.error(request, refusal.message)
    place = parse_row_id(one) if request.POST.get("from") == "delivery" else None
    if place:
        return redirect("delivery", request.brand.slug, place)
    return redirect(f"{reverse('deliveries', args=[request.brand.slug])}?{filters.as_query()}")


@require_POST
@brand_page(Action.EDIT_BRAND)
def set_stale_use(request: BrandRequest) -> HttpResponseBase:
    chosen = request.POST.get("stale_use", "")
    brand = brands.change(brand_id=request.brand.pk, stale_use=chosen, by=request.user)
    messages.success(request, _("Stale images: %(choice)s.") % {"choice": brand.get_stale_use_display().lower()})
    return redirect("deliveries", request.brand.slug)


def _carry_out(request: BrandRequest, verb: str, chosen: QuerySet[Delivery]) -> None:
    """Call the service of the action and say for how many deliveries it was done."""
    arguments: dict[str, Any] = {"brand": request.brand, "chosen": chosen, "by": request.user}
    if verb == "schedule":
        at = parse_wall_time(request.POST.get("publish_at", ""), request.brand)
        _say(request, verb, delivery_requests.schedule(**arguments, at=at), _published_at if at else _published_now)
        return
    service, sentence = _ACTIONS[verb]
    _say(request, verb, service(**arguments), sentence)


def parse_wall_time(text: str, brand: Brand) -> datetime | None:
    """Return a time of the brand's zone ("2026-11-24T08:00") in UTC; None for an empty text. Raises Invalid."""
    if not text.strip():
        return None
    try:
        local = datetime.fromisoformat(text.strip()).replace(tzinfo=brand.zone)
        moment = local.astimezone(UTC)
    except (ValueError, OverflowError):
        message = _("Give a date and a time, such as 2026-11-24 08:00.")
        raise Invalid(message, [Problem("publish_at", message, text[:40])]) from None
    if moment.astimezone(brand.zone).replace(tzinfo=None) != local.replace(tzinfo=None):
        message = _("There is no such time in %(zone)s on that day: the clocks go forward.") % {"zone": brand.zone}
        raise Invalid(message, [Problem("publish_at", message, text[:40])])
    return moment


def read_filters(given: QueryDict) -> Filters:
    state = given.get("state", "")
    return Filters(
        state=state if state in selectors.STATE_LABELS else "",
        destination=given.get("destination", "")[:50],
        campaign=given.get("campaign", "")[:50],
        text=given.get("q", "").strip()[:200],
    )


def add_words(delivery: Delivery) -> None:
    """Add what the templates show of a delivery: its state in words, what mends it, and what is served."""
    row: Any = delivery
    row.label, row.tone = selectors.STATE_LABELS[row.state], selectors.TONES[row.state]
    row.mend, row.outcome = selectors.find_mend(delivery), selectors.worst_outcome(delivery)
    row.marks = kept_marks.worst(delivery.verification)
    now, zone = timezone.now(), delivery.destination.brand.zone
    row.waits_until = max(filter(None, (row.publish_at, row.embargo_until)), default=None)
    row.has_embargo = bool(row.embargo_until) and row.waits_until == row.embargo_until
    row.is_over = bool(row.expires_at) and row.expires_at <= now
    row.last_day = row.expires_at and (row.expires_at.astimezone(zone) - timedelta(seconds=1)).date()
    row.is_unpublished = row.desired == DesiredState.PRESENT and row.state not in {"present", "wrong"}


def _progress(counts: list[tuple[str, str, int]]) -> dict[str, Any]:
    """Return the parts of the progress bar: what is live of what is to be published, and what needs a person."""
    totals = {state: count for state, _label, count in counts}
    parts = {
        "good": totals.get("present", 0),
        "bad": totals.get("failed", 0) + totals.get("wrong", 0),
        "warn": totals.get("uncertain", 0) + totals.get("held", 0),
        "info": sum(totals.get(state, 0) for state in ("scheduled", *selectors.MOVING)),
    }
    total = sum(totals.values()) - totals.get("absent", 0)
    is_moving = any(totals.get(state) for state in selectors.MOVING)
    poll = POLL_SECONDS if is_moving else 0
    return {"counts": counts, "parts": parts, "total": total, "live": parts["good"], "poll": poll}


def _csv_row(delivery: Any) -> list[str | int]:
    return [
        delivery.asset.subject.key,
        delivery.asset.campaign.name,
        delivery.destination.name,
        _("there") if delivery.desired == DesiredState.PRESENT else _("taken away"),
        str(selectors.STATE_LABELS[delivery.state]),
        delivery.attempts,
        delivery.changed_at.isoformat(),
        delivery.error,
        delivery.publish_at.isoformat() if delivery.publish_at else "",
        selectors.worst_outcome(delivery),
        delivery.alt_text,
    ]


def _say(request: BrandRequest, verb: str, count: int, sentence: Callable[[int], str]) -> None:
    if count:
        messages.success(request, sentence(count) % {"count": f"{count:,}"})
    else:
        messages.warning(request, _NOTHING_DONE[verb])


def _retried(count: int) -> str:
    return ngettext("%(count)s delivery is tried again now.", "%(count)s deliveries are tried again now.", count)


def _released(count: int) -> str:
    return ngettext("%(count)s delivery is released.", "%(count)s deliveries are released.", count)


def _recalled(count: int) -> str:
    return ngettext("%(count)s image is taken down.", "%(count)s images are taken down.", count)


def _restored(count: int) -> str:
    return ngettext(
        "%(count)s image is taken down, and what was there before is put back.",
        "%(count)s images are taken down, and what was there before is put back.",
        count,
    )


def _sent_again(count: int) -> str:
    return ngettext("%(count)s image is sent again.", "%(count)s images are sent again.", count)


def _published_at(count: int) -> str:
    return ngettext("%(count)s image is published at that time.", "%(count)s images are published at that time.", count)


def _published_now(count: int) -> str:
    return ngettext(
        "%(count)s image is published as soon as possible.",
        "%(count)s images are published as soon as possible.",
        count,
    )


_ACTIONS: dict[str, tuple[Callable[..., int], Callable[[int], str]]] = {
    "retry": (delivery_requests.retry_many, _retried),
    "release": (delivery_requests.release_many, _released),
    "recall": (delivery_requests.recall, _recalled),
    "restore": (delivery_requests.restore, _restored),
    "send": (delivery_requests.send_again, _sent_again),
}
_NOTHING_DONE = {
    "retry": gettext_lazy("Nothing was done: no selected delivery has failed, or its destination is switched off."),
    "release": gettext_lazy("Nothing was done: no selected delivery has to be released."),
    "schedule": gettext_lazy("Nothing was done: only an image that is not published yet can get a time."),
    "recall": gettext_lazy("Nothing was done: the selected images are not at these destinations."),
    "restore": gettext_lazy("Nothing was done: the selected images are not at these destinations."),
    "send": gettext_lazy("Nothing was done: only an approved image that is live or was recalled can be sent again."),
}
