"""Coverage of a campaign: subjects × output specs, how many subjects are complete, and which images are missing.

A cell of this matrix is a subject and an aspect, because output specs of one aspect share their image. Sandbox images,
superseded images and retired subjects do not count.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from django.db.models import Case, IntegerField, Q, QuerySet, Value, When

from campaigns.models import Campaign, OutputSpec, Subject
from core import sql
from core.models import User
from generation.choices import AssetState
from generation.models import Asset
from generation.selectors import images

LIVE, MISSING = "live", "missing"
#: Best first: where a subject has several images of one aspect, the best one counts.
ORDER: tuple[str, ...] = (
    LIVE,
    AssetState.APPROVED,
    AssetState.IN_REVIEW,
    AssetState.REVISING,
    AssetState.STALE,
    AssetState.MAKING,
    AssetState.REJECTED,
    AssetState.FAILED,
    AssetState.REVOKED,
    MISSING,
)
DONE = frozenset({LIVE, str(AssetState.APPROVED)})
#: States in which nobody makes or reviews an image. A run for what is missing makes these.
GONE = frozenset({str(AssetState.REJECTED), str(AssetState.FAILED), str(AssetState.REVOKED), MISSING})
_ABSENT = ORDER.index(MISSING)

#: Functions that return, for a campaign id, the ids of its live assets as a subquery: approved images that are in a
#: shop or channel now. The app that delivers images registers one; without such an app there are none.
_live_asset_queries: list[Callable[[int], QuerySet[Any]]] = []

# One pass over the campaign's images: a subject's best rank of each aspect is a column, not a row of its own. This
# halves the time at 10,000 subjects × 4 aspects. The ORM cannot select from a queryset, so this part is by hand.
_GRID = """
WITH ranked (subject_id, aspect, rank) AS MATERIALIZED ({ranked}),
best AS (SELECT subject_id, {columns} FROM ranked GROUP BY subject_id),
grid AS (
    SELECT s.id AS subject_id, ARRAY[{ranks}]::int[] AS ranks
    FROM campaigns_campaign_subjects m
    JOIN campaigns_subject s ON s.id = m.subject_id AND s.is_active
    LEFT JOIN best b ON b.subject_id = s.id
    WHERE m.campaign_id = %s
)
"""


@dataclass(frozen=True)
class Summary:
    """The whole campaign in numbers. counts: spec slug -> state -> subjects.

    complete: subjects of which every spec is approved or live; lacking: subjects of which some spec has no image, nor
    one that is being made; missing: the number of images (subject × aspect) that are missing.
    """

    specs: Sequence[OutputSpec]
    subjects: int
    complete: int
    lacking: int
    missing: int
    counts: Mapping[str, Mapping[str, int]]

    @property
    def states(self) -> dict[str, int]:
        """Return, by state, the number of cells (subject × spec), best state first."""
        totals = {state: sum(by_state.get(state, 0) for by_state in self.counts.values()) for state in ORDER}
        return {state: count for state, count in totals.items() if count}

    @property
    def approved(self) -> int:
        """Return the number of cells whose image is approved and can be downloaded, delivered or not."""
        return self._count(DONE)

    @property
    def shares(self) -> tuple[float, float]:
        """Return the percentage of cells that are approved or live, and of those that are being made or reviewed."""
        cells = max(1, self.subjects * len(self.specs))
        underway = self._count(frozenset(ORDER) - DONE - GONE)
        return round(100 * self.approved / cells, 1), round(100 * underway / cells, 1)

    def _count(self, states: frozenset[str]) -> int:
        return sum(count for state, count in self.states.items() if state in states)


@dataclass(frozen=True)
class Row:
    """One subject: its state per output spec (spec id -> state) and a version to show, if any, with its disclaimer."""

    subject: Subject
    states: Mapping[int, str]
    version_id: int | None
    disclaimer: str = ""


@dataclass(frozen=True)
class CoverageFilters:
    """The filters of a list of subjects. state: one of ORDER, "incomplete" or "lacking"; spec_id: only this output."""

    state: str = ""
    spec_id: int | None = None
    words: str = ""
    kind: str = ""


def register_live_query(query: Callable[[int], QuerySet[Any]]) -> Callable[[int], QuerySet[Any]]:
    """Register a function that finds live assets (a decorator)."""
    _live_asset_queries.append(query)
    return query


def summary(campaign: Campaign) -> Summary:
    """Return the campaign in numbers; two queries for any number of subjects."""
    specs = list(campaign.output_specs.order_by("id"))
    if not (aspects := _aspects(specs)):
        return Summary(specs, campaign.subjects.filter(is_active=True).count(), 0, 0, 0, {})
    head, values = _grid(campaign.pk, aspects)
    kinds = sql.rows(f"{head} SELECT ranks, count(*) FROM grid GROUP BY ranks", values)  # noqa: S608 (our own text)
    counts: dict[str, dict[str, int]] = {spec.slug: {} for spec in specs}
    complete = lacking = missing = 0
    for ranks, count in kinds:
        states = [ORDER[rank] for rank in ranks]
        gone = sum(state in GONE for state in states)
        complete += count * all(state in DONE for state in states)
        lacking += count * bool(gone)
        missing += count * gone
        for spec in specs:
            state = states[aspects.index(spec.aspect)]
            counts[spec.slug][state] = counts[spec.slug].get(state, 0) + count
    return Summary(specs, sum(count for _, count in kinds), complete, lacking, missing, counts)


def list_subjects(
    user: User, campaign: Campaign, specs: Sequence[OutputSpec], filters: CoverageFilters
) -> QuerySet[Subject]:
    """Return the campaign's active subjects that match the filters, by key. One query if they name a state."""
    rows: QuerySet[Subject] = Subject.objects.visible_to(user).filter(campaigns=campaign, is_active=True)
    if filters.words:
        rows = rows.filter(Q(key__icontains=filters.words) | Q(name__icontains=filters.words))
    if filters.kind:
        rows = rows.filter(kind=filters.kind)
    if filters.state and specs:
        rows = rows.filter(pk__in=_in_state(campaign, specs, filters))
    return rows.order_by("key", "pk")


def load_rows(campaign: Campaign, specs: Sequence[OutputSpec], subjects: Iterable[Subject]) -> list[Row]:
    """Return each of the subjects with its states; two queries."""
    by_id = {subject.pk: subject for subject in subjects}
    best: dict[tuple[int, str], int] = {}
    for pk, aspect, rank in _ranked(campaign.pk).filter(subject_id__in=by_id):
        best[pk, aspect] = min(rank, best.get((pk, aspect), _ABSENT))
    versions = _versions(campaign.pk, list(by_id))
    listed = []
    for pk, subject in by_id.items():
        states = {spec.pk: ORDER[best.get((pk, spec.aspect), _ABSENT)] for spec in specs}
        listed.append(Row(subject, states, *versions.get(pk, (None, ""))))
    return listed


def list_existing_images(campaign_id: int) -> frozenset[tuple[int, str]]:
    """Return (subject id, aspect) of every image that exists or is being made; all others are missing. One query."""
    assets = Asset.objects.filter(campaign_id=campaign_id, is_sandbox=False)
    good = assets.exclude(state__in=[AssetState.SUPERSEDED, *(state for state in GONE if state != MISSING)])
    return frozenset(good.order_by().values_list("subject_id", "cell__aspect"))


def _aspects(specs: Sequence[OutputSpec]) -> list[str]:
    return list(dict.fromkeys(spec.aspect for spec in specs))


def _ranked(campaign_id: int) -> QuerySet[Any, tuple[int, str, int]]:
    """Return (subject id, aspect, rank in ORDER) of every image that counts."""
    assets = Asset.objects.filter(campaign_id=campaign_id, is_sandbox=False).exclude(state=AssetState.SUPERSEDED)
    is_live = Q()
    for live_ids in _live_asset_queries:
        is_live |= Q(pk__in=live_ids(campaign_id))
    cases = [When(is_live, state=AssetState.APPROVED, then=Value(0))] if is_live else []
    cases += [When(state=state, then=Value(rank)) for rank, state in enumerate(ORDER) if 0 < rank < _ABSENT]
    rank = Case(*cases, default=Value(_ABSENT), output_field=IntegerField())
    return assets.order_by().annotate(rank=rank).values_list("subject_id", "cell__aspect", "rank")


def _grid(campaign_id: int, aspects: Sequence[str]) -> tuple[str, list[Any]]:
    """Return the beginning of a statement that defines the table `grid`, and its parameters."""
    ranked, values = _ranked(campaign_id).query.sql_with_params()
    columns = ", ".join(f"min(rank) FILTER (WHERE aspect = %s) AS rank_{at}" for at in range(len(aspects)))
    ranks = ", ".join(f"coalesce(b.rank_{at}, {_ABSENT})" for at in range(len(aspects)))
    return _GRID.format(ranked=ranked, columns=columns, ranks=ranks), [*values, *aspects, campaign_id]


def _in_state(campaign: Campaign, specs: Sequence[OutputSpec], filters: CoverageFilters) -> list[int]:
    """Return the ids of the subjects that have the state in some output or in the one of the filters."""
    aspects = _aspects(specs)
    chosen = next((aspects.index(spec.aspect) + 1 for spec in specs if spec.pk == filters.spec_id), None)
    states = {"incomplete": frozenset(ORDER) - DONE, "lacking": GONE}.get(filters.state, frozenset({filters.state}))
    ranks = [rank for rank, state in enumerate(ORDER) if state in states]
    head, values = _grid(campaign.pk, aspects)
    values += [chosen, ranks] if chosen else [ranks]
    condition = "ranks[%s] = ANY(%s)" if chosen else "ranks && %s::int[]"
    rows = sql.rows(f"{head} SELECT subject_id FROM grid WHERE {condition}", values)  # noqa: S608 (our own text)
    return [subject_id for (subject_id,) in rows]


def _versions(campaign_id: int, subject_ids: Sequence[int]) -> dict[int, tuple[int, str]]:
    """Return, by subject id, a version to show (preferably an approved one) and its endpoint's disclaimer."""
    assets = Asset.objects.filter(campaign_id=campaign_id, subject_id__in=subject_ids, is_sandbox=False)
    assets = assets.exclude(state=AssetState.SUPERSEDED).exclude(current_version=None)
    approved_last = Case(When(state=AssetState.APPROVED, then=Value(1)), default=Value(0))
    versions = assets.order_by(approved_last, "id")
    rows = versions.values_list("subject_id", "current_version_id", images.DISCLAIMER_OF_ASSET)
    return {subject_id: (version_id, disclaimer) for subject_id, version_id, disclaimer in rows}
