"""Gates: the conditions that a pilot must meet before a full run, and the health at which a run pauses itself."""

from __future__ import annotations

from dataclasses import asdict, dataclass

from django.utils.translation import gettext as _

from campaigns.choices import PromptStatus
from campaigns.models import Campaign, PromptVersion
from generation.models import Run
from generation.selectors import sql

WATCHED_OUTPUTS = 20
BAD_SHARE = 0.3

_PILOT = """
SELECT count(*) FILTER (WHERE a.state IN ('approved', 'stale')),
       count(*) FILTER (WHERE a.state IN ('rejected', 'revising', 'revoked'))
FROM generation_asset a JOIN generation_cell c ON c.id = a.cell_id JOIN generation_run r ON r.id = c.run_id
WHERE r.campaign_id = %s AND r.stage = 'pilot' AND r.prompt_version_id = %s
"""

# The newest outputs since the run was last released or resumed, walking backwards from the newest version.
_LAST = """
SELECT count(*), count(*) FILTER (WHERE latest.is_bad)
FROM (
    SELECT v.worst_outcome = 'fail' OR m.was_rejected
           OR (a.state = 'rejected' AND a.current_version_id = v.id) AS is_bad
    FROM generation_assetversion v
    JOIN generation_job j ON j.id = v.job_id
    JOIN generation_master m ON m.id = v.master_id
    JOIN generation_asset a ON a.id = v.asset_id
    WHERE j.run_id = %s AND v.created_at >= %s
    ORDER BY v.id DESC LIMIT %s
) latest
"""


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
    [(approved, refused)] = sql.rows(_PILOT, [campaign.pk, version.pk])
    return Pilot(
        approved + refused, approved, campaign.pilot_decisions, campaign.pilot_approval_percent, f"v{version.number}"
    )


def full_run(campaign: Campaign, version: PromptVersion) -> FullRun:
    """Return the conditions of a full run of this version, and whether they are met. One query."""
    return FullRun(pilot(campaign, version), version.status == PromptStatus.APPROVED)


def health(run: Run) -> Health:
    """Return the health of a run by its newest outputs since it was released or resumed. One query."""
    since = run.watched_from or run.released_at or run.created_at
    return Health(*sql.rows(_LAST, [run.pk, since, WATCHED_OUTPUTS])[0])
