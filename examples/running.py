"""Runs of the example: an existing run is continued, otherwise a new one is planned and released."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from campaigns.models import Campaign, PromptTemplate, Subject
from core.models import User
from generation.choices import JobState, RunState
from generation.models import Endpoint, Run
from generation.services import runs
from generation.services.dispatch import retries
from generation.services.planning import plans
from generation.services.planning.plan_requests import PlanArguments

ENDED_STATES = frozenset({RunState.FINISHED, RunState.CANCELLED, RunState.PAUSED})


@dataclass(frozen=True)
class RunSettings:
    """The settings of a run with a prompt's newest version. Empty fields mean the value of the campaign or prompt."""

    campaign: Campaign
    prompt: PromptTemplate
    endpoint: Endpoint
    stage: str
    name: str
    by: User
    subjects: Iterable[Subject] | None = None
    axes: Mapping[str, Sequence[Any]] | None = None
    aspects: Sequence[str] | None = None


def ensure_run(settings: RunSettings) -> tuple[Run, bool]:
    """Return the released run, and whether it is new. A paused run is resumed, and failed jobs are retried."""
    run = find_run(settings.campaign, settings.prompt, settings.stage)
    is_new = run is None
    if run is None:
        versions = settings.prompt.versions.select_related("template__brand", "style")
        run = plans.plan(
            PlanArguments(
                campaign=settings.campaign,
                prompt_version=versions.order_by("-number")[0],
                endpoint=settings.endpoint,
                stage=settings.stage,
                by=settings.by,
                subjects=settings.subjects,
                axes=settings.axes,
                aspects=settings.aspects,
            ),
            name=settings.name,
        )
    if run.state == RunState.PLANNED:
        return runs.release(run_id=run.pk, by=settings.by), is_new
    if run.state == RunState.PAUSED:
        run = runs.resume(run_id=run.pk, by=settings.by)
    if run.jobs.filter(status=JobState.FAILED).exists():
        retries.retry(run_id=run.pk, by=settings.by)
    return run, is_new


def find_run(campaign: Campaign, prompt: PromptTemplate, stage: str) -> Run | None:
    """Return the newest run of the prompt in the campaign at that stage that was not cancelled."""
    there = Run.objects.filter(campaign=campaign, prompt_version__template=prompt, stage=stage)
    return there.exclude(state=RunState.CANCELLED).order_by("-pk").first()


def has_ended(run: Run) -> bool:
    """Return whether the run does nothing more by itself."""
    run.refresh_from_db(fields=["state", "pause_reason"])
    return run.state in ENDED_STATES
