"""The library: a brand's images by facet, newest first. Every page costs the same (keyset pagination)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from django.db.models import Count, Exists, OuterRef, Prefetch, Q, QuerySet

from core.models import Brand, User
from generation.choices import AssetState
from generation.models import Asset, Finding, Rendition
from review.choices import ObservedState
from review.models import Delivery

PAGE_SIZE = 60
#: States that the library never shows.
HIDDEN_STATES = (AssetState.SUPERSEDED,)


@dataclass(frozen=True)
class Filters:
    """The library's filters; empty means all. `problem`: a check's name or "any"; `live`: a destination's slug."""

    text: str = ""
    states: Sequence[str] = ()
    campaign_id: int | None = None
    run_id: int | None = None
    problem: str = ""
    live: str = ""
    axis: Mapping[str, str] = field(default_factory=dict)
    with_sandbox: bool = False


@dataclass(frozen=True)
class Page:
    """assets: with subject, campaign, current version, its master and renditions. next_after: pass it as `after`."""

    assets: Sequence[Asset]
    next_after: int | None


@dataclass(frozen=True)
class Facet:
    """One filter value, and how many images have it."""

    value: str
    label: str
    count: int


def page(
    *, user: User, brand: Brand, filters: Filters | None = None, after: int | None = None, size: int = PAGE_SIZE
) -> Page:
    """Return the next images below id `after`, newest first. Four queries."""
    matches = matching_assets(user=user, brand=brand, filters=filters or Filters())
    if after is not None:
        matches = matches.filter(pk__lt=after)
    assets = list(
        matches.select_related(
            "subject", "campaign", "cell", "current_version__master", "current_version__job__endpoint"
        )
        .prefetch_related(
            Prefetch("current_version__renditions", Rendition.objects.select_related("output_spec").order_by("id"))
        )
        .order_by("-pk")[: size + 1]
    )
    return Page(assets[:size], assets[size - 1].pk if len(assets) > size else None)


def matching_assets(*, user: User, brand: Brand, filters: Filters) -> QuerySet[Any]:
    """Return all images that match the filters, unordered; for counts, selections and the ZIP."""
    assets = Asset.objects.visible_to(user).filter(brand=brand).exclude(state__in=HIDDEN_STATES)
    if not filters.with_sandbox:
        assets = assets.filter(is_sandbox=False)
    if filters.states:
        assets = assets.filter(state__in=filters.states)
    if filters.campaign_id:
        assets = assets.filter(campaign_id=filters.campaign_id)
    if filters.run_id:
        assets = assets.filter(cell__run_id=filters.run_id)
    for name, value in filters.axis.items():
        assets = assets.filter(cell__axis_values__contains={name: value})
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
        present = Delivery.objects.filter(
            asset=OuterRef("pk"), destination__slug=filters.live, observed=ObservedState.PRESENT
        )
        assets = assets.filter(Exists(present))
    return assets


def facets(*, user: User, brand: Brand, filters: Filters | None = None) -> dict[str, list[Facet]]:
    """Count the images of each state, campaign and problem, each facet counted without its own filter: four
    queries."""
    filters = filters or Filters()
    by_state = (
        matching_assets(user=user, brand=brand, filters=replace(filters, states=()))
        .values("state")
        .annotate(count=Count("pk"))
        .order_by("state")
    )
    by_campaign = (
        matching_assets(user=user, brand=brand, filters=replace(filters, campaign_id=None))
        .values("campaign_id", "campaign__name")
        .annotate(count=Count("pk"))
        .order_by("campaign__name")
    )
    current = matching_assets(user=user, brand=brand, filters=replace(filters, problem="")).values("current_version")
    by_problem = (
        Finding.objects.filter(version__in=current)
        .exclude(outcome="pass")
        .values("check_name")
        .annotate(count=Count("pk"))
        .order_by("check_name")
    )
    return {
        "states": [Facet(row["state"], str(AssetState(row["state"]).label), row["count"]) for row in by_state],
        "campaigns": [Facet(str(row["campaign_id"]), row["campaign__name"], row["count"]) for row in by_campaign],
        "problems": [Facet(row["check_name"], row["check_name"].replace("_", " "), row["count"]) for row in by_problem],
    }
