"""Closed lists of values used by models, forms and the API of this app."""

from django.db.models import TextChoices


class Stage(TextChoices):
    SANDBOX = "sandbox"
    PILOT = "pilot"
    PARTIAL = "partial"
    FULL = "full"


class RunShape(TextChoices):
    MATRIX = "matrix"
    LIST = "list"


class RunState(TextChoices):
    DRAFT = "draft"
    PLANNED = "planned"
    RUNNING = "running"
    PAUSED = "paused"
    FINISHED = "finished"
    CANCELLED = "cancelled"


class JobState(TextChoices):
    QUEUED = "queued"
    RUNNING = "running"
    WAITING = "waiting"
    HELD = "held"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"
    QUARANTINED = "quarantined"


class HoldReason(TextChoices):
    """The reason for which a job is held. changed: its engine is no longer what the job was planned for."""

    NOT_RELEASED = "not_released"
    PAUSED = "paused"
    QUOTA = "quota"
    UNCERTAIN = "uncertain"
    CHANGED = "changed"


class Breaker(TextChoices):
    """States of a circuit breaker. closed: calls are allowed. open: none until its time is up. half_open: one."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"


class WhenUncertain(TextChoices):
    """The policy for uncertain submissions: the service may have accepted them, and there is no way to find out."""

    HOLD = "hold", "wait for a person"
    RESUBMIT = "resubmit", "submit it again, at the risk of paying twice"


class MoveReason(TextChoices):
    """The reasons for which a job goes to another endpoint than it was planned for."""

    OVERFLOW = "overflow"
    DOWN = "down"
    MEMORY = "memory"


class AssetState(TextChoices):
    MAKING = "making"
    FAILED = "failed"
    IN_REVIEW = "in_review"
    REVISING = "revising"
    APPROVED = "approved"
    REJECTED = "rejected"
    STALE = "stale"
    REVOKED = "revoked"
    SUPERSEDED = "superseded"


class VersionSource(TextChoices):
    GENERATED = "generated"
    REUSED = "reused"
    RETOUCHED = "retouched"


class Outcome(TextChoices):
    """The outcomes of a check."""

    PASS = "pass"  # noqa: S105 - an outcome, not a password
    FLAG = "flag"
    FAIL = "fail"


class AttemptOutcome(TextChoices):
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    LOST = "lost"
    CANCELLED = "cancelled"


class LedgerKind(TextChoices):
    RESERVE = "reserve"
    SETTLE = "settle"
    UNCERTAIN = "uncertain"  # an uncertain submission, which may have been paid for; a negative amount reverses it
    RELEASE = "release"
