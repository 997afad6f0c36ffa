"""Failures of a run, grouped by cause: how many, which, what it means and what mends it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from django.db import connection

from campaigns.models import ReferencePhoto
from generation import causes
from generation.causes import CAUSES, Cause, Mend
from generation.choices import HoldReason, JobState
from generation.models import Run
from generation.selectors import budgets

SHOWN = 6
_MOST_SUBJECTS = 200
_ALL_JOBS = 2**31 - 1

# One row per error as it was written: a cause has few of them, however many jobs.
_JOBS = """
SELECT j.status, j.hold_reason, j.error_kind, j.error, count(*), (array_agg(j.id ORDER BY j.id))[1:%(jobs)s],
       (array_agg(c.id ORDER BY j.id))[1:%(most)s], (array_agg(c.subject_id ORDER BY j.id))[1:%(most)s],
       coalesce(sum(f.quoted_cost), 0)
FROM generation_job j JOIN generation_cell c ON c.id = j.cell_id LEFT JOIN generation_jobspec f ON f.job_id = j.id
WHERE j.run_id = %(run)s AND (
    j.status IN ('failed', 'quarantined') OR (j.status = 'held' AND j.hold_reason IN ('quota', 'in_doubt', 'changed'))
    OR (j.status = 'cancelled' AND j.error_kind = 'rejected_before')
)
GROUP BY j.status, j.hold_reason, j.error_kind, j.error
ORDER BY min(j.id)
"""

# Pictures that wait for review although a check failed.
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

_SUBJECTS = "SELECT id, key, name FROM campaigns_subject WHERE id = ANY(%s)"


@dataclass(frozen=True)
class Example:
    """One of a group: its cell, its product, and what can be shown of it (a photo, or a version that is there)."""

    cell_id: int
    subject_id: int
    key: str
    name: str
    photo: ReferencePhoto | None = None
    version_id: int | None = None


@dataclass
class Group:
    """Everything of a run that failed in the same way. key: names the group in addresses, the same as long as the words
    stay. message: the engine's or the check's own words, of the first one. job_ids, subject_ids: the first 200 of each.
    cost: what trying all again may cost, in the brand's currency; short_of: what the budget lacks for that. doubted:
    what the run's orders in doubt count as spent, where these are such."""

    key: str
    cause: Cause
    message: str
    count: int = 0
    job_ids: list[int] = field(default_factory=list)
    subject_ids: list[int] = field(default_factory=list)
    cost: Decimal = Decimal(0)
    short_of: Decimal = Decimal(0)
    doubted: Decimal = Decimal(0)
    examples: list[Example] = field(default_factory=list)

    @property
    def mend(self) -> Mend:
        """The button: trying again without the money for it is no help."""
        can_try = self.cause.mend in (Mend.AGAIN, Mend.ONE_AGAIN)
        return Mend.BUDGET if can_try and self.short_of else self.cause.mend


@dataclass
class _Found:
    group: Group
    places: list[tuple[int, int, int | None]] = field(default_factory=list)


def groups(run: Run) -> list[Group]:
    """Return what failed, most first. Six queries at most, one where nothing failed and nothing is made."""
    found = _failed(run)
    listed = [one.group for one in found.values()]
    if any(group.cause.mend in (Mend.AGAIN, Mend.ONE_AGAIN) for group in listed):
        left = budgets.standing(run.campaign).left
        for group in listed:
            group.short_of = Decimal(0) if left is None else max(group.cost - left, Decimal(0))
            if group.cause.code == "doubt":
                group.doubted = budgets.in_doubt(run)
    checked = _checked(run)
    _show([*found.values(), *checked])
    listed += [one.group for one in checked]
    return sorted(listed, key=lambda group: (group.cause.mend == Mend.REVIEW, -group.count))


def jobs_of(run: Run, key: str) -> list[int]:
    """The ids of the jobs in one group now; empty when nothing is in it any more."""
    found = _failed(run, jobs=_ALL_JOBS).get(key)
    return found.group.job_ids if found else []


def key_of(cause: Cause, message: str) -> str:
    words = f"{cause.code}/{causes.same_words(cause, message)}"
    return hashlib.sha256(words.encode()).hexdigest()[:12]


def _failed(run: Run, *, jobs: int = _MOST_SUBJECTS) -> dict[str, _Found]:
    found: dict[str, _Found] = {}
    for status, hold_reason, kind, error, count, job_ids, cells, subjects, cost in _rows(_JOBS, run, jobs):
        cause = causes.of(status=status, error_kind=kind, message=error, hold_reason=hold_reason)
        # What waits for one empty account is one thing, whatever each job said last.
        words = "" if status == JobState.HELD and hold_reason != HoldReason.CHANGED else error
        key = key_of(cause, words)
        one = found.setdefault(key, _Found(Group(key, cause, words or error)))
        one.group.count += count
        one.group.cost += cost
        one.group.job_ids += job_ids
        one.group.subject_ids += [pk for pk in subjects if pk not in one.group.subject_ids]
        one.places += [(cell, subject, None) for cell, subject in zip(cells, subjects, strict=True)]
    return found


def _checked(run: Run) -> list[_Found]:
    found = []
    for check, count, cells, subjects, versions, message in _rows(_CHECKS, run, 0):
        group = Group(f"check-{check}", CAUSES["checks"], message, count, subject_ids=list(dict.fromkeys(subjects)))
        found.append(_Found(group, list(zip(cells, subjects, versions, strict=True))))
    return found


def _show(found: Sequence[_Found]) -> None:
    """Give each group its first examples, with names and photos, in two queries for all."""
    wanted = {subject for one in found for _, subject, _ in one.places[:SHOWN]}
    if not wanted:
        return
    with connection.cursor() as cursor:
        cursor.execute(_SUBJECTS, [list(wanted)])
        names = {pk: (key, name) for pk, key, name in cursor.fetchall()}
    shown = photos(wanted)
    for one in found:
        for cell, subject, version in one.places[:SHOWN]:
            key, name = names[subject]
            one.group.examples.append(Example(cell, subject, key, name, shown.get(subject), version))


def photos(subject_ids: Iterable[int]) -> dict[int, ReferencePhoto]:
    """The first stored photo of each subject. One query."""
    stored = ReferencePhoto.objects.filter(subject_id__in=list(subject_ids), status="ready")
    return {photo.subject_id: photo for photo in stored.order_by("-position", "-id")}


def _rows(statement: str, run: Run, jobs: int) -> list[tuple[Any, ...]]:
    with connection.cursor() as cursor:
        cursor.execute(statement, {"run": run.pk, "most": _MOST_SUBJECTS, "jobs": jobs})
        found: list[tuple[Any, ...]] = cursor.fetchall()
        return found
