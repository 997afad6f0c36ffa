"""How far a campaign is: subjects × output specs, and how many products have everything."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from campaigns.models import Campaign, OutputSpec, Subject, User
from generation.choices import AssetState
from generation.models import Asset

#: The best state wins where a subject has several pictures of one aspect.
_ORDER = (
    AssetState.APPROVED,
    AssetState.IN_REVIEW,
    AssetState.REVISING,
    AssetState.STALE,
    AssetState.MAKING,
    AssetState.REJECTED,
    AssetState.FAILED,
    AssetState.REVOKED,
)
MISSING = "missing"


@dataclass(frozen=True)
class Row:
    """One subject: its state per output spec (spec id -> state or "missing") and a version to show, if any."""

    subject: Subject
    states: Mapping[int, str]
    version_id: int | None

    @property
    def is_complete(self) -> bool:
        return bool(self.states) and all(state == AssetState.APPROVED for state in self.states.values())


@dataclass(frozen=True)
class Coverage:
    """specs: columns. rows: one per subject. counts: cells by state over the whole campaign."""

    specs: Sequence[OutputSpec]
    rows: Sequence[Row]
    counts: Mapping[str, int]

    @property
    def complete(self) -> int:
        return sum(row.is_complete for row in self.rows)

    @property
    def missing(self) -> int:
        """Subjects of which some spec has no picture on its way."""
        gone = {MISSING, AssetState.REJECTED, AssetState.FAILED, AssetState.REVOKED}
        return sum(any(state in gone for state in row.states.values()) for row in self.rows)


def coverage(*, user: User, campaign: Campaign) -> Coverage:
    """Three queries, however many subjects. Sandbox and superseded pictures do not count."""
    specs = list(campaign.output_specs.order_by("id"))
    subjects = list(Subject.objects.visible_to(user).filter(campaigns=campaign).order_by("key"))
    made = (
        Asset.objects.visible_to(user)
        .filter(campaign=campaign, is_sandbox=False)
        .exclude(state=AssetState.SUPERSEDED)
        .order_by("id")
        .values_list("subject_id", "cell__aspect", "state", "current_version_id")
    )
    best: dict[tuple[int, str], str] = {}
    shown: dict[int, int] = {}
    for subject_id, aspect, state, version_id in made:
        known = best.get((subject_id, aspect))
        if known is None or _ORDER.index(AssetState(state)) < _ORDER.index(AssetState(known)):
            best[subject_id, aspect] = state
        if version_id and (state == AssetState.APPROVED or subject_id not in shown):
            shown[subject_id] = version_id
    rows = [
        Row(subject, {spec.pk: best.get((subject.pk, spec.aspect), MISSING) for spec in specs}, shown.get(subject.pk))
        for subject in subjects
    ]
    counts: dict[str, int] = {}
    for row in rows:
        for state in row.states.values():
            counts[state] = counts.get(state, 0) + 1
    return Coverage(specs, rows, counts)
