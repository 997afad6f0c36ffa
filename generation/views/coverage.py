"""The page of a campaign: its coverage, its brief, and its runs as cards."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from django.core.paginator import Paginator
from django.http import HttpResponseBase
from django.shortcuts import render
from django.views.decorators.http import require_safe

from campaigns.choices import SubjectKind
from campaigns.models import Campaign, Subject
from campaigns.selectors import campaigns as campaign_selectors
from campaigns.selectors import prompts as prompt_rows
from core.pages import BrandRequest, brand_page, parse_row_id
from generation.selectors import budgets, coverage, gates, runs, subjects

ROWS = 50
CARDS = 10


@require_safe
@brand_page()
def campaign(request: BrandRequest, slug: str) -> HttpResponseBase:
    given, kind = request.GET, request.GET.get("kind", "")
    campaign_row = campaign_selectors.get_by_slug(request.user, request.brand.slug, slug)
    summary = coverage.summary(campaign_row)
    filters = coverage.CoverageFilters(
        state=given.get("state", ""),
        spec_id=parse_row_id(given.get("spec", "")),
        words=given.get("q", "").strip()[:100],
        kind=kind if kind in SubjectKind.values else "",
    )
    matching = coverage.list_subjects(request.user, campaign_row, summary.specs, filters)
    page = Paginator(matching, ROWS).get_page(given.get("page"))
    run_page = Paginator(runs.visible(request.user, campaign_id=campaign_row.pk), CARDS).get_page(given.get("runs"))
    funnels = runs.funnels([run.pk for run in run_page])
    context: dict[str, Any] = {
        "campaign": campaign_row,
        "summary": summary,
        "wanted": filters,
        "is_filtered": filters != coverage.CoverageFilters(),
        "rows": coverage.load_rows(campaign_row, summary.specs, page),
        "page": page,
        "kinds": SubjectKind.choices,
        "cards": [(run, funnels[run.pk]) for run in run_page],
        "run_page": run_page,
        "budget": budgets.status(campaign_row),
        **_version(request, campaign_row, page, summary),
    }
    return render(request, "generation/campaign.html", context)


def _version(
    request: BrandRequest, campaign_row: Campaign, shown: Iterable[Subject], summary: coverage.Summary
) -> dict[str, Any]:
    """Return the prompt version of the page, its rollout, and what the shown subjects lack for it."""
    chosen = parse_row_id(request.GET.get("prompt", ""))
    versions = prompt_rows.list_versions_of_brand(request.user, request.brand)
    version = versions.filter(pk=chosen).first() or gates.latest_version(request.user, campaign_row)
    if version is None:
        return {}
    endpoint = subjects.likely_endpoint(campaign_row, version)
    return {
        "version": version,
        "endpoint": endpoint,
        "rollout": gates.load_rollout(campaign_row, version),
        "readiness_by_id": subjects.load_readiness(
            shown, campaign=campaign_row, version=version, endpoint=endpoint, specs=summary.specs
        ),
    }
