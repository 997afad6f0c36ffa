"""Gates: the conditions that a pilot must meet before a full run, and the health at which a run pauses itself."""

from __future__ import annotations

from dataclasses import asdict, dataclass

from django.db.models import Case, Count, F, Q, When
from django.utils.translation import gettext as _

from campaigns.choices import PromptStatus
from campaigns.models import Campaign, PromptVersion
from generation.choices import AssetState, Outcome, Stage
from generation.models import Asset, Run
from generation.selectors import runs

WATCHED_OUTPUTS = 20
BAD_SHARE = 0.3


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
    def is_unhealthy(self) -> bool:
        """Return whether more than 30 % of 20 outputs are bad; seven bad ones suffice even before there are 20."""
        return self.bad > WATCHED_OUTPUTS * BAD_SHARE


def pilot(campaign: Campaign, version: PromptVersion) -> Pilot:
    """Return the decisions about the pilot images of one prompt version, over all its pilot runs in the campaign. One
    query. Decisions about another version do not count, however small the change, because it makes other images."""
    of_version = {"cell__run__campaign": campaign, "cell__run__prompt_version": version}
    assets = Asset.objects.filter(cell__run__stage=Stage.PILOT, **of_version)
    refusals = (AssetState.REJECTED, AssetState.REVISING, AssetState.REVOKED)
    counts = assets.aggregate(
        approved=Count("pk", filter=Q(state__in=(AssetState.APPROVED, AssetState.STALE))),
        refused=Count("pk", filter=Q(state__in=refusals)),
    )
    approved, refused = counts["approved"], counts["refused"]
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
