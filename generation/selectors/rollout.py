"""The rollout of a prompt version in a campaign: sandbox, pilot, partial, full, and what to do next."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from campaigns.models import Campaign, PromptVersion
from core.models import User
from generation.choices import RunState, Stage
from generation.models import Run
from generation.selectors import gates, sql

#: States of a step: nothing yet, a run that waits for its release, images being made, images to review, enough images.
EMPTY, PLANNED, MAKING, JUDGING, DONE = "empty", "planned", "making", "judging", "done"
LOCKED = "locked"

# All try-outs of the version in the brand count as its sandbox, in whichever campaign they were made.
_BY_STAGE = """
SELECT r.stage,
       count(*) FILTER (WHERE a.state <> 'superseded'),
       count(*) FILTER (WHERE a.current_version_id IS NOT NULL AND a.state <> 'superseded'),
       count(*) FILTER (WHERE a.state IN ('approved', 'stale')),
       count(*) FILTER (WHERE a.state = 'in_review'),
       count(*) FILTER (WHERE a.state IN ('rejected', 'revoked')),
       (array_agg(DISTINCT r.id) FILTER (WHERE r.state = 'planned'))[1],
       (array_agg(DISTINCT r.id) FILTER (WHERE r.state IN ('running', 'paused')))[1]
FROM generation_run r JOIN generation_cell c ON c.run_id = r.id JOIN generation_asset a ON a.cell_id = c.id
WHERE r.prompt_version_id = %s AND (r.campaign_id = %s OR r.stage = 'sandbox') AND r.state <> 'cancelled'
GROUP BY r.stage
"""


@dataclass(frozen=True)
class Step:
    """One stage in numbers of images. planned_run: a run that waits for its release; active_run: one that works."""

    stage: str
    planned: int = 0
    made: int = 0
    approved: int = 0
    in_review: int = 0
    rejected: int = 0
    planned_run: int | None = None
    active_run: int | None = None
    state: str = EMPTY

    @property
    def label(self) -> str:
        return str(Stage(self.stage).label)

    @property
    def decided(self) -> int:
        return self.approved + self.rejected


@dataclass(frozen=True)
class Rollout:
    """The four steps of one version, the state of its pilot, and the step that needs attention now."""

    version: PromptVersion
    steps: Mapping[str, Step]
    pilot: gates.Pilot
    now: Step


def load_rollout(campaign: Campaign, version: PromptVersion) -> Rollout:
    """Return the rollout of a version in a campaign. Two queries."""
    pilot = gates.pilot(campaign, version)
    by_stage = {row[0]: Step(*row) for row in sql.rows(_BY_STAGE, [version.pk, campaign.pk])}
    steps = {stage: _with_state(by_stage.get(stage, Step(stage)), pilot) for stage in Stage.values}
    return Rollout(version, steps, pilot, _current_step(steps, pilot))


def latest_version(user: User, campaign: Campaign) -> PromptVersion | None:
    """Return the version of the campaign's newest run that counts, else the brand's newest approved version. Without an
    approved version this is the brand's newest one, None without any."""
    versions = PromptVersion.objects.visible_to(user).select_related("template__brand", "style")
    run = Run.objects.filter(campaign=campaign).exclude(state=RunState.CANCELLED).order_by("-id")
    newest = run.exclude(stage=Stage.SANDBOX).values("prompt_version")[:1]
    version: PromptVersion | None = versions.filter(pk__in=newest).first()
    if version is None:
        of_brand = versions.filter(template__brand_id=campaign.brand_id, template__studio=None)
        version = of_brand.filter(status="approved").order_by("-id").first() or of_brand.order_by("-id").first()
    return version


def _with_state(step: Step, pilot: gates.Pilot) -> Step:
    if step.stage == Stage.PILOT and pilot.is_open:
        state = DONE
    elif step.active_run:
        state = MAKING
    elif step.in_review and step.stage != Stage.SANDBOX:
        state = JUDGING
    elif step.planned_run:
        state = PLANNED
    elif step.stage == Stage.FULL and not pilot.is_open:
        state = LOCKED
    else:
        state = DONE if step.made and step.stage != Stage.PILOT else EMPTY
    return replace(step, state=state)


def _current_step(steps: Mapping[str, Step], pilot: gates.Pilot) -> Step:
    """Return the pilot until it is passed; then the full or partial run that is under way, else the full run."""
    if not pilot.is_open:
        return steps[Stage.PILOT]
    for stage in (Stage.FULL, Stage.PARTIAL):
        if steps[stage].state in (PLANNED, MAKING, JUDGING):
            return steps[stage]
    return steps[Stage.FULL]
