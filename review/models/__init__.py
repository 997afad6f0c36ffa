"""Models of review and delivery: checklists, tasks, decisions, releases, destinations, deliveries, feeds, webhooks."""

from review.models.counts import RunTaskCount, TaskCount
from review.models.deliveries import (
    Delivery,
    DeliveryAttempt,
    DeliveryQuerySet,
    DeliveryStep,
    Destination,
    DestinationUpdate,
)
from review.models.image_feeds import ImageFeed
from review.models.released import ReleasedVersion
from review.models.reviews import (
    TASK_ORDER,
    Checklist,
    ChecklistVersion,
    Decision,
    Decisions,
    DecisionSlot,
    Reason,
    ReviewTask,
)
from review.models.webhooks import WebhookAttempt, WebhookEndpoint, WebhookMessage

__all__ = [
    "TASK_ORDER",
    "Checklist",
    "ChecklistVersion",
    "Decision",
    "DecisionSlot",
    "Decisions",
    "Delivery",
    "DeliveryAttempt",
    "DeliveryQuerySet",
    "DeliveryStep",
    "Destination",
    "DestinationUpdate",
    "ImageFeed",
    "Reason",
    "ReleasedVersion",
    "ReviewTask",
    "RunTaskCount",
    "TaskCount",
    "WebhookAttempt",
    "WebhookEndpoint",
    "WebhookMessage",
]
