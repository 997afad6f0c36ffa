"""The audit trail of a brand: events in sealed order, verified on demand, exported as JSON lines."""

from __future__ import annotations

from django.apps import apps
from django.http import HttpResponseBase, StreamingHttpResponse
from django.shortcuts import render
from django.utils.http import content_disposition_header
from django.utils.translation import gettext as _
from django.views.decorators.http import require_safe

from core.access import Action
from core.fetching import redact_json
from core.pages import BrandRequest, brand_page, parse_row_id
from core.selectors import events
from core.services import audit

PAGE = 100


@require_safe
@brand_page(Action.READ_AUDIT)
def index(request: BrandRequest) -> HttpResponseBase:
    """Show the events, newest first, by keyset; `?type=` filters by type, `?before=` shows older ones."""
    kind, before = request.GET.get("type", ""), request.GET.get("before", "")
    trail = events.trail(user=request.user, brand=request.brand, beginning=kind, before=parse_row_id(before))
    rows = list(trail[: PAGE + 1])
    for row in rows:  # events of earlier versions may hold logins and queries of addresses
        row.payload = redact_json(row.payload)
    number, head = audit.head(request.brand)
    labelled = [(f"{app.label}.", app.events_label) for app in apps.get_app_configs() if hasattr(app, "events_label")]
    context = {
        "events": rows[:PAGE],
        "next_before": rows[PAGE - 1].pk if len(rows) > PAGE else None,
        "kind": kind,
        "kinds": [("", _("Everything")), *labelled],  # (beginning of the event types, label) of each app with events
        "sealed": number,
        "head": head,
    }
    return render(request, "core/audit.html", context)


@require_safe
@brand_page(Action.READ_AUDIT)
def verify(request: BrandRequest) -> HttpResponseBase:
    """Verify the whole chain now, and return the result as an HTML fragment."""
    return render(request, "core/audit_verified.html", {"found": audit.verify(request.brand)})


@require_safe
@brand_page(Action.READ_AUDIT)
def export(request: BrandRequest) -> HttpResponseBase:
    lines = (f"{line}\n" for line in audit.export(request.brand))
    headers = {"Content-Disposition": content_disposition_header(True, f"{request.brand.slug}-audit.jsonl")}
    return StreamingHttpResponse(lines, content_type="application/x-ndjson", headers=headers)
