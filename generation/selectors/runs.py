"""Read runs: lists, counts by state, the progress, and two runs side by side. matrix.py reads their images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.core.paginator import Paginator
from django.db.models import Count, QuerySet
from django.utils import timezone
from django.utils.translation import gettext as _

from core.errors import NotFound
from core.models import Brand, User
from core.selectors.rows import first_or_refuse
from generation.choices import SEED_AXIS, AssetState, JobState, RunState
from generation.models import Asset, AssetCount, AssetVersion, Job, Run

RATE_OVER = 50
PAIRS = 24


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
class Progress:
    """The progress of a run. rate: images per second over the last RATE_OVER, None while unknown; eta: likely end."""

    funnel: Funnel
    rate: float | None
    eta: datetime | None

    @property
    def percent(self) -> float:
        return 100.0 * self.funnel.done / self.funnel.total if self.funnel.total else 0.0

    @property
    def seconds_left(self) -> float | None:
        return (self.funnel.total - self.funnel.done) / self.rate if self.rate else None


def visible(user: User, *, campaign_id: int | None = None) -> QuerySet[Any]:
    """Return the visible runs, newest first, with campaign, brand, prompt version, endpoint and requester."""
    rows = Run.objects.visible_to(user).order_by("-id")
    if campaign_id is not None:
        rows = rows.filter(campaign_id=campaign_id)
    return rows.select_related("campaign__brand", "prompt_version__template", "endpoint", "requested_by")


def get(user: User, run_id: int) -> Run:
    """Return a run. Raises NotFound, also for a run that the person may not see."""
    run: Run = first_or_refuse(visible(user).filter(pk=run_id), _("There is no run %(id)s.") % {"id": run_id})
    return run


def get_of_brand(user: User, brand: Brand, run_id: int) -> Run:
    """Return a run. Raises NotFound, also for a run of another brand."""
    run = get(user, run_id)
    if run.campaign.brand_id != brand.pk:
        raise NotFound(_("There is no run %(number)s in %(brand)s.") % {"number": run_id, "brand": brand.name})
    return run


def funnel(run: Run) -> Funnel:
    """Count the run's jobs by status and its assets by state, in one query."""
    return funnels([run.pk])[run.pk]


def funnels(run_ids: Sequence[int]) -> dict[int, Funnel]:
    """Return the counts by run id. Two queries."""
    by_run = {pk: Funnel(dict.fromkeys(JobState.values, 0), dict.fromkeys(AssetState.values, 0)) for pk in run_ids}
    jobs = Job.objects.filter(run__in=run_ids).order_by().values_list("run", "status").annotate(count=Count("pk"))
    for pk, status, number in jobs:
        by_run[pk].jobs[status] = number
    for pk, state, number in AssetCount.objects.filter(run__in=run_ids, check_name="").sums("run_id", "state"):
        by_run[pk].assets[state] = number
    return by_run


def latest_outputs(run: Run) -> QuerySet[AssetVersion]:
    """Return the images that the run has made since it was last released or resumed, newest first."""
    since = run.watched_from or run.released_at or run.created_at
    return AssetVersion.objects.filter(job__run=run, created_at__gte=since).order_by("-pk")


def progress(run: Run) -> Progress:
    """Return the counts, the rate and the likely end. Two queries, one if the run is not running."""
    counts = funnel(run)
    if run.state != RunState.RUNNING:
        return Progress(counts, None, None)
    made_at = list(latest_outputs(run).values_list("created_at", flat=True)[:RATE_OVER])
    if len(made_at) < 2:
        return Progress(counts, None, None)
    now = timezone.now()
    rate = len(made_at) / max((now - min(made_at)).total_seconds(), 0.001)
    return Progress(counts, rate, now + timedelta(seconds=(counts.total - counts.done) / rate))


def compare_runs(first: Run, second: Run, *, page: str | None = None) -> dict[str, Any]:
    """Return both runs with their counts ("sides") and a page of their images ("page", "pairs"): the assets of the same
    subject and values, the second None where the other run has no such cell. Five queries."""
    by_run = funnels([first.pk, second.pk])
    assets = Asset.objects.select_related("cell", "current_version__master", "current_version__job__endpoint")
    of_first = assets.filter(cell__run=first).select_related("subject").order_by("cell__position")
    shown = Paginator(of_first, PAIRS).get_page(page)
    of_second = assets.filter(cell__run=second, subject__in=[asset.subject_id for asset in shown])
    partners = {(asset.subject_id, asset.cell.values_key, asset.cell.aspect): asset for asset in of_second}
    pairs = []
    for asset in shown:
        cell = asset.cell
        values = [str(value) for name, value in cell.axis_values.items() if name != SEED_AXIS]
        partner = partners.get((asset.subject_id, cell.values_key, cell.aspect))
        pairs.append({"words": ", ".join([*values, cell.aspect]), "one": asset, "two": partner})
    return {"sides": [(run, by_run[run.pk]) for run in (first, second)], "page": shown, "pairs": pairs}
