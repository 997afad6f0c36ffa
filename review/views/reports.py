"""Reports about one run or all runs of a campaign, as a page that can be printed and as CSV."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from django.http import HttpResponseBase, StreamingHttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_safe

from campaigns.selectors import campaigns as campaign_selectors
from core.errors import NotFound
from core.pages import BrandRequest, brand_page
from generation.models import Run
from generation.selectors import runs as run_selectors
from review.delivery.folder import escape_formula
from review.selectors import reports
from review.selectors.reports import ImageCounts, Report

#: The width of a bar, of 100 per step. The rest is the link to the next bar.
BAR_HEIGHT = 62


@dataclass(frozen=True)
class FunnelStep:
    """One step of the funnel, drawn in a box 100 wide and 100 high.

    percent: share of the requested images. top, height: of its bar. inner: height of the part of the bar that was
    approved at first look. link: the polygon to the next step's bar, or "".
    """

    name: str
    count: int
    percent: float
    note: str
    x: int
    top: float
    height: float
    inner: float
    link: str
    is_good: bool

    @property
    def inner_top(self) -> float:
        return 100 - self.inner


@require_safe
@brand_page()
def run(request: BrandRequest, run_id: int) -> HttpResponseBase:
    """Show the report of a run. `?format=csv` sends one row per image."""
    selected_run = run_selectors.get(request.user, run_id)
    if selected_run.campaign.brand_id != request.brand.pk:
        raise NotFound(f"There is no run {run_id} in {request.brand.name}.")
    if request.GET.get("format") == "csv":
        return _csv_response([selected_run], f"{selected_run.campaign.slug}-run-{selected_run.pk}")
    report = reports.run_report(selected_run)
    return _page(request, report, {"run": selected_run, "campaign": selected_run.campaign, "title": selected_run.name})


@require_safe
@brand_page()
def campaign(request: BrandRequest, slug: str) -> HttpResponseBase:
    """Show the report of a campaign: all its runs except sandbox runs."""
    selected_campaign = campaign_selectors.get_by_slug(request.user, request.brand.slug, slug)
    if request.GET.get("format") == "csv":
        return _csv_response(
            reports.reported_runs(user=request.user, campaign=selected_campaign), selected_campaign.slug
        )
    report = reports.campaign_report(user=request.user, campaign=selected_campaign)
    return _page(request, report, {"campaign": selected_campaign, "title": selected_campaign.name})


def _page(request: BrandRequest, report: Report, context: dict[str, Any]) -> HttpResponseBase:
    context |= {"report": report, "steps": funnel_steps(report.total.counts)}
    return render(request, "review/report.html", context)


def funnel_steps(counts: ImageCounts) -> list[FunnelStep]:
    """Return the steps: asked for → made → passed checks → approved (of which at first look) → delivered."""
    revised = f"{counts.approved_at_first_look} at first look, {counts.approved_after_revision} after revision"
    stages = [
        ("asked for", counts.requested, f"{counts.waiting} still on their way" if counts.waiting else "", 0, False),
        ("made", counts.made, f"{counts.failed} could not be" if counts.failed else "", 0, False),
        ("passed checks", counts.passed_checks, "", 0, False),
        ("approved", counts.approved, revised, counts.approved_at_first_look, True),
        ("delivered", counts.delivered, "", 0, True),
    ]
    heights = [100.0 * count / counts.requested if counts.requested else 0.0 for _, count, *_ in stages]
    steps = []
    for place, (name, count, note, inner, is_good) in enumerate(stages):
        x, height, link = 100 * place, heights[place], ""
        if place + 1 < len(stages):
            tops = f"{x + BAR_HEIGHT},{100 - height:.1f} {x + 100},{100 - heights[place + 1]:.1f}"
            link = f"{tops} {x + 100},100 {x + BAR_HEIGHT},100"
        part = 100.0 * inner / counts.requested if counts.requested else 0.0
        steps.append(FunnelStep(name, count, height, note, x, 100 - height, height, part, link, is_good))
    return steps


class _LineWriter:
    def write(self, value: str) -> str:
        return value


def _csv_response(runs: Sequence[Run], name: str) -> StreamingHttpResponse:
    answer = StreamingHttpResponse(_csv_lines(runs), content_type="text/csv; charset=utf-8")
    answer["Content-Disposition"] = f'attachment; filename="{name}-report.csv"'
    return answer


def _csv_lines(runs: Sequence[Run]) -> Iterator[str]:
    writer = csv.writer(_LineWriter())
    yield "\ufeff" + writer.writerow(reports.IMAGE_COLUMNS)
    for row in reports.image_rows(runs):
        yield writer.writerow([escape_formula(_csv_value(value)) for value in row])


def _csv_value(value: Any) -> str:
    """Return a value as text for a spreadsheet: yes and no, axis values as "backdrop clay, light left"."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, str) and value.startswith("{"):
        value = json.loads(value)
    if isinstance(value, dict):
        return ", ".join(f"{name} {axis_value}" for name, axis_value in value.items())
    return value.isoformat() if hasattr(value, "isoformat") else str(value)
