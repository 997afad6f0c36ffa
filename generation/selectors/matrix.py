"""The matrix of a run: subjects × variants with the image of each, a page of subjects or single cells at a time."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from generation import causes
from generation.causes import Cause
from generation.models import Run
from generation.selectors import sql

# "j" sums up the jobs of a cell: those that run now, and the newest one that is stuck for a reason.
_WHAT_IS_THERE = """
SELECT s.id, s.key, s.name, {place}, j.stuck, c.axis_values,
       c.id, a.id, c.values_key, c.aspect, a.state, a.round, v.id, v.worst_outcome, j.running > 0, j.percent,
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

_COLUMNS = """
SELECT values_key, aspect, (array_agg(axis_values))[1] FROM generation_cell WHERE run_id = %s
GROUP BY values_key, aspect ORDER BY min(position)
"""

_PLACES = """
SELECT count(DISTINCT subject_id), coalesce(max(row), 0) FROM (
    SELECT subject_id, count(*) AS row FROM generation_cell WHERE run_id = %s GROUP BY subject_id
) counted
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
    round: int
    version_id: int | None
    worst_outcome: str | None
    is_running: bool
    percent: int | None
    disclaimer: str


@dataclass(frozen=True)
class MatrixRow:
    """One subject with its cells in the order in which they were planned. place: the position of its first cell, or of
    its first cell with a problem; the next page begins after it."""

    subject_id: int
    subject_key: str
    subject_name: str
    place: int
    cells: tuple[MatrixCell, ...]


@dataclass(frozen=True)
class Column:
    values_key: str
    aspect: str
    values: Mapping[str, Any]


def rows(run: Run, *, limit: int = 60, after: int = -1, only_problems: bool = False) -> list[MatrixRow]:
    """Return `limit` subjects after the place `after`, in one query; with `only_problems` only those with a problem."""
    statement = _PAGE.format(problems=_WITH_PROBLEMS if only_problems else "")
    records = sql.rows(statement, {"run": run.pk, "limit": limit, "after": after})
    by_subject = groupby(records, key=lambda record: record[:4])
    return [
        MatrixRow(subject_id, key, name, place, tuple(_cell(record) for record in own))
        for (subject_id, key, name, place), own in by_subject
    ]


def cells(run: Run, ids: Sequence[int]) -> list[MatrixCell]:
    """Return those of the cells that belong to the run. One query."""
    return [_cell(record) for record in sql.rows(_CELLS, {"run": run.pk, "cells": list(ids)})]


def columns(run: Run) -> list[Column]:
    """Return every variant of a matrix run, in the order in which they were planned. One query."""
    return [Column(key, aspect, json.loads(values)) for key, aspect, values in sql.rows(_COLUMNS, [run.pk])]


def size(run: Run) -> tuple[int, int]:
    """Return how many subjects the run has, and the most cells of one of them. One query."""
    [(subjects, widest)] = sql.rows(_PLACES, [run.pk])
    return subjects, widest


def _cell(record: tuple[Any, ...]) -> MatrixCell:
    stuck, values, *plain = record[4:]
    status, kind, error, hold_reason = json.loads(stuck) if stuck else ("", "", "", "")
    cause = causes.find_cause(status=status, error_kind=kind, message=error, hold_reason=hold_reason) if stuck else None
    return MatrixCell(json.loads(values), cause, error, *plain)
