"""Event types of the review app. Their names are dotted and in the past tense: "review.object.happened"."""

from core.events import DomainEvent, declare


@declare
class TaskOpened(DomainEvent):
    """An asset waits for a decision at a stage. payload: {"task", "stage", "round", "checklist_version"}."""

    type = "review.task.opened"
    object_type = "asset"


@declare
class TaskSkipped(DomainEvent):
    """payload: {"task", "stage"}."""

    type = "review.task.skipped"
    object_type = "asset"


@declare
class TaskEscalated(DomainEvent):
    """After three rounds the campaign manager decides how to go on. payload: {"task", "round", "to"}."""

    type = "review.task.escalated"
    object_type = "asset"


@declare
class TaskReturned(DomainEvent):
    """The campaign manager gave an escalated task back to the reviewers. payload: {"task", "note"}."""

    type = "review.task.returned"
    object_type = "asset"


@declare
class VersionApproved(DomainEvent):
    """payload: {"decision", "task", "stage", "version", "pinned", "closes_stage", "note"}."""

    type = "review.version.approved"
    object_type = "asset"


@declare
class VersionRejected(DomainEvent):
    """payload: {"decision", "task", "stage", "version", "reason", "note", "pinned"}."""

    type = "review.version.rejected"
    object_type = "asset"


@declare
class RevisionRequested(DomainEvent):
    """payload: {"decision", "task", "stage", "version", "reason", "controls", "note", "pinned"}."""

    type = "review.version.revision_requested"
    object_type = "asset"


@declare
class DecisionUndone(DomainEvent):
    """payload: {"decision", "voids", "kind", "note"}. `kind` is that of the decision that was undone."""

    type = "review.decision.undone"
    object_type = "asset"


@declare
class ApprovalRevoked(DomainEvent):
    """payload: {"decision", "voids", "version", "note"}."""

    type = "review.approval.revoked"
    object_type = "asset"


@declare
class AssetReopened(DomainEvent):
    """A lead put a decided asset back into review. payload: {"from", "note"}."""

    type = "review.asset.reopened"
    object_type = "asset"


@declare
class AssetReleased(DomainEvent):
    """An approval took effect: API clients may pull the asset, and it is delivered.

    payload: {"version", "decision", "sku", "replaces": version | null, "renditions": {spec: sha256}}.
    """

    type = "review.asset.released"
    object_type = "asset"


@declare
class AssetRecalled(DomainEvent):
    """A released asset may no longer be used. payload: {"version", "sku", "cause"}."""

    type = "review.asset.recalled"
    object_type = "asset"


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
class DeliveryRequested(DomainEvent):
    """payload: {"delivery", "destination", "desired", "version", "cause"}."""

    type = "review.delivery.wanted"
    object_type = "asset"


@declare
class DeliveryCompleted(DomainEvent):
    """The destination now has the asset, or no longer has it.

    payload: {"delivery", "destination", "observed", "files"}.
    """

    type = "review.delivery.done"
    object_type = "asset"


@declare
class DeliveryFailed(DomainEvent):
    """The last retry failed, or a retry cannot help.

    payload: {"delivery", "destination", "message", "attempt"}.
    """

    type = "review.delivery.failed"
    object_type = "asset"
