"""Event types of the review app. Their names are dotted and in the past tense: "review.object.happened"."""

from core.events import DomainEvent


class TaskOpened(DomainEvent, type="review.task.opened", object_type="asset"):
    """An asset waits for a decision at a stage. payload: {"task", "stage", "round", "checklist_version"}."""


class TaskSkipped(DomainEvent, type="review.task.skipped", object_type="asset"):
    """payload: {"task", "stage"}."""


class TaskEscalated(DomainEvent, type="review.task.escalated", object_type="asset"):
    """After three rounds the campaign manager decides how to go on. payload: {"task", "round", "to"}."""


class TaskReturned(DomainEvent, type="review.task.returned", object_type="asset"):
    """The campaign manager gave an escalated task back to the reviewers. payload: {"task", "note"}."""


class VersionApproved(DomainEvent, type="review.version.approved", object_type="asset"):
    """payload: {"decision", "task", "stage", "version", "pinned", "closes_stage", "note"}."""


class VersionRejected(DomainEvent, type="review.version.rejected", object_type="asset"):
    """payload: {"decision", "task", "stage", "version", "reason", "note", "pinned"}."""


class RevisionRequested(DomainEvent, type="review.version.revision_requested", object_type="asset"):
    """payload: {"decision", "task", "stage", "version", "reason", "controls", "note", "pinned"}."""


class DecisionUndone(DomainEvent, type="review.decision.undone", object_type="asset"):
    """payload: {"decision", "voids", "kind", "note"}. `kind` is that of the decision that was undone."""


class ApprovalRevoked(DomainEvent, type="review.approval.revoked", object_type="asset"):
    """payload: {"decision", "voids", "version", "note"}."""


class AssetReopened(DomainEvent, type="review.asset.reopened"):
    """A lead put a decided asset back into review. payload: {"from", "note"}."""


class AssetReleased(DomainEvent, type="review.asset.released"):
    """An approval took effect: API clients may pull the asset, and it is delivered.

    payload: {"version", "decision", "sku", "replaces": version | null, "renditions": {spec: sha256}}. replaces: the
    version that was released before, if it was another one; a recall may have followed it.
    """


class AssetRecalled(DomainEvent, type="review.asset.recalled"):
    """A released asset may no longer be used. payload: {"version", "sku", "cause"}."""


class ChecklistPublished(DomainEvent, type="review.checklist.published"):
    """payload: {"stage", "number", "items"}."""


class ReasonSaved(DomainEvent, type="review.reason.saved"):
    """payload: {"code", "label", "is_active"}."""


class DestinationSaved(DomainEvent, type="review.destination.saved"):
    """A destination was set up or changed.

    payload: {"slug", "kind", "config", "is_enabled", "needs_release", "starts_with_campaign", "ends_with_campaign",
    "tells_prompt", "tells_prompt_writer", "rules", "secret_changed"}; never the secret."""


class DestinationDisabled(DomainEvent, type="review.destination.disabled"):
    """payload: {"slug", "reason"}."""


class DeliveryRequested(DomainEvent, type="review.delivery.wanted", object_type="asset"):
    """Something is to happen at a destination.

    payload: {"delivery", "destination", "desired", "version", "cause"}, and "alt_text" or "publish_at" if it was set.
    """


class DeliveryCompleted(DomainEvent, type="review.delivery.done", object_type="asset"):
    """The destination has the asset now, or no longer. payload: {"delivery", "destination", "observed", "files"}."""


class DeliveryFailed(DomainEvent, type="review.delivery.failed", object_type="asset"):
    """The last retry failed, or a retry cannot help. payload: {"delivery", "destination", "message", "attempt"}."""


class WebhookSaved(DomainEvent, type="review.webhook.saved"):
    """A webhook was set up or changed. payload: {"name", "url", "events", "is_enabled"}; never a secret."""


class WebhookSecretRotated(DomainEvent, type="review.webhook.secret_rotated"):
    """A webhook got a new secret. payload: {"name", "previous_until"}: until then both secrets sign."""


class WebhookSecretShown(DomainEvent, type="review.webhook.secret_shown"):
    """The secret of a webhook was shown to a person, which happens once. payload: {"name"}."""


class WebhookDisabled(DomainEvent, type="review.webhook.disabled"):
    """A webhook was disabled: its receiver asked for it, or could not be reached for days. payload: {"name",
    "reason"}."""


class WebhookReplayed(DomainEvent, type="review.webhook.replayed"):
    """Messages of a webhook were requested again. payload: {"name", "count"}, and "message" or "since"."""


class ArchiveStarted(DomainEvent, type="review.archive.started", object_type="brand"):
    """Somebody began to download approved images. payload: {"name", "layout", "specs", "images"}."""


class ImageFeedSaved(DomainEvent, type="review.image_feed.saved"):
    """An image feed was set up or changed.

    payload: {"name", "layout", "campaign", "main_spec", "additional_specs", "id_attribute", "destination",
    "takes_disclaimers", "is_enabled"}; never the key of its address."""


class ImageFeedAddressRenewed(DomainEvent, type="review.image_feed.address_renewed"):
    """An image feed got a new address; the old one ended. payload: {"name"}."""


class ImageFeedDeleted(DomainEvent, type="review.image_feed.deleted"):
    """payload: {"name", "layout"}."""
