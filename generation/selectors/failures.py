"""Failures of a run, grouped by cause: how many, which jobs, what the cause means and how to fix it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from campaigns.models import ReferencePhoto, Subject
from core import sql
from generation import causes
from generation.causes import CAUSES, Cause, Remedy
from generation.choices import HoldReason, JobState
from generation.models import Run
from generation.selectors import budgets

SHOWN = 6
_MOST_SUBJECTS = 200
_ALL_JOBS = 2**31 - 1

# One row per error text: a cause has few of them, however many jobs. Both statements are by hand, because the ORM
# cannot take the first elements of an aggregated array.
_JOBS = """
SELECT j.status, j.hold_reason, j.error_kind, j.error, count(*), (array_agg(j.id ORDER BY j.id))[1:%(jobs)s],
       (array_agg(c.id ORDER BY j.id))[1:%(most)s], (array_agg(c.subject_id ORDER BY j.id))[1:%(most)s],
       coalesce(sum(f.quoted_cost), 0)
FROM generation_job j JOIN generation_cell c ON c.id = j.cell_id LEFT JOIN generation_jobspec f ON f.job_id = j.id
WHERE j.run_id = %(run)s AND (
    j.status IN ('failed', 'quarantined') OR (j.status = 'held' AND j.hold_reason IN ('quota', 'uncertain', 'changed'))
    OR (j.status = 'cancelled' AND j.error_kind = 'rejected_before')
)
GROUP BY j.status, j.hold_reason, j.error_kind, j.error
ORDER BY min(j.id)
"""

# Images that wait for review although a check failed.
_CHECKS = """
SELECT f.check_name, count(*), (array_agg(c.id ORDER BY c.position))[1:%(most)s],
       (array_agg(c.subject_id ORDER BY c.position))[1:%(most)s], (array_agg(v.id ORDER BY c.position))[1:%(most)s],
       (array_agg(f.message ORDER BY c.position))[1]
FROM generation_cell c JOIN generation_asset a ON a.cell_id = c.id
JOIN generation_assetversion v ON v.id = a.current_version_id
JOIN generation_finding f ON f.version_id = v.id AND f.outcome = 'fail'
WHERE c.run_id = %(run)s AND a.state = 'in_review'
GROUP BY f.check_name ORDER BY count(*) DESC, f.check_name
"""


@dataclass
class Group:
    """All jobs of a run that failed in the same way.

    key: names the group in addresses; it stays the same as long as the words do. message: the words of the engine or of
    the check, from the first failure. job_ids, subject_ids: the first 200 of each. cost: what a retry of all may cost,
    in the brand's currency; short_of: the money that the budget lacks for it. uncertain: the money that the run's
    uncertain submissions count as spent, where the group is about those. places: (cell, subject, version) ids.
    examples: the first ones, each with its subject and an image to show (its photo, or an existing version).
    """

    key: str
    cause: Cause
    message: str
    count: int = 0
    job_ids: list[int] = field(default_factory=list)
    subject_ids: list[int] = field(default_factory=list)
    cost: Decimal = Decimal(0)
    short_of: Decimal = Decimal(0)
    uncertain: Decimal = Decimal(0)
    places: list[tuple[int, int, int | None]] = field(default_factory=list)
    examples: list[dict[str, Any]] = field(default_factory=list)

    @property
    def remedy(self) -> Remedy:
        """Return the action to offer: to raise the budget, where a retry would lack the money."""
        can_try = self.cause.remedy in (Remedy.AGAIN, Remedy.ONE_AGAIN)
        return Remedy.BUDGET if can_try and self.short_of else self.cause.remedy


def groups(run: Run) -> list[Group]:
    """Return the failures, the largest group first. Six queries at most, two if there are none."""
    listed = list(_failed(run).values())
    if any(group.cause.remedy in (Remedy.AGAIN, Remedy.ONE_AGAIN) for group in listed):
        budget_left = budgets.status(run.campaign).left
        for group in listed:
            group.short_of = Decimal(0) if budget_left is None else max(group.cost - budget_left, Decimal(0))
            if group.cause.code == "uncertain":
                group.uncertain = budgets.uncertain_cost(run)
    listed += _checked(run)
    _add_examples(listed)
    return sorted(listed, key=lambda group: (group.cause.remedy == Remedy.REVIEW, -group.count))


def list_group_job_ids(run: Run, key: str) -> list[int]:
    """Return the ids of the jobs that are in one group now; empty if there are none any more."""
    group = _failed(run, jobs=_ALL_JOBS).get(key)
    return group.job_ids if group else []


def _failed(run: Run, *, jobs: int = _MOST_SUBJECTS) -> dict[str, Group]:
    by_key: dict[str, Group] = {}
    values = {"run": run.pk, "most": _MOST_SUBJECTS, "jobs": jobs}
    for status, hold_reason, kind, error, count, job_ids, cells, subjects, cost in sql.rows(_JOBS, values):
        cause = causes.find_cause(status=status, error_kind=kind, message=error, hold_reason=hold_reason)
        # Jobs that wait for one empty account are one group, whatever error each had last.
        text = "" if status == JobState.HELD and hold_reason != HoldReason.CHANGED else error
        key = hashlib.sha256(f"{cause.code}/{causes.grouping_text(cause, text)}".encode()).hexdigest()[:12]
        group = by_key.setdefault(key, Group(key, cause, text or error))
        group.count += count
        group.cost += cost
        group.job_ids += job_ids
        group.subject_ids += [pk for pk in subjects if pk not in group.subject_ids]
        group.places += [(cell, subject, None) for cell, subject in zip(cells, subjects, strict=True)]
    return by_key


def _checked(run: Run) -> list[Group]:
    checked = []
    values = {"run": run.pk, "most": _MOST_SUBJECTS}
    for check, count, cells, subjects, versions, message in sql.rows(_CHECKS, values):
        group = Group(f"check-{check}", CAUSES["checks"], message, count, subject_ids=list(dict.fromkeys(subjects)))
        group.places = list(zip(cells, subjects, versions, strict=True))
        checked.append(group)
    return checked


def _add_examples(listed: Sequence[Group]) -> None:
    """Give each group its first examples, with names and photos, in two queries for all."""
    subject_ids = {subject for group in listed for _cell, subject, _version in group.places[:SHOWN]}
    if not subject_ids:
        return
    subjects, photos_by_subject = Subject.objects.in_bulk(subject_ids), photos(subject_ids)
    for group in listed:
        for cell_id, pk, version_id in group.places[:SHOWN]:
            image = {"photo": photos_by_subject.get(pk), "version_id": version_id}
            group.examples.append({"cell_id": cell_id, "subject": subjects[pk], **image})


def photos(subject_ids: Iterable[int]) -> dict[int, ReferencePhoto]:
    """Return the first stored photo of each subject. One query."""
    stored = ReferencePhoto.objects.filter(subject_id__in=list(subject_ids), status="ready")
    return {photo.subject_id: photo for photo in stored.order_by("-position", "-id")}
