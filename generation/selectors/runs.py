"""Read runs: lists, counts by state, and the progress. matrix.py reads their images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.db.models import QuerySet
from django.utils import timezone
from django.utils.translation import gettext as _

from campaigns.models import Campaign
from core.errors import NotFound
from core.models import User
from generation.choices import AssetState, JobState, RunState
from generation.models import Run
from generation.selectors import sql

RATE_OVER = 50

_FUNNELS = """
SELECT run_id, 'job', status, count(*) FROM generation_job WHERE run_id = ANY(%(runs)s) GROUP BY run_id, status
UNION ALL
SELECT c.run_id, 'asset', a.state, count(*)
FROM generation_cell c JOIN generation_asset a ON a.cell_id = c.id WHERE c.run_id = ANY(%(runs)s)
GROUP BY c.run_id, a.state
"""

_RATE = """
SELECT count(*), min(latest.created_at) FROM (
    SELECT v.created_at FROM generation_assetversion v JOIN generation_job j ON j.id = v.job_id
    WHERE j.run_id = %s AND v.created_at >= %s ORDER BY v.id DESC LIMIT %s
) latest
"""


@dataclass(frozen=True)
class Funnel:
    """The counts of a run by job status and by asset state; an empty state counts 0."""

    jobs: dict[str, int]
    assets: dict[str, int]

    @property
    def total(self) -> int:
        return sum(self.jobs.values())

    @property
    def done(self) -> int:
        """Return the number of jobs that have ended in any way."""
        return self.made + self.broken + self.jobs[JobState.CANCELLED]

    @property
    def made(self) -> int:
        return self.jobs[JobState.SUCCEEDED]

    @property
    def broken(self) -> int:
        """Return the number of jobs that a person has to look at."""
        return self.jobs[JobState.FAILED] + self.jobs[JobState.QUARANTINED]

    @property
    def decided(self) -> int:
        """Return the number of images with a decision; stale and revoked images were approved before."""
        negative = (AssetState.REJECTED, AssetState.REVISING, AssetState.REVOKED)
        return self.approved + sum(self.assets[state] for state in negative)

    @property
    def approved_percent(self) -> float | None:
        """Return the percentage of approved images among the decided ones, None before any decision."""
        return 100.0 * self.approved / self.decided if self.decided else None

    @property
    def approved(self) -> int:
        """Return the number of images that were approved, including those that are stale now."""
        return self.assets[AssetState.APPROVED] + self.assets[AssetState.STALE]

    @property
    def to_review(self) -> int:
        """Return the number of images that wait for a decision: new ones and stale ones."""
        return self.assets[AssetState.IN_REVIEW] + self.assets[AssetState.STALE]


@dataclass(frozen=True)
class Card:
    run: Run
    funnel: Funnel


@dataclass(frozen=True)
class Progress:
    """The progress of a run. rate: images per second over the last RATE_OVER, None while unknown; eta: likely end."""

    funnel: Funnel
    rate: float | None
    eta: datetime | None

    @property
    def percent(self) -> float:
        return 100.0 * self.funnel.done / self.funnel.total if self.funnel.total else 0.0


def visible(user: User, *, campaign_id: int | None = None) -> QuerySet[Any]:
    """Return the visible runs, newest first, with campaign, brand, prompt version, endpoint and requester."""
    rows = Run.objects.visible_to(user).order_by("-id")
    if campaign_id is not None:
        rows = rows.filter(campaign_id=campaign_id)
    return rows.select_related("campaign__brand", "prompt_version__template", "endpoint", "requested_by")


def get(user: User, run_id: int) -> Run:
    """Return a run. Raises NotFound, also for a run that the person may not see."""
    run: Run | None = visible(user).filter(pk=run_id).first()
    if run is None:
        raise NotFound(_("There is no run %(id)s.") % {"id": run_id})
    return run


def funnel(run: Run) -> Funnel:
    """Count the run's jobs by status and its assets by state, in one query."""
    return funnels([run.pk])[run.pk]


def funnels(run_ids: Sequence[int]) -> dict[int, Funnel]:
    """Return the counts by run id, in one query."""
    by_run = {pk: Funnel(dict.fromkeys(JobState.values, 0), dict.fromkeys(AssetState.values, 0)) for pk in run_ids}
    for pk, table, state, count in sql.rows(_FUNNELS, {"runs": list(run_ids)}):
        counts = by_run[pk].jobs if table == "job" else by_run[pk].assets
        counts[state] = count
    return by_run


def list_cards(user: User, campaign: Campaign, *, limit: int, offset: int = 0) -> list[Card]:
    """Return the campaign's runs with their counts, newest first. Two queries for any number of runs."""
    listed: list[Run] = list(visible(user, campaign_id=campaign.pk)[offset : offset + limit])
    by_run = funnels([run.pk for run in listed])
    return [Card(run, by_run[run.pk]) for run in listed]


def progress(run: Run) -> Progress:
    """Return the counts, the rate and the likely end. Two queries, one if the run is not running."""
    counts = funnel(run)
    if run.state != RunState.RUNNING:
        return Progress(counts, None, None)
    since = run.watched_from or run.released_at or run.created_at
    [(made_count, first_at)] = sql.rows(_RATE, [run.pk, since, RATE_OVER])
    if made_count < 2:
        return Progress(counts, None, None)
    now = timezone.now()
    rate = made_count / max((now - first_at).total_seconds(), 0.001)
    return Progress(counts, rate, now + timedelta(seconds=(counts.total - counts.done) / rate))
