"""The campaign's own page: coverage first, the brief beside it, runs as cards."""

from __future__ import annotations

from typing import Any

from django.core.paginator import Paginator
from django.http import HttpResponseBase
from django.shortcuts import render
from django.views.decorators.http import require_safe

from campaigns.pages import BrandRequest, brand_page
from campaigns.selectors import campaigns as campaign_selectors
from generation.selectors import coverage, runs
from generation.services import budget, gates

ROWS = 100
RUNS = 12


@require_safe
@brand_page()
def campaign(request: BrandRequest, slug: str) -> HttpResponseBase:
    found = campaign_selectors.by_slug(request.user, request.brand.slug, slug)
    covered = coverage.coverage(user=request.user, campaign=found)
    page = Paginator(covered.rows, ROWS).get_page(request.GET.get("page"))
    listed = list(runs.visible(request.user, campaign_id=found.pk)[:RUNS])
    context: dict[str, Any] = {
        "campaign": found,
        "coverage": covered,
        "page": page,
        "total": len(covered.rows),
        "runs": [(run, runs.funnel(run)) for run in listed],
        "standing": budget.standing(found),
        "pilot": gates.pilot(found),
    }
    return render(request, "generation/campaign.html", context)
