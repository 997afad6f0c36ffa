"""The library: a brand's images by facet, newest first. A page costs the same however many images there are.

Images are read along an index that holds the newest first: of each state, of a campaign's states or of a check. What no
index knows (text, run, destination) is looked for among them, CHUNK at a time and at most MAX_WALK for one page. Counts
are kept numbers where there are any (AssetCount), and otherwise counted up to MAX_COUNT images.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from django.contrib.humanize.templatetags.humanize import intcomma
from django.db.models import Exists, OuterRef, Prefetch, Q, QuerySet

from campaigns.models import Campaign
from core.models import Brand, User
from generation.choices import AssetState
from generation.models import ANY_CHECK, Asset, AssetCount, AssetProblem, Rendition
from review.choices import ObservedState
from review.models import Delivery

PAGE_SIZE = 60
CHUNK = 500
MAX_WALK = 5_000
MAX_COUNT = 1_000
STATES = tuple(str(state) for state in AssetState if state != AssetState.SUPERSEDED)


@dataclass(frozen=True)
class Filters:
    """The library's filters; empty means all. `problem`: a check's name or "any"; `live`: a destination's slug."""

    text: str = ""
    states: Sequence[str] = ()
    campaign_id: int | None = None
    run_id: int | None = None
    problem: str = ""
    live: str = ""

    @property
    def are_kept(self) -> bool:
        """Return whether counts of these images are kept."""
        return not (self.text or self.run_id or self.live)


@dataclass(frozen=True)
class Facet:
    """One value of a facet. number: how many images have it; has_more: at least so many, no more were counted."""

    value: str
    label: str
    number: int
    has_more: bool = False

    @property
    def display(self) -> str:
        """Return the number for people; "1,000+" if there are more."""
        return intcomma(self.number) + ("+" if self.has_more else "")


def page(*, user: User, brand: Brand, filters: Filters, after: int | None = None) -> dict[str, Any]:
    """Return the next images below id `after`, newest first, and the `after` of the next call.

    A page may have fewer images, even none, although others follow: then MAX_WALK of them were looked at.
    """
    found, next_after = _find(user, brand, filters, after, PAGE_SIZE)
    files = Rendition.objects.select_related("output_spec").order_by("id")
    rows = Asset.objects.filter(pk__in=[row["pk"] for row in found]).select_related(
        "subject", "campaign", "cell", "current_version__master", "current_version__job__endpoint"
    )
    rows = rows.prefetch_related(Prefetch("current_version__renditions", files)).order_by("-pk")
    return {"assets": list(rows), "next_after": next_after}


def _find(
    user: User, brand: Brand, filters: Filters, after: int | None, count: int
) -> tuple[list[dict[str, Any]], int | None]:
    """Return (pk, state, campaign_id) of the first images below `after`, and the `after` of those that follow."""
    found: list[dict[str, Any]] = []
    walked = 0
    matching = matching_assets(user=user, brand=brand, filters=filters).order_by("-pk")
    is_direct = filters.are_kept and not filters.problem
    for ids in _walk(brand, filters, after, count + 1 if is_direct else CHUNK):
        walked += len(ids)
        found += matching.filter(pk__in=ids).values("pk", "state", "campaign_id")[: count + 1 - len(found)]
        if len(found) > count:
            return found[:count], found[count - 1]["pk"]
        if walked >= MAX_WALK:
            return found, ids[-1]
    return found, None


def _walk(brand: Brand, filters: Filters, after: int | None, size: int) -> Iterator[list[int]]:
    """Yield ids of the images that may match, newest first, `size` at a time."""
    while True:
        ids = list(_newest(brand, filters, after, size))
        if ids:
            yield ids
        if len(ids) < size:
            return
        after = ids[-1]


def _newest(brand: Brand, filters: Filters, after: int | None, count: int) -> QuerySet[Any]:
    """Return the ids of the newest images below `after`: of the check, or of the states and the campaign."""
    if filters.problem:
        problems = AssetProblem.objects.filter(brand=brand, check_name=filters.problem)
        if after is not None:
            problems = problems.filter(asset__lt=after)
        return problems.order_by("-asset_id").values_list("asset_id", flat=True)[:count]
    assets = Asset.objects.filter(brand=brand)
    if filters.campaign_id:
        assets = assets.filter(campaign_id=filters.campaign_id)
    if after is not None:
        assets = assets.filter(pk__lt=after)
    return newest_of_states(assets, filters.states or STATES, count)


def newest_of_states(assets: QuerySet[Any], states: Sequence[str], count: int) -> QuerySet[Any]:
    """Return the ids of the newest of these assets in the states.

    Each state is read along its index on its own, because PostgreSQL would sort all assets of several.
    """
    first, *others = [
        assets.filter(state=state).order_by("-pk").values_list("pk", flat=True)[:count] for state in states
    ]
    return first.union(*others, all=True).order_by("-pk")[:count] if others else first


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
        assets = assets.filter(Exists(AssetProblem.objects.filter(asset=OuterRef("pk"), check_name=filters.problem)))
    if filters.live:
        present = Delivery.objects.filter(asset=OuterRef("pk"), observed=ObservedState.PRESENT)
        assets = assets.filter(Exists(present.filter(destination__slug=filters.live)))
    return assets


def facets(*, user: User, brand: Brand, filters: Filters) -> dict[str, list[Facet]]:
    """Return the values of each facet, states, campaigns and problems, with their counts; each without its own filter.

    Of several states, only those that an image has are listed.
    """
    by_state = _count(user, brand, replace(filters, states=()), "state")
    by_campaign = _count(user, brand, replace(filters, campaign_id=None), "campaign_id")
    by_problem = _count(user, brand, replace(filters, problem=""), "check_name")
    names = dict(Campaign.objects.filter(pk__in=by_campaign).values_list("pk", "name"))
    labels = {state.value: str(state.label) for state in AssetState}
    campaigns = sorted((names[pk], pk) for pk in by_campaign)
    return {
        "states": [Facet(state, labels[state], *by_state[state]) for state in sorted(by_state)],
        "campaigns": [Facet(str(pk), name, *by_campaign[pk]) for name, pk in campaigns],
        "problems": [Facet(name, name.replace("_", " "), *by_problem[name]) for name in sorted(by_problem)],
    }


def _count(user: User, brand: Brand, filters: Filters, column: str) -> dict[Any, tuple[int, bool]]:
    """Return, for each value of the column, (number, has_more), of kept numbers or of the first MAX_COUNT images."""
    if filters.are_kept:
        counts = AssetCount.objects.filter(brand=brand, is_sandbox=False)
        counts = counts.filter(state__in=filters.states or STATES)
        if filters.campaign_id:
            counts = counts.filter(campaign_id=filters.campaign_id)
        if column == "check_name":
            counts = counts.exclude(check_name__in=["", ANY_CHECK])
        else:
            counts = counts.filter(check_name=filters.problem)
        return {value: (number, False) for value, number in counts.sums(column)}
    found, after = _find(user, brand, filters, None, MAX_COUNT)
    if column == "check_name":
        problems = AssetProblem.objects.filter(asset__in=[row["pk"] for row in found]).exclude(check_name=ANY_CHECK)
        values = list(problems.values_list("check_name", flat=True))
    else:
        values = [row[column] for row in found]
    return {value: (number, after is not None) for value, number in Counter(values).items()}
