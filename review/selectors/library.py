"""The library: a brand's images by facet, newest first. Every page costs the same (keyset pagination)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from django.db.models import Count, Exists, OuterRef, Prefetch, Q, QuerySet

from core.models import Brand, User
from generation.choices import AssetState
from generation.models import Asset, Finding, Rendition
from review.choices import ObservedState
from review.models import Delivery

PAGE_SIZE = 60


@dataclass(frozen=True)
class Filters:
    """The library's filters; empty means all. `problem`: a check's name or "any"; `live`: a destination's slug."""

    text: str = ""
    states: Sequence[str] = ()
    campaign_id: int | None = None
    run_id: int | None = None
    problem: str = ""
    live: str = ""


def page(*, user: User, brand: Brand, filters: Filters, after: int | None = None) -> dict[str, Any]:
    """Return the next images below id `after`, newest first, and the `after` of the next call. Four queries."""
    rows = matching_assets(user=user, brand=brand, filters=filters).select_related(
        "subject", "campaign", "cell", "current_version__master", "current_version__job__endpoint"
    )
    if after is not None:
        rows = rows.filter(pk__lt=after)
    files = Rendition.objects.select_related("output_spec").order_by("id")
    rows = rows.prefetch_related(Prefetch("current_version__renditions", files)).order_by("-pk")
    assets = list(rows[: PAGE_SIZE + 1])
    next_after = assets[PAGE_SIZE - 1].pk if len(assets) > PAGE_SIZE else None
    return {"assets": assets[:PAGE_SIZE], "next_after": next_after}


def matching_assets(*, user: User, brand: Brand, filters: Filters) -> QuerySet[Any]:
    """Return all images that match the filters, unordered; for counts, selections and the ZIP."""
    assets = Asset.objects.visible_to(user).filter(brand=brand, is_sandbox=False).exclude(state=AssetState.SUPERSEDED)
    lookups = {"state__in": filters.states, "campaign_id": filters.campaign_id, "cell__run_id": filters.run_id}
    assets = assets.filter(**{name: value for name, value in lookups.items() if value})
    for term in filters.text.split():
        assets = assets.filter(
            Q(subject__key__icontains=term) | Q(subject__name__icontains=term) | Q(campaign__name__icontains=term)
        )
    if filters.problem:
        findings = Finding.objects.filter(version=OuterRef("current_version")).exclude(outcome="pass")
        if filters.problem != "any":
            findings = findings.filter(check_name=filters.problem)
        assets = assets.filter(Exists(findings))
    if filters.live:
        present = Delivery.objects.filter(asset=OuterRef("pk"), observed=ObservedState.PRESENT)
        assets = assets.filter(Exists(present.filter(destination__slug=filters.live)))
    return assets


def facets(*, user: User, brand: Brand, filters: Filters) -> dict[str, list[tuple[str, str, int]]]:
    """Return (value, label, count) of each state, campaign and problem, each facet without its own filter."""

    def matches(**without: Any) -> QuerySet[Any]:
        return matching_assets(user=user, brand=brand, filters=replace(filters, **without))

    findings = Finding.objects.filter(version__in=matches(problem="").values("current_version"))
    by_state = _count(matches(states=()), "state")
    by_campaign = _count(matches(campaign_id=None), "campaign_id", "campaign__name")
    by_problem = _count(findings.exclude(outcome="pass"), "check_name")
    return {
        "states": [(state, str(AssetState(state).label), count) for state, count in by_state],
        "campaigns": [(str(pk), name, count) for pk, name, count in by_campaign],
        "problems": [(name, name.replace("_", " "), count) for name, count in by_problem],
    }


def _count(rows: QuerySet[Any], *columns: str) -> QuerySet[Any]:
    """Return the values of the columns with their count, in the order of the last column."""
    return rows.values_list(*columns).annotate(count=Count("pk")).order_by(columns[-1])
