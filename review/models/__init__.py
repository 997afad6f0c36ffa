"""Models of review and delivery: checklists, tasks, decisions, destinations, deliveries."""

from review.models.checklists import Checklist, ChecklistVersion, Reason
from review.models.deliveries import Delivery, DeliveryAttempt, DeliveryStep, Destination
from review.models.tasks import Decision, DecisionSlot, ReviewTask

__all__ = [
    "Checklist",
    "ChecklistVersion",
    "Decision",
    "DecisionSlot",
    "Delivery",
    "DeliveryAttempt",
    "DeliveryStep",
    "Destination",
    "Reason",
    "ReviewTask",
]
