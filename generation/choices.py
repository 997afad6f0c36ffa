"""Closed lists of values used by models, forms and the API of this app, and the axes that planning itself handles."""

from django.db.models import TextChoices
from django.utils.translation import gettext_lazy as _

PHOTO_AXIS = "photo"  # chooses the reference photo by its role instead of filling a placeholder
PHOTO_MARK = "#"  # marks the id of one particular photo: "#12"
SEED_AXIS = "seed"  # sets the seed of the spec
WORDS_AXIS = "words"  # the placeholder that a free prompt fills


class Stage(TextChoices):
    SANDBOX = "sandbox", _("Sandbox")
    PILOT = "pilot", _("Pilot")
    PARTIAL = "partial", _("Partial")
    FULL = "full", _("Full")


class RunShape(TextChoices):
    MATRIX = "matrix", _("Matrix")
    LIST = "list", _("List")


class RunState(TextChoices):
    DRAFT = "draft", _("Draft")
    PLANNED = "planned", _("Planned")
    RUNNING = "running", _("Running")
    PAUSED = "paused", _("Paused")
    FINISHED = "finished", _("Finished")
    CANCELLED = "cancelled", _("Cancelled")


class JobState(TextChoices):
    QUEUED = "queued", _("Queued")
    RUNNING = "running", _("Running")
    WAITING = "waiting", _("Waiting")
    HELD = "held", _("Held")
    SUCCEEDED = "succeeded", _("Succeeded")
    FAILED = "failed", _("Failed")
    CANCELLED = "cancelled", _("Cancelled")
    QUARANTINED = "quarantined", _("Quarantined")


class HoldReason(TextChoices):
    """The reason for which a job is held. changed: its engine is no longer what the job was planned for."""

    NOT_RELEASED = "not_released", _("Not Released")
    PAUSED = "paused", _("Paused")
    QUOTA = "quota", _("Quota")
    UNCERTAIN = "uncertain", _("Uncertain")
    CHANGED = "changed", _("Changed")


class Breaker(TextChoices):
    """States of a circuit breaker. closed: calls are allowed. open: none until its time is up. half_open: one."""

    CLOSED = "closed", _("Closed")
    OPEN = "open", _("Open")
    HALF_OPEN = "half_open", _("Half Open")


class WhenUncertain(TextChoices):
    """The policy for uncertain submissions: the service may have accepted them, and there is no way to find out."""

    HOLD = "hold", _("wait for a person")
    RESUBMIT = "resubmit", _("submit it again, at the risk of paying twice")


class MoveReason(TextChoices):
    """The reasons for which a job goes to another endpoint than it was planned for."""

    OVERFLOW = "overflow", _("Overflow")
    DOWN = "down", _("Down")
    MEMORY = "memory", _("Memory")


class AssetState(TextChoices):
    MAKING = "making", _("Making")
    FAILED = "failed", _("Failed")
    IN_REVIEW = "in_review", _("In Review")
    REVISING = "revising", _("Revising")
    APPROVED = "approved", _("Approved")
    REJECTED = "rejected", _("Rejected")
    STALE = "stale", _("Stale")
    REVOKED = "revoked", _("Revoked")
    SUPERSEDED = "superseded", _("Superseded")


class VersionSource(TextChoices):
    GENERATED = "generated", _("Generated")
    REUSED = "reused", _("Reused")
    RETOUCHED = "retouched", _("Retouched")


class Outcome(TextChoices):
    PASS = "pass", _("Pass")
    FLAG = "flag", _("Flag")
    FAIL = "fail", _("Fail")


class AttemptOutcome(TextChoices):
    RUNNING = "running", _("Running")
    SUCCEEDED = "succeeded", _("Succeeded")
    FAILED = "failed", _("Failed")
    LOST = "lost", _("Lost")
    CANCELLED = "cancelled", _("Cancelled")


class LedgerKind(TextChoices):
    """uncertain: an uncertain submission, which may have been paid for; a negative amount reverses it."""

    RESERVE = "reserve", _("Reserve")
    SETTLE = "settle", _("Settle")
    UNCERTAIN = "uncertain", _("Uncertain")
    RELEASE = "release", _("Release")
