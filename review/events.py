"""Event types of the review app. Their names are dotted and in the past tense: "review.object.happened"."""

from core.events import DomainEvent, declare


class AssetEvent(DomainEvent):
    object_type = "asset"


@declare
class TaskOpened(AssetEvent):
    """An asset waits for a decision at a stage. payload: {"task", "stage", "round", "checklist_version"}."""

    type = "review.task.opened"


@declare
class TaskSkipped(AssetEvent):
    """payload: {"task", "stage"}."""

    type = "review.task.skipped"


@declare
class TaskEscalated(AssetEvent):
    """After three rounds the campaign manager decides how to go on. payload: {"task", "round", "to"}."""

    type = "review.task.escalated"


@declare
class TaskReturned(AssetEvent):
    """The campaign manager gave an escalated task back to the reviewers. payload: {"task", "note"}."""

    type = "review.task.returned"


@declare
class VersionApproved(AssetEvent):
    """payload: {"decision", "task", "stage", "version", "pinned", "closes_stage", "note"}."""

    type = "review.version.approved"


@declare
class VersionRejected(AssetEvent):
    """payload: {"decision", "task", "stage", "version", "reason", "note", "pinned"}."""

    type = "review.version.rejected"


@declare
class RevisionRequested(AssetEvent):
    """payload: {"decision", "task", "stage", "version", "reason", "controls", "note", "pinned"}."""

    type = "review.version.revision_requested"


@declare
class DecisionUndone(AssetEvent):
    """payload: {"decision", "voids", "kind", "note"}. `kind` is that of the decision that was undone."""

    type = "review.decision.undone"


@declare
class ApprovalRevoked(AssetEvent):
    """payload: {"decision", "voids", "version", "note"}."""

    type = "review.approval.revoked"


@declare
class AssetReopened(AssetEvent):
    """A lead put a decided asset back into review. payload: {"from", "note"}."""

    type = "review.asset.reopened"


@declare
class AssetReleased(AssetEvent):
    """An approval took effect: API clients may pull the asset, and it is delivered.

    payload: {"version", "decision", "sku", "replaces": version | null, "renditions": {spec: sha256}}.
    """

    type = "review.asset.released"


@declare
class AssetRecalled(AssetEvent):
    """A released asset may no longer be used. payload: {"version", "sku", "cause"}."""

    type = "review.asset.recalled"


@declare
class ChecklistPublished(DomainEvent):
    """payload: {"stage", "number", "items"}."""

    type = "review.checklist.published"
    object_type = "checklist"


@declare
class ReasonSaved(DomainEvent):
    """payload: {"code", "label", "is_active"}."""

    type = "review.reason.saved"
    object_type = "reason"


@declare
class DestinationSaved(DomainEvent):
    """payload: {"slug", "kind", "config", "is_enabled", "secret_changed"}; never the secret."""

    type = "review.destination.saved"
    object_type = "destination"


@declare
class DestinationDisabled(DomainEvent):
    """payload: {"slug", "reason"}."""

    type = "review.destination.disabled"
    object_type = "destination"


@declare
class DeliveryRequested(AssetEvent):
    """payload: {"delivery", "destination", "desired", "version", "cause"}."""

    type = "review.delivery.wanted"


@declare
class DeliveryCompleted(AssetEvent):
    """The destination has the asset now, or no longer. payload: {"delivery", "destination", "observed", "files"}."""

    type = "review.delivery.done"


@declare
class DeliveryFailed(AssetEvent):
    """The last retry failed, or a retry cannot help. payload: {"delivery", "destination", "message", "attempt"}."""

    type = "review.delivery.failed"
