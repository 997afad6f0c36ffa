"""The library: a brand's images by facet, newest first. A page costs the same however many images there are.

Images are read along an index that holds the newest first: of each state, of a campaign's states or of a check. What no
index knows (text, run, destination) is looked for among them, CHUNK at a time and at most MAX_WALK for one page. Counts
are kept numbers where there are any (AssetCount), and otherwise those of the first MAX_COUNT images.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from django.contrib.humanize.templatetags.humanize import intcomma
from django.db.models import Exists, OuterRef, Q, QuerySet

from campaigns.models import Campaign
from campaigns.selectors import search
from core import sql
from core.models import Brand, User
from generation.choices import AssetState
from generation.models import ANY_CHECK, Asset, AssetCount, AssetProblem
from review.choices import ObservedState
from review.models import Delivery

PAGE_SIZE = 60
CHUNK = 500
MAX_WALK = 5_000  # for a page
MAX_COUNT = 1_000
MAX_COUNT_WALK = 2_000
#: The columns of an image that a page shows.
SHOWN = (
    "state",
    "cell",
    "subject__key",
    "subject__name",
    "current_version__asset",
    "current_version__master__sha256",
    "current_version__master__width",
    "current_version__master__height",
    "current_version__job__endpoint__disclaimer",
)
MAX_SUBJECTS = 1_000  # of a search whose images are read product by product
STATES = tuple(str(state) for state in AssetState if state != AssetState.SUPERSEDED)

# The ORM has no LATERAL, which reads the newest images of each product along the index.
_NEWEST_OF_SUBJECTS = """
SELECT a.id
FROM unnest(%(subjects)s::bigint[]) subject_id
CROSS JOIN LATERAL (
    SELECT id FROM generation_asset a
    WHERE a.subject_id = subject_id.subject_id AND (%(after)s::bigint IS NULL OR id < %(after)s)
    ORDER BY id DESC LIMIT %(count)s
) a
ORDER BY a.id DESC LIMIT %(count)s
"""


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
    found, next_after = _find(user, brand, filters, after, PAGE_SIZE, MAX_WALK)
    rows = Asset.objects.filter(pk__in=[row["pk"] for row in found]).order_by("-pk")
    rows = rows.select_related("subject", "current_version__master", "current_version__job__endpoint").only(*SHOWN)
    return {"assets": list(rows), "next_after": next_after}


def _find(
    user: User, brand: Brand, filters: Filters, after: int | None, count: int, most: int
) -> tuple[list[dict[str, Any]], int | None]:
    """Return (pk, state, campaign_id) of the first images below `after`, and the `after` of those that follow.

    After looking at `most` images it returns what it has found.
    """
    found: list[dict[str, Any]] = []
    walked = 0
    groups = search.find_groups(brand, filters.text) if filters.text else []
    matching = matching_assets(user=user, brand=brand, filters=replace(filters, text="")).order_by("-pk")
    matching = search.filter_few(matching, groups)
    is_direct = filters.are_kept and not filters.problem
    for ids in _walk(brand, filters, groups, after, count + 1 if is_direct else CHUNK):
        walked += len(ids)
        found += matching.filter(pk__in=ids).values("pk", "state", "campaign_id")[: count + 1 - len(found)]
        if len(found) > count:
            return found[:count], found[count - 1]["pk"]
        if walked >= most:
            return found, ids[-1]
    return found, None


def _walk(
    brand: Brand, filters: Filters, groups: Sequence[search.Group], after: int | None, size: int
) -> Iterator[list[int]]:
    """Yield ids of the images that may match, newest first, `size` at a time."""
    subject_ids = None
    if len(groups) == 1:
        subject_ids = list(
            search.find_subjects(brand, groups[0].words).values_list("pk", flat=True)[: MAX_SUBJECTS + 1]
        )
    while True:
        if subject_ids is not None and len(subject_ids) <= MAX_SUBJECTS:
            values = {"subjects": subject_ids, "after": after, "count": size}
            ids = [row.id for row in sql.rows(_NEWEST_OF_SUBJECTS, values)]
        else:
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
    if filters.text:
        assets = assets.filter(search.matches(brand, search.find_groups(brand, filters.text)))
    if filters.problem:
        assets = assets.filter(Exists(AssetProblem.objects.filter(asset=OuterRef("pk"), check_name=filters.problem)))
    if filters.live:
        present = Delivery.objects.filter(asset=OuterRef("pk"), observed=ObservedState.PRESENT)
        assets = assets.filter(Exists(present.filter(destination__slug=filters.live)))
    return assets


def facets(*, user: User, brand: Brand, filters: Filters) -> dict[str, list[Facet]]:
    """Return the values of each facet, states, campaigns and problems, with their counts; each without its own filter.

    They are kept numbers or, where there are none, those of the first MAX_COUNT images that match the other filters.
    """
    counts = _kept_counts(brand, filters) if filters.are_kept else _counts_of_first(user, brand, filters)
    names = dict(Campaign.objects.filter(pk__in=counts["campaigns"]).values_list("pk", "name"))
    states = {state.value: str(state.label) for state in AssetState}
    checks = {name: name.replace("_", " ") for name in counts["problems"]}
    facets = {}
    for facet, labels in (("states", states), ("campaigns", names), ("problems", checks)):
        numbers = sorted((labels[value], value, number) for value, number in counts[facet].items())
        facets[facet] = [Facet(str(value), label, number, counts["has_more"]) for label, value, number in numbers]
    return facets


def _kept_counts(brand: Brand, filters: Filters) -> dict[str, Any]:
    counts = AssetCount.objects.filter(brand=brand, is_sandbox=False).exclude(state=AssetState.SUPERSEDED)
    of_state = counts.filter(state__in=filters.states or STATES)
    of_campaign = Q(campaign_id=filters.campaign_id) if filters.campaign_id else Q()
    is_problem = ~Q(check_name__in=["", ANY_CHECK])
    return {
        "states": dict(counts.filter(of_campaign, check_name=filters.problem).sums("state")),
        "campaigns": dict(of_state.filter(check_name=filters.problem).sums("campaign_id")),
        "problems": dict(of_state.filter(of_campaign, is_problem).sums("check_name")),
        "has_more": False,
    }


def _counts_of_first(user: User, brand: Brand, filters: Filters) -> dict[str, Any]:
    """Return the counts among the first MAX_COUNT images that match text, run and destination."""
    others = Filters(text=filters.text, run_id=filters.run_id, live=filters.live)
    found, after = _find(user, brand, others, None, MAX_COUNT, MAX_COUNT_WALK)
    problems: dict[int, set[str]] = {}
    for pk, name in AssetProblem.objects.filter(asset__in=[row["pk"] for row in found]).values_list(
        "asset", "check_name"
    ):
        problems.setdefault(pk, set()).add(name)
    states, campaigns, checks = Counter[str](), Counter[int](), Counter[str]()
    for row in found:
        has_state = row["state"] in (filters.states or STATES)
        has_campaign = filters.campaign_id in (None, row["campaign_id"])
        has_problem = not filters.problem or filters.problem in problems.get(row["pk"], ())
        states[row["state"]] += has_campaign and has_problem
        campaigns[row["campaign_id"]] += has_state and has_problem
        checks.update(problems.get(row["pk"], ()) if has_state and has_campaign else ())
    del checks[ANY_CHECK]
    return {"states": +states, "campaigns": +campaigns, "problems": +checks, "has_more": after is not None}
