"""The event types of the generation app. Their names are dotted and in the past tense: "generation.run.planned"."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from core.events import DomainEvent, declare

if TYPE_CHECKING:
    from generation.models import Asset


class _RunEvent(DomainEvent):
    object_type = "run"


class _JobEvent(DomainEvent):
    object_type = "job"


class _AssetEvent(DomainEvent):
    object_type = "asset"


@declare
@dataclass(frozen=True, kw_only=True)
class VersionReady(_AssetEvent):
    """All candidates of a round are made and checked. asset: locked, in its new state and with its current version.

    payload: {"round", "version_ids", "worst_outcome", "is_sandbox"}.
    """

    type = "generation.version.ready"
    needs_subscriber = True
    asset: Asset


@declare
class JobSucceeded(_JobEvent):
    """One job's image is stored. payload: {"run", "asset", "version", "attempt", "sha256", "reused"}."""

    type = "generation.job.succeeded"


@declare
class JobFailed(_JobEvent):
    """One job failed and will not be retried automatically. payload: {"run", "asset", "kind", "message"}."""

    type = "generation.job.failed"


@declare
class JobLost(_JobEvent):
    """A worker died or could not be reached any more. payload: {"run", "deaths", "status"}."""

    type = "generation.job.lost"


@declare
class SubmissionUncertain(_JobEvent):
    """A submission is uncertain: its answer was lost and the service cannot be asked. It may have been paid for. A
    person decides or, by the endpoint's policy, it is submitted again. payload: {"run", "attempt", "amount"}."""

    type = "generation.job.uncertain"


@declare
class RunAlternatesSet(_RunEvent):
    """A person set the endpoints for a run's jobs if its own is slow or down. payload: {"alternates": [slugs]}."""

    type = "generation.run.alternates_set"


@declare
class RunRerouted(_RunEvent):
    """Queued jobs went to another endpoint. payload: {"jobs", "from", "to", "reason", "sentence", "reserved"}."""

    type = "generation.run.rerouted"


@declare
class RunEngineChanged(_RunEvent):
    """Jobs of a run are held because their endpoint was changed since they were planned. payload: {"jobs",
    "endpoint", "planned", "now"}, the last two in words."""

    type = "generation.run.engine_changed"


@declare
class RunPlannedAnew(_RunEvent):
    """A person planned such jobs again for the changed endpoints. payload: {"jobs", "left", "reserved", "now"}; left:
    number of jobs that cannot be planned so and stay held."""

    type = "generation.run.planned_anew"


@declare
class UncertaintyResolved(_RunEvent):
    """A person stated that a run's uncertain submissions were not charged. payload: {"amount"}, which is freed."""

    type = "generation.run.uncertainty_resolved"


@declare
class ChecksFailed(_AssetEvent):
    """All candidates of a round failed their checks, and another one is wanted. payload: {"round", "version_ids"}."""

    type = "generation.round.checks_failed"
    needs_subscriber = True


@declare
class RejectedByChecks(_AssetEvent):
    """An image failed its checks, and its prompt's policy rejects such images. payload: {"round", "version_ids",
    "reason", "checks": [{"check", "message"}]}."""

    type = "generation.asset.rejected_by_checks"


@declare
class CandidateAdded(_AssetEvent):
    """An image that failed its checks is made again. payload: {"round", "candidate", "job", "seed", "left"}."""

    type = "generation.round.candidate_added"


@declare
class AssetMoved(_AssetEvent):
    """An asset changed its state. payload: {"from", "to", "version"}, and "causes" if it became stale."""

    type = "generation.asset.moved"


@dataclass(frozen=True, kw_only=True)
class AssetsNoticed(DomainEvent):
    """An event about many assets of a brand. asset_ids: all; payload: {"count", "assets": the first 100 ids}."""

    object_type = "brand"
    needs_subscriber = True
    asset_ids: tuple[int, ...] = ()


@declare
class AssetsBecameStale(AssetsNoticed):
    """Approved images became stale because an input, the guide or the checklist changed."""

    type = "generation.assets.became_stale"


@declare
class InputsMovedInReview(AssetsNoticed):
    """An input of images in review changed, so earlier approvals no longer count."""

    type = "generation.assets.inputs_moved"


@declare
class InputsReturned(AssetsNoticed):
    """The inputs of stale images are again the approved ones, as after undoing an import."""

    type = "generation.assets.inputs_returned"


@declare
class RunFinished(_RunEvent):
    """Every job of a run has ended. payload: {"succeeded", "failed", "cancelled"}."""

    type = "generation.run.finished"


@declare
class RoundOpened(_AssetEvent):
    """The next round of an asset was requested. payload: {"round", "job", "from_version", "controls"}."""

    type = "generation.round.opened"


@declare
class RunPlanned(_RunEvent):
    """A run's cells and jobs were created, on hold. payload: {"stage", "cells", "jobs", "cost", "campaign",
    "prompt_version", "endpoint"}."""

    type = "generation.run.planned"


@declare
class RunReleased(_RunEvent):
    """A run's jobs were queued. payload: {"queued", "reused", "left_out", "reserved", "override_reason", "pilot"}."""

    type = "generation.run.released"


@declare
class RunPaused(_RunEvent):
    """A run was paused. payload: {"reason", "held", "by_itself"}."""

    type = "generation.run.paused"


@declare
class RunResumed(_RunEvent):
    """A paused run was resumed. payload: {"queued"}."""

    type = "generation.run.resumed"


@declare
class RunCancelled(_RunEvent):
    """A run was cancelled. payload: {"cancelled", "asked_to_stop", "freed", "superseded"}."""

    type = "generation.run.cancelled"


@declare
class RunRetried(_RunEvent):
    """A run's failed jobs were queued again. payload: {"queued", "reserved"}."""

    type = "generation.run.retried"


@declare
class RunPrioritised(_RunEvent):
    """A run's priority among its campaign's runs changed. payload: {"from", "to"}."""

    type = "generation.run.prioritised"


@declare
class RunScheduled(_RunEvent):
    """A planned run's release was scheduled, or the schedule removed. payload: {"at", "was"}: ISO times or null."""

    type = "generation.run.scheduled"


@declare
class RunReleaseRefused(_RunEvent):
    """The scheduled release of a run failed. payload: {"message"}."""

    type = "generation.run.release_refused"


@declare
class BudgetReached(DomainEvent):
    """A campaign's spent and reserved money reached 80 or 100 % of its budget. payload: {"percent", "committed",
    "budget", "run"}."""

    type = "generation.budget.reached"
    object_type = "campaign"


@declare
class ScheduledRunSaved(DomainEvent):
    """A scheduled run was set up, changed, stopped or resumed. payload: {"name", "campaign", "prompt_version",
    "endpoint", "source": its name or "", "daily_budget", "daily_images", "is_enabled"}."""

    type = "generation.scheduled_run.saved"
    object_type = "scheduled_run"


@declare
class EndpointSaved(DomainEvent):
    """An endpoint was set up, changed, switched on or off, or given another secret; for a shared endpoint it is in the
    trail of every brand. payload: {"slug", "name", "engine", "changes": {setting: [old, new]}, "secret": "set",
    "replaced", "removed" or "", "is_enabled"}. It never has the secret; for the engine settings of a shared endpoint it
    has only the names of changed settings."""

    type = "generation.endpoint.saved"
    object_type = "endpoint"


@declare
class EndpointTriedAgain(DomainEvent):
    """A person had a stopped or paused endpoint tried again. payload: {"slug", "queued": number of images that were
    held because its account was empty}."""

    type = "generation.endpoint.tried_again"
    object_type = "endpoint"


@declare
class ModelNoted(DomainEvent):
    """A local model was registered or its data changed. This is in every brand's trail, because all brands may use it.
    payload: {"name", "family", "revision", "changes": {column: [old, new]}, "is_usable"}; never the path."""

    type = "generation.model.noted"
    object_type = "model"


@declare
class ComparisonStarted(DomainEvent):
    """A blind comparison was started. payload: {"name", "rows", "runs"}."""

    type = "generation.comparison.started"
    object_type = "comparison"


@declare
class ComparisonVoted(DomainEvent):
    """A person voted for a row's best image, or changed the vote. payload: {"row", "column", "instead_of"}."""

    type = "generation.comparison.voted"
    object_type = "comparison"


@declare
class ComparisonRevealed(DomainEvent):
    """A person revealed the columns in the rows that they voted on. payload: {"rows"}."""

    type = "generation.comparison.revealed"
    object_type = "comparison"
