"""Reports about one run or all runs of a campaign, as a page that can be printed and as CSV."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django.http import HttpResponseBase
from django.shortcuts import render
from django.utils.translation import gettext as _
from django.utils.translation import ngettext
from django.views.decorators.http import require_safe

from campaigns.selectors import campaigns as campaign_selectors
from core import csv_files
from core.pages import BrandRequest, brand_page
from generation.models import Run
from generation.selectors import runs as run_selectors
from review.selectors import reports
from review.selectors.reports import ImageCounts

#: The width of a bar, of 100 per step. The rest is the link to the next bar.
BAR_WIDTH = 62


@require_safe
@brand_page()
def run(request: BrandRequest, run_id: int) -> HttpResponseBase:
    """Show the report of a run. `?format=csv` sends one row per image."""
    selected_run = run_selectors.get_of_brand(request.user, request.brand, run_id)
    if request.GET.get("format") == "csv":
        return _csv_response([selected_run], f"{selected_run.campaign.slug}-run-{selected_run.pk}")
    context = {"run": selected_run, "campaign": selected_run.campaign, "title": selected_run.name}
    return _page(request, [selected_run], context)


@require_safe
@brand_page()
def campaign(request: BrandRequest, slug: str) -> HttpResponseBase:
    """Show the report of a campaign: all its runs except sandbox runs."""
    selected_campaign = campaign_selectors.get_by_slug(request.user, request.brand.slug, slug)
    runs = reports.reported_runs(user=request.user, campaign=selected_campaign)
    if request.GET.get("format") == "csv":
        return _csv_response(runs, selected_campaign.slug)
    return _page(request, runs, {"campaign": selected_campaign, "title": selected_campaign.name})


def _page(request: BrandRequest, runs: Sequence[Run], context: dict[str, Any]) -> HttpResponseBase:
    report = reports.report(runs)
    context |= {"report": report, "steps": funnel_steps(report.total.counts)}
    return render(request, "review/report.html", context)


def funnel_steps(counts: ImageCounts) -> list[dict[str, Any]]:
    """Return the steps: asked for → made → passed checks → approved (of which at first look) → delivered.

    Each is drawn in a box 100 wide and 100 high. height: of its bar, and percentage of the requested images. inner:
    height of the part of the bar that was approved at first look. link: the polygon to the next step's bar, or "".
    """
    waiting = ngettext("%(count)d still on their way", "%(count)d still on their way", counts.waiting)
    failed = ngettext("%(count)d could not be", "%(count)d could not be", counts.failed)
    revised = _("%(first)d at first look, %(later)d after revision")
    revised %= {"first": counts.approved_at_first_look, "later": counts.approved_after_revision}
    stages = [
        (_("asked for"), counts.requested, waiting % {"count": counts.waiting} if counts.waiting else "", 0, False),
        (_("made"), counts.made, failed % {"count": counts.failed} if counts.failed else "", 0, False),
        (_("passed checks"), counts.passed_checks, "", 0, False),
        (_("approved"), counts.approved, revised, counts.approved_at_first_look, True),
        (_("delivered"), counts.delivered, "", 0, True),
    ]
    scale = 100.0 / (counts.requested or 1)
    steps = []
    for place, (name, count, note, inner, is_good) in enumerate(stages):
        x, link = 100 * place, ""
        if place + 1 < len(stages):
            tops = f"{x + BAR_WIDTH},{100 - scale * count:.1f} {x + 100},{100 - scale * stages[place + 1][1]:.1f}"
            link = f"{tops} {x + 100},100 {x + BAR_WIDTH},100"
        step = {"name": name, "count": count, "note": note, "x": x, "link": link, "is_good": is_good}
        heights = {"height": scale * count, "top": 100 - scale * count}
        steps.append(step | heights | {"inner": scale * inner, "inner_top": 100 - scale * inner})
    return steps


def _csv_response(runs: Sequence[Run], name: str) -> HttpResponseBase:
    rows = ([_csv_value(value) for value in row] for row in reports.image_rows(runs))
    return csv_files.response(f"{name}-report", reports.IMAGE_COLUMNS, rows)


def _csv_value(value: Any) -> str:
    """Return a value as text for a spreadsheet: yes and no, axis values as "backdrop clay, light left"."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, dict):
        return ", ".join(f"{name} {axis_value}" for name, axis_value in value.items())
    return value.isoformat() if hasattr(value, "isoformat") else str(value)
