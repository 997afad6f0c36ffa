"""The page of a campaign: its coverage, its brief, and its runs as cards."""

from __future__ import annotations

from typing import Any

from django.core.paginator import Paginator
from django.http import HttpResponseBase
from django.shortcuts import render
from django.views.decorators.http import require_safe

from campaigns.choices import SubjectKind
from campaigns.models import Campaign
from campaigns.selectors import campaigns as campaign_selectors
from campaigns.selectors import prompts as prompt_rows
from core.pages import BrandRequest, brand_page, parse_row_id
from generation.selectors import budgets, coverage, rollout, runs, subject_readiness

ROWS = 50
CARDS = 10
LAST_PAGE = 1_000_000
"""More pages than any campaign has, and small enough for an SQL offset."""


@require_safe
@brand_page()
def campaign(request: BrandRequest, slug: str) -> HttpResponseBase:
    campaign_row = campaign_selectors.get_by_slug(request.user, request.brand.slug, slug)
    summary = coverage.summary(campaign_row)
    filters = _parse_filters(request)
    at = min(max(1, parse_row_id(request.GET.get("page", "")) or 1), LAST_PAGE)
    shown = coverage.page(
        user=request.user,
        campaign=campaign_row,
        specs=summary.specs,
        filters=filters,
        limit=ROWS,
        offset=(at - 1) * ROWS,
    )
    run_page = Paginator(runs.visible(request.user, campaign_id=campaign_row.pk), CARDS).get_page(
        request.GET.get("runs")
    )
    context: dict[str, Any] = {
        "campaign": campaign_row,
        "summary": summary,
        "wanted": filters,
        "is_filtered": filters != coverage.CoverageFilters(),
        "rows": shown.rows,
        "total": shown.total,
        "page": Paginator(range(shown.total), ROWS).get_page(at),
        "kinds": SubjectKind.choices,
        "cards": runs.list_cards(request.user, campaign_row, limit=CARDS, offset=max(0, run_page.start_index() - 1)),
        "run_page": run_page,
        "budget": budgets.status(campaign_row),
        **_version(request, campaign_row, shown, summary),
    }
    return render(request, "generation/campaign.html", context)


def _parse_filters(request: BrandRequest) -> coverage.CoverageFilters:
    given = request.GET
    return coverage.CoverageFilters(
        state=given.get("state", ""),
        spec_id=parse_row_id(given.get("spec", "")),
        words=given.get("q", "").strip()[:100],
        kind=given.get("kind", "") if given.get("kind") in SubjectKind.values else "",
    )


def _version(
    request: BrandRequest, campaign_row: Campaign, shown: coverage.Page, summary: coverage.Summary
) -> dict[str, Any]:
    """Return the prompt version of the page, its rollout, and what the shown subjects lack for it."""
    chosen = parse_row_id(request.GET.get("prompt", ""))
    version = (
        prompt_rows.list_versions_of_brand(request.user, request.brand).filter(pk=chosen).first() if chosen else None
    )
    version = version or rollout.latest_version(request.user, campaign_row)
    if version is None:
        return {}
    endpoint = subject_readiness.likely_endpoint(campaign_row, version)
    return {
        "version": version,
        "endpoint": endpoint,
        "rollout": rollout.load_rollout(campaign_row, version),
        "readiness_by_id": subject_readiness.load_readiness(
            [row.subject for row in shown.rows],
            campaign=campaign_row,
            version=version,
            endpoint=endpoint,
            specs=summary.specs,
        ),
    }
