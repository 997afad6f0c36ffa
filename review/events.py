"""The event types of the review app. Past tense, dotted: "review.object.happened"."""

from campaigns.events import Happening, declare


@declare
class TaskOpened(Happening):
    """An asset waits for judgement at a stage. payload: {"task", "stage", "round", "checklist_version"}."""

    type = "review.task.opened"
    object_type = "asset"


@declare
class TaskSkipped(Happening):
    """payload: {"task", "stage"}."""

    type = "review.task.skipped"
    object_type = "asset"


@declare
class TaskEscalated(Happening):
    """After three rounds the campaign manager decides how to go on. payload: {"task", "round", "to"}."""

    type = "review.task.escalated"
    object_type = "asset"


@declare
class TaskReturned(Happening):
    """The campaign manager gave an escalated task back to the reviewers. payload: {"task", "note"}."""

    type = "review.task.returned"
    object_type = "asset"


@declare
class VersionApproved(Happening):
    """payload: {"decision", "task", "stage", "version", "pinned", "closes_stage", "note"}."""

    type = "review.version.approved"
    object_type = "asset"


@declare
class VersionRejected(Happening):
    """payload: {"decision", "task", "stage", "version", "reason", "note", "pinned"}."""

    type = "review.version.rejected"
    object_type = "asset"


@declare
class RevisionRequested(Happening):
    """payload: {"decision", "task", "stage", "version", "reason", "controls", "note", "pinned"}."""

    type = "review.version.revision_requested"
    object_type = "asset"


@declare
class DecisionUndone(Happening):
    """payload: {"decision", "voids", "verdict", "note"}: `verdict` is the one taken back."""

    type = "review.decision.undone"
    object_type = "asset"


@declare
class ApprovalRevoked(Happening):
    """payload: {"decision", "voids", "version", "note"}."""

    type = "review.approval.revoked"
    object_type = "asset"


@declare
class AssetReopened(Happening):
    """A lead put a judged asset back into review. payload: {"from", "note"}."""

    type = "review.asset.reopened"
    object_type = "asset"


@declare
class AssetReleased(Happening):
    """An approval took effect: the asset may be pulled and is sent out.

    payload: {"version", "decision", "sku", "replaces": version | null, "renditions": {spec: sha256}}.
    """

    type = "review.asset.released"
    object_type = "asset"


@declare
class AssetRecalled(Happening):
    """A released asset may no longer be used. payload: {"version", "sku", "cause"}."""

    type = "review.asset.recalled"
    object_type = "asset"


@declare
class ChecklistPublished(Happening):
    """payload: {"stage", "number", "items"}."""

    type = "review.checklist.published"
    object_type = "checklist"


@declare
class ReasonSaved(Happening):
    """payload: {"code", "label", "is_active"}."""

    type = "review.reason.saved"
    object_type = "reason"


@declare
class DestinationSaved(Happening):
    """payload: {"slug", "kind", "config", "is_enabled", "secret_changed"}; never the secret."""

    type = "review.destination.saved"
    object_type = "destination"


@declare
class DestinationDisabled(Happening):
    """payload: {"slug", "reason"}."""

    type = "review.destination.disabled"
    object_type = "destination"


@declare
class DeliveryWanted(Happening):
    """payload: {"delivery", "destination", "desired", "version", "cause"}."""

    type = "review.delivery.wanted"
    object_type = "asset"


@declare
class DeliveryDone(Happening):
    """The destination now holds, or no longer holds, the asset. payload: {"delivery", "destination",
    "observed", "files"}."""

    type = "review.delivery.done"
    object_type = "asset"


@declare
class DeliveryFailed(Happening):
    """The last try was used up, or trying again cannot help. payload: {"delivery", "destination", "message",
    "attempt"}."""

    type = "review.delivery.failed"
    object_type = "asset"
