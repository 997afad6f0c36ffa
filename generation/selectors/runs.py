"""Reading runs: lists, the funnel, the matrix of pictures and how fast it goes."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.db import connection
from django.db.models import QuerySet
from django.utils import timezone

from campaigns.errors import NotFound
from campaigns.models import User
from generation.choices import AssetState, JobState, RunState
from generation.models import Run

RATE_OVER = 50

_FUNNEL = """
SELECT 'job', status, count(*) FROM generation_job WHERE run_id = %(run)s GROUP BY status
UNION ALL
SELECT 'asset', a.state, count(*)
FROM generation_asset a JOIN generation_cell c ON c.id = a.cell_id WHERE c.run_id = %(run)s GROUP BY a.state
"""

_MATRIX = """
WITH page AS (
    SELECT subject_id, min(position) AS place FROM generation_cell WHERE run_id = %(run)s
    GROUP BY subject_id ORDER BY place LIMIT %(limit)s OFFSET %(offset)s
)
SELECT c.id, s.id, s.key, s.name, c.axis_values, c.values_key, c.aspect, a.id, a.state, a.round,
       v.id, v.worst_outcome, m.thumbnails,
       (SELECT count(*) FROM generation_job j WHERE j.cell_id = c.id AND j.status = 'running'),
       (SELECT max(100 * j.step / greatest(j.steps, 1)) FROM generation_job j
        WHERE j.cell_id = c.id AND j.status = 'running' AND j.steps > 0),
       (SELECT j.error FROM generation_job j WHERE j.cell_id = c.id AND j.error <> '' ORDER BY j.id DESC LIMIT 1)
FROM page JOIN generation_cell c ON c.subject_id = page.subject_id AND c.run_id = %(run)s
JOIN campaigns_subject s ON s.id = c.subject_id
JOIN generation_asset a ON a.cell_id = c.id
LEFT JOIN LATERAL (
    SELECT w.id, w.worst_outcome, w.master_id FROM generation_assetversion w
    WHERE w.asset_id = a.id AND (a.current_version_id IS NULL OR w.id = a.current_version_id)
    ORDER BY w.round DESC, w.candidate LIMIT 1
) v ON true
LEFT JOIN generation_master m ON m.id = v.master_id
ORDER BY page.place, c.position
"""

_RATE = """
SELECT count(*), min(latest.created_at) FROM (
    SELECT v.created_at FROM generation_assetversion v JOIN generation_job j ON j.id = v.job_id
    WHERE j.run_id = %s AND v.created_at >= %s ORDER BY v.id DESC LIMIT %s
) latest
"""


@dataclass(frozen=True)
class Funnel:
    """Counts of a run by job status and by asset state; states that nothing is in are 0."""

    jobs: Mapping[str, int]
    assets: Mapping[str, int]

    @property
    def total(self) -> int:
        return sum(self.jobs.values())

    @property
    def done(self) -> int:
        """Jobs that ended, one way or the other."""
        return sum(self.jobs[state] for state in (JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLED)) + int(
            self.jobs[JobState.QUARANTINED]
        )

    @property
    def made(self) -> int:
        return self.jobs[JobState.SUCCEEDED]

    @property
    def decided(self) -> int:
        return self.assets[AssetState.APPROVED] + self.assets[AssetState.REJECTED] + self.assets[AssetState.REVISING]


@dataclass(frozen=True)
class MatrixCell:
    """One cell as the live matrix shows it. thumbnails: {"512": storage key}; percent: of a picture being made."""

    cell_id: int
    asset_id: int
    values: Mapping[str, Any]
    values_key: str
    aspect: str
    state: str
    round: int
    version_id: int | None
    worst_outcome: str | None
    thumbnails: Mapping[str, str]
    is_running: bool
    percent: int | None
    error: str


@dataclass(frozen=True)
class MatrixRow:
    """One subject with its cells, in the order in which they were planned."""

    subject_id: int
    subject_key: str
    subject_name: str
    cells: tuple[MatrixCell, ...]


@dataclass(frozen=True)
class Progress:
    """How far a run is. rate: pictures per second over the last RATE_OVER, None while unknown; eta: likely end."""

    funnel: Funnel
    rate: float | None
    eta: datetime | None

    @property
    def percent(self) -> float:
        return 100.0 * self.funnel.done / self.funnel.total if self.funnel.total else 0.0


def visible(user: User, *, campaign_id: int | None = None) -> QuerySet[Any]:
    """Runs newest first, with campaign, brand, prompt version, endpoint and who asked."""
    rows = Run.objects.visible_to(user).select_related(
        "campaign__brand", "prompt_version__template", "endpoint", "requested_by"
    )
    if campaign_id is not None:
        rows = rows.filter(campaign_id=campaign_id)
    return rows.order_by("-id")


def get(user: User, run_id: int) -> Run:
    """Raises NotFound, also for what the person must not know of."""
    run: Run | None = visible(user).filter(pk=run_id).first()
    if run is None:
        raise NotFound(f"There is no run {run_id}.")
    return run


def funnel(run: Run) -> Funnel:
    """Jobs by status and assets by state, in one query."""
    jobs = dict.fromkeys(JobState.values, 0)
    states = dict.fromkeys(AssetState.values, 0)
    with connection.cursor() as cursor:
        cursor.execute(_FUNNEL, {"run": run.pk})
        for what, state, count in cursor.fetchall():
            (jobs if what == "job" else states)[state] = count
    return Funnel(jobs, states)


def matrix(run: Run, *, limit: int = 100, offset: int = 0) -> list[MatrixRow]:
    """Subjects × variants with what is there of each: `limit` subjects from `offset` on, in one query."""
    with connection.cursor() as cursor:
        cursor.execute(_MATRIX, {"run": run.pk, "limit": limit, "offset": offset})
        records = cursor.fetchall()
    rows: dict[int, tuple[str, str, list[MatrixCell]]] = {}
    for record in records:
        _, subject_id, key, name = record[:4]
        rows.setdefault(subject_id, (key, name, []))[2].append(_cell(record))
    return [MatrixRow(subject_id, key, name, tuple(cells)) for subject_id, (key, name, cells) in rows.items()]


def progress(run: Run) -> Progress:
    """Counts, speed and the likely end. Two queries, one when the run stands still."""
    counts = funnel(run)
    if run.state != RunState.RUNNING:
        return Progress(counts, None, None)
    since = run.watched_from or run.released_at or run.created_at
    with connection.cursor() as cursor:
        cursor.execute(_RATE, [run.pk, since, RATE_OVER])
        made, first_at = cursor.fetchone()
    if made < 2:
        return Progress(counts, None, None)
    now = timezone.now()
    rate = made / max((now - first_at).total_seconds(), 0.001)
    return Progress(counts, rate, now + timedelta(seconds=(counts.total - counts.done) / rate))


def _cell(record: tuple[Any, ...]) -> MatrixCell:
    cell_id, _, _, _, values, values_key, aspect, asset_id, state, round_, version_id, outcome, thumbs = record[:13]
    running, percent, error = record[13:]
    return MatrixCell(
        cell_id=cell_id,
        asset_id=asset_id,
        values=_json(values),
        values_key=values_key,
        aspect=aspect,
        state=state,
        round=round_,
        version_id=version_id,
        worst_outcome=outcome,
        thumbnails=_json(thumbs) if thumbs else {},
        is_running=bool(running),
        percent=percent,
        error=error or "",
    )


def _json(value: Any) -> Any:
    """Raw cursors give jsonb as text: Django takes psycopg's own loader away."""
    return json.loads(value) if isinstance(value, str) else value
