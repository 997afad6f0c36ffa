"""Closed lists of values used by models, forms and the API of this app."""

from django.db.models import TextChoices
from django.utils.translation import gettext_lazy as _


class TaskState(TextChoices):
    OPEN = "open", _("Open")
    AWAITING_VERSION = "awaiting_version", _("Awaiting Version")
    DECIDED = "decided", _("Decided")
    WITHDRAWN = "withdrawn", _("Withdrawn")


class DecisionKind(TextChoices):
    APPROVED = "approved", _("Approved")
    REJECTED = "rejected", _("Rejected")
    NEEDS_REVISION = "needs_revision", _("Needs Revision")
    UNDONE = "undone", _("Undone")  # voids an earlier decision
    REVOKED = "revoked", _("Revoked")  # takes back an approval whose consequences have begun


class ItemMode(TextChoices):
    ASK = "ask", _("Ask")
    BY_EXCEPTION = "by_exception", _("By Exception")


class DesiredState(TextChoices):
    PRESENT = "present", _("Present")
    ABSENT = "absent", _("Absent")


class ObservedState(TextChoices):
    ABSENT = "absent", _("Absent")
    SENDING = "sending", _("Sending")
    PRESENT = "present", _("Present")
    REMOVING = "removing", _("Removing")
    FAILED = "failed", _("Failed")
    UNCERTAIN = "uncertain", _("Uncertain")  # nobody knows whether the destination did what it was asked


class AbsenceCause(TextChoices):
    """Why an approved image is not to be at a destination."""

    HAND = "hand", _("By Hand")  # a person had it taken down there
    RULES = "rules", _("Rules")  # the rules of the destination do not send it
    EXPIRED = "expired", _("Expired")  # its time is over


class UpdateKind(TextChoices):
    SEND = "send", _("Send")
    RECALL = "recall", _("Recall")


class StepState(TextChoices):
    SENT = "sent", _("Sent")  # it is not known yet whether the destination made the change
    DONE = "done", _("Done")
    UNDONE = "undone", _("Undone")


class WebhookEvent(TextChoices):
    """The types of webhook messages that an integrator can choose."""

    ASSET_APPROVED = "asset.approved", _("Image approved")
    ASSET_RECALLED = "asset.recalled", _("Image recalled")
    RUN_FINISHED = "run.finished", _("Run finished")
    RUN_FAILED = "run.failed", _("Run failed")
    RUN_PAUSED = "run.paused", _("Run paused")
    IMPORT_FINISHED = "import.finished", _("Import finished")
    DELIVERY_FAILED = "delivery.failed", _("Delivery failed")


class MessageState(TextChoices):
    WAITING = "waiting", _("Waiting")  # for the first attempt or the next one
    DELIVERED = "delivered", _("Delivered")
    FAILED = "failed", _("Failed")  # given up


class ArchiveLayout(TextChoices):
    ZIP = "zip", _("ZIP")
    BAGIT = "bagit", _("BagIt")  # RFC 8493
