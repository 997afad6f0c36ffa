"""The event types of the generation app. Past tense, dotted: "generation.object.happened"."""

from __future__ import annotations

from dataclasses import dataclass

from core.events import DomainEvent, declare


@declare
class VersionReady(DomainEvent):
    """All candidates of one round of an asset are made and checked. object_id is the asset's.

    payload: {"round", "version_ids", "worst_outcome", "stage"}.
    """

    type = "generation.version.ready"
    object_type = "asset"
    needs_subscriber = True


@declare
class JobSucceeded(DomainEvent):
    """One job's image is stored. payload: {"run", "asset", "version", "attempt", "sha256", "reused"}."""

    type = "generation.job.succeeded"
    object_type = "job"


@declare
class JobFailed(DomainEvent):
    """One job will not be tried again by itself. payload: {"run", "asset", "kind", "message"}."""

    type = "generation.job.failed"
    object_type = "job"


@declare
class JobLost(DomainEvent):
    """A worker died or was cut off. payload: {"run", "deaths", "status"}."""

    type = "generation.job.lost"
    object_type = "job"


@declare
class JobDoubtful(DomainEvent):
    """An order was sent and its answer lost where nobody can be asked: it may have been paid for, and waits for a
    person or, by the endpoint's policy, for another order. payload: {"run", "attempt", "amount"}."""

    type = "generation.job.doubtful"
    object_type = "job"


@declare
class RunAlternatesSet(DomainEvent):
    """A person said where a run's jobs may go when its endpoint is slow or down. payload: {"alternates": [slugs]}."""

    type = "generation.run.alternates_set"
    object_type = "run"


@declare
class RunRerouted(DomainEvent):
    """Queued jobs of a run went to another endpoint. payload: {"jobs", "from", "to", "reason", "sentence",
    "reserved"}."""

    type = "generation.run.rerouted"
    object_type = "run"


@declare
class RunEngineChanged(DomainEvent):
    """Jobs of a run are held because the endpoint is no longer what they were planned for. payload: {"jobs",
    "endpoint", "planned", "now"}, the last two in words."""

    type = "generation.run.engine_changed"
    object_type = "run"


@declare
class RunPlannedAnew(DomainEvent):
    """A person had such jobs planned anew, for what their endpoints are now. payload: {"jobs", "left", "reserved",
    "now"}; left: how many cannot be made so and stay held."""

    type = "generation.run.planned_anew"
    object_type = "run"


@declare
class DoubtTakenBack(DomainEvent):
    """A person found that a run's orders in doubt were not charged. payload: {"amount"}, freed again."""

    type = "generation.run.doubt_taken_back"
    object_type = "run"


@declare
class ChecksFailed(DomainEvent):
    """Every candidate of a round failed its checks, and the prompt's policy asks for another one. object_id is the
    asset's; payload: {"round", "version_ids"}."""

    type = "generation.round.checks_failed"
    object_type = "asset"
    needs_subscriber = True


@declare
class RejectedByChecks(DomainEvent):
    """An image failed its checks, and its prompt's policy rejects such images. object_id is the asset's; payload:
    {"round", "version_ids", "reason", "checks": [{"check", "message"}]}."""

    type = "generation.asset.rejected_by_checks"
    object_type = "asset"


@declare
class CandidateAdded(DomainEvent):
    """The line tries a failed picture with another seed. object_id is the asset's; payload: {"round", "candidate",
    "job", "seed", "left"}."""

    type = "generation.round.candidate_added"
    object_type = "asset"


@declare
class AssetMoved(DomainEvent):
    """An asset changed its state. payload: {"from", "to", "version"}, and "causes" where it went stale."""

    type = "generation.asset.moved"
    object_type = "asset"


@dataclass(frozen=True, kw_only=True)
class AssetsNoticed(DomainEvent):
    """Something about many assets at once. asset_ids: all of them; payload: {"count", "assets": the first 100 ids}."""

    asset_ids: tuple[int, ...] = ()


@declare
class AssetsBecameStale(AssetsNoticed):
    """Approved images rest on something that changed: an input, the guide, the checklist. object_id is the brand's."""

    type = "generation.assets.became_stale"
    object_type = "brand"
    needs_subscriber = True


@declare
class InputsMovedInReview(AssetsNoticed):
    """An input of images that are in review changed: approvals of their earlier stages count no more. object_id is the
    brand's."""

    type = "generation.assets.inputs_moved"
    object_type = "brand"
    needs_subscriber = True


@declare
class InputsReturned(AssetsNoticed):
    """The inputs of stale images are again what was approved, as after undoing an import. object_id is the brand's."""

    type = "generation.assets.inputs_returned"
    object_type = "brand"
    needs_subscriber = True


@declare
class RunFinished(DomainEvent):
    """Every job of a run has ended. payload: {"succeeded", "failed", "cancelled"}."""

    type = "generation.run.finished"
    object_type = "run"


@declare
class RoundOpened(DomainEvent):
    """The next round of an asset was asked for. payload: {"round", "job", "from_version", "controls"}."""

    type = "generation.round.opened"
    object_type = "asset"


@declare
class RunPlanned(DomainEvent):
    """A run's cells and jobs exist, held. payload: {"stage", "cells", "jobs", "cost", "campaign", "prompt_version",
    "endpoint"}."""

    type = "generation.run.planned"
    object_type = "run"


@declare
class RunReleased(DomainEvent):
    """A run's jobs were queued. payload: {"queued", "reused", "left_out", "reserved", "override_reason", "pilot"}."""

    type = "generation.run.released"
    object_type = "run"


@declare
class RunPaused(DomainEvent):
    """A run stands still. payload: {"reason", "held", "by_itself"}."""

    type = "generation.run.paused"
    object_type = "run"


@declare
class RunResumed(DomainEvent):
    """A paused run goes on. payload: {"queued"}."""

    type = "generation.run.resumed"
    object_type = "run"


@declare
class RunCancelled(DomainEvent):
    """A run was given up. payload: {"cancelled", "asked_to_stop", "freed", "superseded"}."""

    type = "generation.run.cancelled"
    object_type = "run"


@declare
class RunRetried(DomainEvent):
    """A run's failed jobs were queued again. payload: {"queued", "reserved"}."""

    type = "generation.run.retried"
    object_type = "run"


@declare
class RunPrioritised(DomainEvent):
    """A run's place among its campaign's runs changed. payload: {"from", "to"}."""

    type = "generation.run.prioritised"
    object_type = "run"


@declare
class RunScheduled(DomainEvent):
    """The clock is to release a planned run at a time, or no longer. payload: {"at", "was"}: ISO times or null."""

    type = "generation.run.scheduled"
    object_type = "run"


@declare
class RunReleaseRefused(DomainEvent):
    """The clock wanted to release a scheduled run and could not. payload: {"message"}."""

    type = "generation.run.release_refused"
    object_type = "run"


@declare
class BudgetReached(DomainEvent):
    """A campaign's spent and promised money reached 80 or 100 % of its budget. payload: {"percent", "committed",
    "budget", "run"}."""

    type = "generation.budget.reached"
    object_type = "campaign"


@declare
class StandingOrderSaved(DomainEvent):
    """A standing order was set up, changed, stopped or resumed. payload: {"name", "campaign", "prompt_version",
    "endpoint", "source": its name or "", "daily_budget", "daily_pictures", "is_enabled"}."""

    type = "generation.standing_order.saved"
    object_type = "standing_order"


@declare
class EndpointSaved(DomainEvent):
    """An endpoint was set up, changed, switched on or off, or given another secret; a shared one is in every brand's
    trail. payload: {"slug", "name", "engine", "changes": {setting: [old, new]}, "secret": "set", "replaced", "removed"
    or "", "is_enabled"}; never the secret, and of a shared endpoint's engine only which of its settings changed."""

    type = "generation.endpoint.saved"
    object_type = "endpoint"


@declare
class EndpointTriedAgain(DomainEvent):
    """A person had a resting or paused endpoint tried again. payload: {"slug", "queued": pictures that its empty
    account had held}."""

    type = "generation.endpoint.tried_again"
    object_type = "endpoint"


@declare
class ModelNoted(DomainEvent):
    """A local model was registered, or what is noted of it was changed; in every brand's trail, since any may draw with
    it. payload: {"name", "family", "revision", "changes": {column: [old, new]}, "is_usable"}; never where it lies."""

    type = "generation.model.noted"
    object_type = "model"


@declare
class ComparisonStarted(DomainEvent):
    """A contact sheet is being made, to be voted on. payload: {"name", "rows", "runs"}."""

    type = "generation.comparison.started"
    object_type = "comparison"


@declare
class ComparisonVoted(DomainEvent):
    """A person chose a row's best picture, or changed their mind. payload: {"row", "column", "instead_of"}."""

    type = "generation.comparison.voted"
    object_type = "comparison"


@declare
class ComparisonRevealed(DomainEvent):
    """A person was told which column was which in the rows they voted on. payload: {"rows"}."""

    type = "generation.comparison.revealed"
    object_type = "comparison"
