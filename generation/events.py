"""The event types of the generation app. Their names are dotted and in the past tense: "generation.run.planned"."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from core.events import DomainEvent

if TYPE_CHECKING:
    from generation.models import Asset


@dataclass(frozen=True, kw_only=True)
class VersionReady(DomainEvent, type="generation.version.ready", object_type="asset"):
    """All candidates of a round are made and checked. asset: locked, in its new state and with its current version.

    payload: {"round", "version_ids", "worst_outcome", "is_sandbox"}.
    """

    needs_subscriber = True
    asset: Asset


class JobSucceeded(DomainEvent, type="generation.job.succeeded"):
    """One job's image is stored. payload: {"run", "asset", "version", "attempt", "sha256", "reused"}."""


class JobFailed(DomainEvent, type="generation.job.failed"):
    """One job failed and will not be retried automatically. payload: {"run", "asset", "kind", "message"}."""


class JobLost(DomainEvent, type="generation.job.lost"):
    """A worker died or could not be reached any more. payload: {"run", "deaths", "status"}."""


class SubmissionUncertain(DomainEvent, type="generation.job.uncertain"):
    """A submission is uncertain: its answer was lost and the service cannot be asked. It may have been paid for. A
    person decides or, by the endpoint's policy, it is submitted again. payload: {"run", "attempt", "amount"}."""


class RunAlternatesSet(DomainEvent, type="generation.run.alternates_set"):
    """A person set the endpoints for a run's jobs if its own is slow or down. payload: {"alternates": [slugs]}."""


class RunRerouted(DomainEvent, type="generation.run.rerouted"):
    """Queued jobs went to another endpoint. payload: {"jobs", "from", "to", "reason", "sentence", "reserved"}."""


class RunEngineChanged(DomainEvent, type="generation.run.engine_changed"):
    """Jobs of a run are held because their endpoint was changed since they were planned. payload: {"jobs",
    "endpoint", "planned", "now"}, the last two in words."""


class RunPlannedAnew(DomainEvent, type="generation.run.planned_anew"):
    """A person planned such jobs again for the changed endpoints. payload: {"jobs", "left", "reserved", "now"}; left:
    number of jobs that cannot be planned so and stay held."""


class UncertaintyResolved(DomainEvent, type="generation.run.uncertainty_resolved"):
    """A person stated that a run's uncertain submissions were not charged. payload: {"amount"}, which is freed."""


class ChecksFailed(DomainEvent, type="generation.round.checks_failed", object_type="asset"):
    """All candidates of a round failed their checks, and another one is wanted. payload: {"round", "version_ids"}."""

    needs_subscriber = True


class RejectedByChecks(DomainEvent, type="generation.asset.rejected_by_checks"):
    """An image failed its checks, and its prompt's policy rejects such images. payload: {"round", "version_ids",
    "reason", "checks": [{"check", "message"}]}."""


class CandidateAdded(DomainEvent, type="generation.round.candidate_added", object_type="asset"):
    """An image that failed its checks is made again. payload: {"round", "candidate", "job", "seed", "left"}."""


class AssetMoved(DomainEvent, type="generation.asset.moved"):
    """An asset changed its state. payload: {"from", "to", "version"}, and "causes" if it became stale."""


@dataclass(frozen=True, kw_only=True)
class AssetsNoticed(DomainEvent):
    """An event about many assets of a brand. asset_ids: all; payload: {"count", "assets": the first 100 ids}."""

    object_type = "brand"
    needs_subscriber = True
    asset_ids: tuple[int, ...] = ()


class AssetsBecameStale(AssetsNoticed, type="generation.assets.became_stale", object_type="brand"):
    """Approved images became stale because an input, the guide or the checklist changed."""


class InputsMovedInReview(AssetsNoticed, type="generation.assets.inputs_moved", object_type="brand"):
    """An input of images in review, or of stale ones, changed, so earlier approvals no longer count."""


class InputsReturned(AssetsNoticed, type="generation.assets.inputs_returned", object_type="brand"):
    """The inputs of stale images are again the approved ones, as after undoing an import."""


class RunFinished(DomainEvent, type="generation.run.finished"):
    """Every job of a run has ended. payload: {"succeeded", "failed", "cancelled"}."""


class RoundOpened(DomainEvent, type="generation.round.opened", object_type="asset"):
    """The next round of an asset was requested. payload: {"round", "job", "from_version", "controls"}."""


class RunPlanned(DomainEvent, type="generation.run.planned"):
    """A run's cells and jobs were created, on hold. payload: {"stage", "cells", "jobs", "cost", "campaign",
    "prompt_version", "endpoint"}."""


class RunReleased(DomainEvent, type="generation.run.released"):
    """A run's jobs were queued. payload: {"queued", "reused", "left_out", "reserved", "override_reason", "pilot"}."""


class RunPaused(DomainEvent, type="generation.run.paused"):
    """A run was paused. payload: {"reason", "held", "by_itself"}."""


class RunResumed(DomainEvent, type="generation.run.resumed"):
    """A paused run was resumed. payload: {"queued"}."""


class RunCancelled(DomainEvent, type="generation.run.cancelled"):
    """A run was cancelled. payload: {"cancelled", "asked_to_stop", "freed", "superseded"}."""


class RunRetried(DomainEvent, type="generation.run.retried"):
    """A run's failed jobs were queued again. payload: {"queued", "reserved"}."""


class RunPrioritised(DomainEvent, type="generation.run.prioritised"):
    """A run's priority among its campaign's runs changed. payload: {"from", "to"}."""


class RunScheduled(DomainEvent, type="generation.run.scheduled"):
    """A planned run's release was scheduled, or the schedule removed. payload: {"at", "was"}: ISO times or null."""


class RunReleaseRefused(DomainEvent, type="generation.run.release_refused"):
    """The scheduled release of a run failed. payload: {"message"}."""


class BudgetReached(DomainEvent, type="generation.budget.reached", object_type="campaign"):
    """A campaign's spent and reserved money reached 80 or 100 % of its budget. payload: {"percent", "committed",
    "budget", "run"}."""


class ScheduledRunSaved(DomainEvent, type="generation.scheduled_run.saved"):
    """A scheduled run was set up, changed, stopped or resumed. payload: {"name", "campaign", "prompt_version",
    "endpoint", "source": its name or "", "daily_budget", "daily_images", "is_enabled"}."""


class EndpointSaved(DomainEvent, type="generation.endpoint.saved"):
    """An endpoint was set up, changed, switched on or off, or given another secret; for a shared endpoint it is in the
    trail of every brand. payload: {"slug", "name", "engine", "changes": {setting: [old, new]}, "secret": "set",
    "replaced", "removed" or "", "is_enabled"}. It never has the secret; for the engine settings of a shared endpoint it
    has only the names of changed settings."""


class EndpointTriedAgain(DomainEvent, type="generation.endpoint.tried_again"):
    """A person had a stopped or paused endpoint tried again. payload: {"slug", "queued": number of images that were
    held because its account was empty}."""


class ModelNoted(DomainEvent, type="generation.model.noted"):
    """A local model was registered or its data changed. This is in every brand's trail, because all brands may use it.
    payload: {"name", "family", "revision", "changes": {column: [old, new]}, "is_usable"}; never the path."""


class ComparisonStarted(DomainEvent, type="generation.comparison.started"):
    """A blind comparison was started. payload: {"name", "rows", "runs"}."""


class ComparisonVoted(DomainEvent, type="generation.comparison.voted"):
    """A person voted for a row's best image, or changed the vote. payload: {"row", "column", "instead_of"}."""


class ComparisonRevealed(DomainEvent, type="generation.comparison.revealed"):
    """A person revealed the columns in the rows that they voted on. payload: {"rows"}."""
