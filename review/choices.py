"""Closed lists of values used by models, forms and the API of this app."""

from django.db.models import TextChoices


class TaskState(TextChoices):
    OPEN = "open"
    AWAITING_VERSION = "awaiting_version"
    DECIDED = "decided"
    WITHDRAWN = "withdrawn"


class DecisionKind(TextChoices):
    APPROVED = "approved"
    REJECTED = "rejected"
    NEEDS_REVISION = "needs_revision"
    UNDONE = "undone"  # voids an earlier decision
    REVOKED = "revoked"  # takes back an approval whose consequences have begun


class ItemMode(TextChoices):
    """The way in which a checklist item is answered."""

    ASK = "ask"
    BY_EXCEPTION = "by_exception"


class DesiredState(TextChoices):
    PRESENT = "present"
    ABSENT = "absent"


class ObservedState(TextChoices):
    ABSENT = "absent"
    SENDING = "sending"
    PRESENT = "present"
    REMOVING = "removing"
    FAILED = "failed"
