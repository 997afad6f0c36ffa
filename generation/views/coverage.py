"""The campaign's own page: coverage first, the brief beside it, runs as cards."""

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
from core.pages import BrandRequest, brand_page, number
from generation.selectors import budgets, cards, coverage, needs, rollout, runs

ROWS = 50
CARDS = 10
LAST_PAGE = 1_000_000
"""Far behind the last row of any campaign, and small enough for an offset."""


@require_safe
@brand_page()
def campaign(request: BrandRequest, slug: str) -> HttpResponseBase:
    found = campaign_selectors.by_slug(request.user, request.brand.slug, slug)
    summary = coverage.summary(found)
    wanted = _wanted(request)
    at = min(max(1, number(request.GET.get("page", "")) or 1), LAST_PAGE)
    shown = coverage.page(
        user=request.user, campaign=found, specs=summary.specs, wanted=wanted, limit=ROWS, offset=(at - 1) * ROWS
    )
    run_page = Paginator(runs.visible(request.user, campaign_id=found.pk), CARDS).get_page(request.GET.get("runs"))
    context: dict[str, Any] = {
        "campaign": found,
        "summary": summary,
        "wanted": wanted,
        "is_filtered": wanted != coverage.Wanted(),
        "rows": shown.rows,
        "total": shown.total,
        "page": Paginator(range(shown.total), ROWS).get_page(at),
        "kinds": SubjectKind.choices,
        "cards": cards.of_campaign(request.user, found, limit=CARDS, offset=max(0, run_page.start_index() - 1)),
        "run_page": run_page,
        "standing": budgets.standing(found),
        **_version(request, found, shown, summary),
    }
    return render(request, "generation/campaign.html", context)


def _wanted(request: BrandRequest) -> coverage.Wanted:
    given = request.GET
    return coverage.Wanted(
        state=given.get("state", ""),
        spec_id=number(given.get("spec", "")),
        words=given.get("q", "").strip()[:100],
        kind=given.get("kind", "") if given.get("kind") in SubjectKind.values else "",
    )


def _version(request: BrandRequest, found: Campaign, shown: coverage.Page, summary: coverage.Summary) -> dict[str, Any]:
    """The prompt version that the page is about, its rollout, and what the shown subjects lack for it."""
    chosen = number(request.GET.get("prompt", ""))
    version = prompt_rows.of_brand(request.user, request.brand).filter(pk=chosen).first() if chosen else None
    version = version or rollout.latest_version(request.user, found)
    if version is None:
        return {}
    endpoint = needs.likely_endpoint(found, version)
    return {
        "version": version,
        "endpoint": endpoint,
        "rollout": rollout.of(found, version),
        "verdicts": needs.of(
            [row.subject for row in shown.rows],
            campaign=found,
            version=version,
            endpoint=endpoint,
            specs=summary.specs,
        ),
    }
