"""Gates and rollout of a prompt version: what a pilot must meet before a full run, the steps from sandbox to full, and
the health at which a run pauses itself."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from django.db.models import Case, F, Min, Q, When
from django.utils.translation import gettext as _

from campaigns.choices import PromptStatus
from campaigns.models import Campaign, PromptVersion
from core.models import User
from generation.choices import AssetState, Outcome, RunState, Stage
from generation.models import AssetCount, Run
from generation.selectors import runs

APPROVED = frozenset({AssetState.APPROVED, AssetState.STALE})
REFUSED = frozenset({AssetState.REJECTED, AssetState.REVISING, AssetState.REVOKED})
WATCHED_OUTPUTS = 20
BAD_SHARE = 0.3
#: States of a step: nothing yet, a run that waits for its release, images being made, images to review, enough images.
EMPTY, PLANNED, MAKING, JUDGING, DONE = "empty", "planned", "making", "judging", "done"
LOCKED = "locked"


@dataclass(frozen=True)
class Pilot:
    """The pilot of one prompt version ("v3"): decisions made, approvals, and how many of both are needed."""

    decided: int
    approved: int
    decisions_needed: int
    percent_needed: int
    version: str = ""

    @property
    def refused(self) -> int:
        return self.decided - self.approved

    @property
    def decisions_left(self) -> int:
        return max(0, self.decisions_needed - self.decided)

    @property
    def percent(self) -> float:
        return 100.0 * self.approved / self.decided if self.decided else 0.0

    @property
    def is_open(self) -> bool:
        """True if a full run may be released without an override."""
        return self.decided >= self.decisions_needed and self.approved * 100 >= self.percent_needed * self.decided

    @property
    def message(self) -> str:
        sentence = _(
            "The pilot of %(version)s has %(decided)s of %(decisions_needed)s decisions; "
            "a full run needs %(percent_needed)s %%."
        )
        if self.decided:
            sentence = _(
                "The pilot of %(version)s has %(decided)s of %(decisions_needed)s decisions, %(percent).0f %% "
                "approved; a full run needs %(percent_needed)s %%."
            )
        return sentence % {**asdict(self), "percent": self.percent}


@dataclass(frozen=True)
class FullRun:
    """The conditions of a full run of one prompt version: a pilot that went well, and a lead's approval."""

    pilot: Pilot
    is_approved: bool

    @property
    def is_open(self) -> bool:
        return self.pilot.is_open and self.is_approved

    @property
    def message(self) -> str:
        """Say what is missing, in sentences; "" if nothing is."""
        sentences = [] if self.pilot.is_open else [self.pilot.message]
        if not self.is_approved:
            sentences.append(_("No lead has approved %(version)s of the prompt.") % {"version": self.pilot.version})
        return " ".join(sentences)


@dataclass(frozen=True)
class Health:
    """The newest outputs of a run, at most WATCHED_OUTPUTS. bad: those that failed checks or were rejected."""

    outputs: int
    bad: int

    @property
    def problem(self) -> str:
        """Return a sentence if over 30 % of 20 outputs are bad; seven bad ones suffice even before there are 20."""
        sentence = f"{self.bad} of the last {self.outputs} images failed checks or were rejected."
        return sentence if self.bad > WATCHED_OUTPUTS * BAD_SHARE else ""


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
    pilot: Pilot
    now: Step


def pilot(campaign: Campaign, version: PromptVersion) -> Pilot:
    """Return the decisions about the pilot images of one prompt version, over all its pilot runs in the campaign. One
    query. Decisions about another version do not count, however small the change, because it makes other images."""
    counts = AssetCount.objects.filter(run__campaign=campaign, run__prompt_version=version, run__stage=Stage.PILOT)
    by_state = dict(counts.filter(check_name="").sums("state"))
    approved, refused = _count(by_state, APPROVED), _count(by_state, REFUSED)
    return Pilot(
        approved + refused, approved, campaign.pilot_decisions, campaign.pilot_approval_percent, f"v{version.number}"
    )


def full_run(campaign: Campaign, version: PromptVersion) -> FullRun:
    """Return the conditions of a full run of this version, and whether they are met. One query."""
    return FullRun(pilot(campaign, version), version.status == PromptStatus.APPROVED)


def health(run: Run) -> Health:
    """Return the health of a run by its newest outputs since it was released or resumed. One query."""
    is_rejected = Q(asset__state=AssetState.REJECTED, asset__current_version=F("pk"))
    is_bad = Q(worst_outcome=Outcome.FAIL) | Q(master__was_rejected=True) | is_rejected
    latest = runs.latest_outputs(run).annotate(is_bad=Case(When(is_bad, then=True), default=False))
    outputs = list(latest.values_list("is_bad", flat=True)[:WATCHED_OUTPUTS])
    return Health(len(outputs), sum(outputs))


def load_rollout(campaign: Campaign, version: PromptVersion) -> Rollout:
    """Return the rollout of a version in a campaign. Three queries."""
    of_version = pilot(campaign, version)
    # All try-outs of the version in the brand count as its sandbox, in whichever campaign they were made.
    is_counted = Q(campaign=campaign) | Q(stage=Stage.SANDBOX)
    counted = Run.objects.filter(is_counted, prompt_version=version).exclude(state=RunState.CANCELLED).order_by()
    planned, active = Q(state=RunState.PLANNED), Q(state__in=(RunState.RUNNING, RunState.PAUSED))
    first_runs = counted.values("stage").annotate(
        planned_run=Min("pk", filter=planned), active_run=Min("pk", filter=active)
    )
    numbers: dict[str, dict[str, int]] = {}
    for stage, state, number in AssetCount.objects.filter(run__in=counted, check_name="").sums("run__stage", "state"):
        numbers.setdefault(stage, {})[state] = number
    by_stage = {row["stage"]: Step(**row, **_counts_of_step(numbers.get(row["stage"], {}))) for row in first_runs}
    steps = {stage: _with_state(by_stage.get(stage, Step(stage)), of_version) for stage in Stage.values}
    return Rollout(version, steps, of_version, _current_step(steps, of_version))


def _counts_of_step(by_state: Mapping[str, int]) -> dict[str, Any]:
    wanted = sum(by_state.values()) - _count(by_state, {AssetState.SUPERSEDED})
    return {
        "planned": wanted,
        "made": wanted - _count(by_state, {AssetState.MAKING, AssetState.FAILED}),
        "approved": _count(by_state, APPROVED),
        "in_review": _count(by_state, {AssetState.IN_REVIEW}),
        "rejected": _count(by_state, {AssetState.REJECTED, AssetState.REVOKED}),
    }


def _count(by_state: Mapping[str, int], states: Iterable[str]) -> int:
    return sum(by_state.get(state, 0) for state in states)


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


def _with_state(step: Step, pilot: Pilot) -> Step:
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


def _current_step(steps: Mapping[str, Step], pilot: Pilot) -> Step:
    """Return the pilot until it is passed; then the full or partial run that is under way, else the full run."""
    if not pilot.is_open:
        return steps[Stage.PILOT]
    for stage in (Stage.FULL, Stage.PARTIAL):
        if steps[stage].state in (PLANNED, MAKING, JUDGING):
            return steps[stage]
    return steps[Stage.FULL]
