"""The matrix of a run: subjects × variants with the image of each, a page of subjects or single cells at a time."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Any

from django.db.models import Count, Max

from campaigns.models import ReferencePhoto
from core import sql
from generation import causes
from generation.causes import Cause
from generation.choices import RunShape
from generation.models import Cell, Run
from generation.selectors import failures

#: The most cells and the most subjects on a page of the matrix.
CELLS, MAX_ROWS = 600, 60
SMALL_ABOVE = 300
_PROBLEMS = {"failed", "rejected", "revoked", "stale"}

# A page of the matrix is one statement by hand: the ORM has no LATERAL, and would need a subquery for each of the
# columns. "j" sums up the jobs of a cell: those that run now, and the newest one that is stuck for a reason.
_WHAT_IS_THERE = """
SELECT s.id, s.key, s.name, {place}, j.stuck, c.axis_values,
       c.id, a.id, c.values_key, c.aspect, a.state, v.id, v.worst_outcome, j.running > 0, j.percent,
       (SELECT e.disclaimer FROM generation_run r
        JOIN generation_endpoint e ON e.id = coalesce(v.endpoint_id, r.endpoint_id) WHERE r.id = c.run_id)
FROM {cells}
JOIN campaigns_subject s ON s.id = c.subject_id
JOIN generation_asset a ON a.cell_id = c.id
LEFT JOIN LATERAL (
    SELECT w.id, w.worst_outcome, o.endpoint_id
    FROM generation_assetversion w LEFT JOIN generation_job o ON o.id = w.job_id
    WHERE w.asset_id = a.id AND (a.current_version_id IS NULL OR w.id = a.current_version_id)
    ORDER BY w.round DESC, w.candidate LIMIT 1
) v ON true
LEFT JOIN LATERAL (
    SELECT count(*) FILTER (WHERE q.status = 'running') AS running,
           max(100 * q.step / greatest(q.steps, 1)) FILTER (WHERE q.status = 'running' AND q.steps > 0) AS percent,
           (array_agg(jsonb_build_array(q.status, q.error_kind, q.error, q.hold_reason) ORDER BY q.id DESC)
            FILTER (WHERE {stuck}))[1] AS stuck
    FROM generation_job q WHERE q.cell_id = c.id
) j ON true
"""
_STUCK = """q.status IN ('failed', 'quarantined') OR (q.status = 'held' AND q.hold_reason = 'quota')
            OR (q.status = 'cancelled' AND q.error_kind = 'rejected_before')"""

_OF_PAGE = "page JOIN generation_cell c ON c.subject_id = page.subject_id AND c.run_id = %(run)s"
_PAGE = f"""
WITH page AS (
    SELECT g.subject_id, min(g.position) AS place FROM generation_cell g {{problems}}
    WHERE g.run_id = %(run)s GROUP BY g.subject_id HAVING min(g.position) > %(after)s ORDER BY place LIMIT %(limit)s
)
{_WHAT_IS_THERE.format(place="page.place", cells=_OF_PAGE, stuck=_STUCK)}
ORDER BY page.place, c.position
"""  # noqa: S608 - our own text only

# Joined into the page: only cells with a problem count, so only subjects with a problem are found.
_WITH_PROBLEMS = f"""
    JOIN generation_asset b ON b.cell_id = g.id AND (
        b.state IN ('failed', 'rejected', 'revoked', 'stale')
        OR EXISTS (SELECT 1 FROM generation_assetversion w
                   WHERE w.id = b.current_version_id AND w.worst_outcome IN ('flag', 'fail'))
        OR EXISTS (SELECT 1 FROM generation_job q WHERE q.cell_id = g.id AND ({_STUCK}))
    )
"""  # noqa: S608 - our own text only

_CELLS = f"""
{_WHAT_IS_THERE.format(place="c.position", cells="generation_cell c", stuck=_STUCK)}
WHERE c.run_id = %(run)s AND c.id = ANY(%(cells)s) ORDER BY c.position
"""

# By hand, because DISTINCT ON, which the ORM has for this, sorts all cells: 349 ms at 110,000 cells against 96.
_COLUMNS = """
SELECT values_key, aspect, (array_agg(axis_values))[1] FROM generation_cell WHERE run_id = %s
GROUP BY values_key, aspect ORDER BY min(position)
"""


@dataclass(frozen=True)
class MatrixCell:
    """One cell as the live matrix shows it. percent: progress of an image that is being made; cause: why its job is
    stuck; error: the engine's own words; disclaimer: the disclaimer that must stand beside the image."""

    values: Mapping[str, Any]
    cause: Cause | None
    error: str
    cell_id: int
    asset_id: int
    values_key: str
    aspect: str
    state: str
    version_id: int | None
    worst_outcome: str | None
    is_running: bool
    percent: int | None
    disclaimer: str

    @property
    def label(self) -> str:
        return " · ".join(_words(self.values, self.aspect))

    @property
    def mark(self) -> str:
        """Return a text that changes whenever the cell would be drawn differently."""
        code = self.cause.code if self.cause else ""
        facts = (self.state, self.version_id, self.worst_outcome, self.percent, self.is_running, code, self.error)
        return hashlib.sha256(repr(facts).encode()).hexdigest()[:5]

    @property
    def drawn_state(self) -> str:
        """Return the shape to draw: "running" while the image is being made, "stuck" if it failed, else the state."""
        if self.version_id is None and self.is_running:
            return "running"
        return "stuck" if self.version_id is None and self.cause else self.state

    @property
    def is_problem(self) -> bool:
        return self.state in _PROBLEMS or self.worst_outcome in {"flag", "fail"} or self.cause is not None


@dataclass(frozen=True)
class MatrixRow:
    """One subject with its cells in the order in which they were planned. place: the position of its first cell, or of
    its first cell with a problem; the next page begins after it."""

    subject_id: int
    key: str
    name: str
    place: int
    cells: Sequence[MatrixCell | None]


@dataclass(frozen=True)
class Sheet:
    """One page of the matrix. columns: the axis values and the aspect of each column, one word each; empty for a list
    run, where each image has its own values. rows: with a cell, or None, for each column. photos: by subject id.
    after: where the next page begins, None on the last one."""

    columns: Sequence[Sequence[str]]
    rows: Sequence[MatrixRow]
    photos: Mapping[int, ReferencePhoto]
    after: int | None
    only_problems: bool
    is_small: bool
    is_list: bool


def load_sheet(run: Run, *, after: int = -1, only_problems: bool = False) -> Sheet:
    """Return a page of the matrix. Three queries: the columns, a page of subjects with their cells, the photos."""
    is_list = run.shape == RunShape.LIST
    columns = [] if is_list else sql.rows(_COLUMNS, [run.pk])
    width = len(columns)
    if is_list:
        by_subject = Cell.objects.filter(run=run).order_by().values("subject").annotate(cells=Count("pk"))
        width = by_subject.aggregate(most=Max("cells", default=0))["most"]
    limit = max(4, min(MAX_ROWS, CELLS // max(1, width)))
    page = rows(run, limit=limit + 1, after=after, only_problems=only_problems)
    shown = []
    for row in page[:limit]:
        by_column = {(cell.values_key, cell.aspect): cell for cell in row.cells if cell}
        in_columns = [by_column.get((values_key, aspect)) for values_key, aspect, _values in columns]
        in_order = [*row.cells, *[None] * (width - len(row.cells))]
        shown.append(replace(row, cells=in_order if is_list else in_columns))
    has_aspects = len({aspect for _key, aspect, _values in columns}) > 1
    titles = [_words(values, aspect if has_aspects or not values else "") for _key, aspect, values in columns]
    return Sheet(
        columns=titles or [()] * width,
        rows=shown,
        photos=failures.photos(row.subject_id for row in shown),
        after=shown[-1].place if len(page) > limit else None,
        only_problems=only_problems,
        is_small=run.cell_count > SMALL_ABOVE,
        is_list=is_list,
    )


def load_changed_cells(run: Run, page_marks: Mapping[int, str]) -> list[MatrixCell]:
    """Return the cells that would be drawn differently now. page_marks: cell id -> mark on the page. One query."""
    cells = [_cell(record) for record in sql.rows(_CELLS, {"run": run.pk, "cells": list(page_marks)})]
    return [cell for cell in cells if page_marks[cell.cell_id] != cell.mark]


def rows(run: Run, *, limit: int = 60, after: int = -1, only_problems: bool = False) -> list[MatrixRow]:
    """Return `limit` subjects after the place `after`, in one query; with `only_problems` only those with a problem."""
    statement = _PAGE.format(problems=_WITH_PROBLEMS if only_problems else "")
    records = sql.rows(statement, {"run": run.pk, "limit": limit, "after": after})
    return [
        MatrixRow(subject_id, key, name, place, [_cell(record) for record in own])
        for (subject_id, key, name, place), own in groupby(records, key=lambda record: record[:4])
    ]


def _cell(record: tuple[Any, ...]) -> MatrixCell:
    stuck, values, *plain = record[4:]
    status, kind, error, hold_reason = stuck or ("", "", "", "")
    cause = causes.find_cause(status=status, error_kind=kind, message=error, hold_reason=hold_reason) if stuck else None
    return MatrixCell(values, cause, error, *plain)


def _words(values: Mapping[str, Any], aspect: str) -> list[str]:
    return [word for word in (*(str(value) for value in values.values()), aspect) if word]
