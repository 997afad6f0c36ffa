"""A campaign's runs as cards, each with the numbers of its jobs and images by state."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from django.db import connection

from campaigns.models import Campaign
from core.models import User
from generation.choices import AssetState, JobState
from generation.models import Run
from generation.selectors import runs

_FUNNELS = """
SELECT run_id, 'job', status, count(*) FROM generation_job WHERE run_id = ANY(%(runs)s) GROUP BY run_id, status
UNION ALL
SELECT c.run_id, 'asset', a.state, count(*)
FROM generation_cell c JOIN generation_asset a ON a.cell_id = c.id WHERE c.run_id = ANY(%(runs)s)
GROUP BY c.run_id, a.state
"""


@dataclass(frozen=True)
class Card:
    run: Run
    funnel: runs.Funnel


def list_cards(user: User, campaign: Campaign, *, limit: int, offset: int = 0) -> list[Card]:
    """Return the campaign's runs as cards, newest first. Two queries for any number of runs."""
    listed: Sequence[Run] = list(runs.visible(user, campaign_id=campaign.pk)[offset : offset + limit])
    counted = funnels([run.pk for run in listed])
    return [Card(run, counted[run.pk]) for run in listed]


def funnels(run_ids: Sequence[int]) -> Mapping[int, runs.Funnel]:
    """Return the counts by run id, in one query."""
    jobs = {pk: dict.fromkeys(JobState.values, 0) for pk in run_ids}
    assets = {pk: dict.fromkeys(AssetState.values, 0) for pk in run_ids}
    with connection.cursor() as cursor:
        cursor.execute(_FUNNELS, {"runs": list(run_ids)})
        for pk, table, state, count in cursor.fetchall():
            (jobs if table == "job" else assets)[pk][state] = count
    return {pk: runs.Funnel(jobs[pk], assets[pk]) for pk in run_ids}
