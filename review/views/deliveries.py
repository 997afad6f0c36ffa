"""Views of deliveries: the state of approved assets at each destination, with the causes of failures."""

from __future__ import annotations

from django.contrib import messages
from django.http import HttpResponseBase
from django.shortcuts import redirect, render
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from django.views.decorators.http import require_POST, require_safe

from core import csv_files
from core.access import Action, can
from core.choices import StaleUse
from core.pages import BrandRequest, brand_page, parse_row_id
from core.services import brands
from review.choices import DesiredState, ObservedState
from review.models import Delivery
from review.selectors import deliveries as selectors

PAGE_SIZE = 100
#: The words of the page; a column for the cause, which the page shows below the state.
CSV_COLUMNS = (
    *(gettext_lazy("Product"), gettext_lazy("Campaign"), gettext_lazy("Destination"), gettext_lazy("Wanted")),
    *(gettext_lazy("State"), gettext_lazy("Failed tries"), gettext_lazy("Changed"), gettext_lazy("Cause")),
)


@require_safe
@brand_page()
def index(request: BrandRequest) -> HttpResponseBase:
    """List deliveries, newest first, by keyset. `?state=` and `?destination=` filter; `?format=csv` sends CSV."""
    state, chosen = request.GET.get("state", ""), request.GET.get("destination", "")
    deliveries = selectors.matching_deliveries(request.user, request.brand, state=state, destination=chosen)
    if request.GET.get("format") == "csv":
        rows = map(_csv_row, deliveries.iterator(chunk_size=500))
        return csv_files.response(f"{request.brand.slug}-deliveries", CSV_COLUMNS, rows)
    if before := parse_row_id(request.GET.get("before", "")):
        deliveries = deliveries.filter(pk__lt=before)
    shown = list(deliveries[: PAGE_SIZE + 1])
    context = {
        "deliveries": shown[:PAGE_SIZE],
        "next_before": shown[PAGE_SIZE - 1].pk if len(shown) > PAGE_SIZE else None,
        "destinations": selectors.destinations(request.user, request.brand),
        "counts": selectors.count_by_state(request.user, request.brand),
        "state": state,
        "chosen": chosen,
        "stale_uses": StaleUse.choices if can(request.user, Action.EDIT_BRAND, request.brand) else [],
    }
    return render(request, "review/deliveries.html", context)


@require_POST
@brand_page(Action.EDIT_BRAND)
def set_stale_use(request: BrandRequest) -> HttpResponseBase:
    chosen = request.POST.get("stale_use", "")
    brand = brands.change(brand_id=request.brand.pk, stale_use=chosen, by=request.user)
    messages.success(request, _("Stale images: %(choice)s.") % {"choice": brand.get_stale_use_display().lower()})
    return redirect("deliveries", request.brand.slug)


def _csv_row(delivery: Delivery) -> list[str | int]:
    return [
        delivery.asset.subject.key,
        delivery.asset.campaign.name,
        delivery.destination.name,
        _("there") if delivery.desired == DesiredState.PRESENT else _("taken away"),
        _("live") if delivery.observed == ObservedState.PRESENT else delivery.observed,
        delivery.attempts,
        delivery.changed_at.isoformat(),
        delivery.error,
    ]
