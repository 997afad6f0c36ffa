"""Closed lists of values used by models, forms and the API of this app."""

from django.db.models import TextChoices


class Lane(TextChoices):
    GPU = "gpu"
    CLOUD = "cloud"
    CPU = "cpu"
    DELIVERY = "delivery"
    HOUSEKEEPING = "housekeeping"


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
    """Why a job waits without being queued."""

    NOT_RELEASED = "not_released"
    PAUSED = "paused"
    QUOTA = "quota"


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
    """What a check says."""

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
    RELEASE = "release"
