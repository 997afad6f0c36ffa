"""Closed lists of values used by models, forms and the API of this app."""

from django.db.models import TextChoices


class Role(TextChoices):
    """The roles that a person can have in a brand; access.py says what each may do."""

    VIEWER = "viewer"
    DESIGNER = "designer"
    CAMPAIGN_MANAGER = "campaign_manager"
    REVIEWER = "reviewer"
    LEAD = "lead"
    INTEGRATOR = "integrator"
    ADMIN = "admin"


class StaleUse(TextChoices):
    """Treatment of the files of an approved image that went stale, until a person decides."""

    KEEP = "keep", "Keep published until decided"
    WITHDRAW = "withdraw", "Take back at once"


class BannedWords(TextChoices):
    """Treatment of words that the brand's guide bans."""

    WARN = "warn", "Warn in the preview of a run"
    BLOCK = "block", "Refuse the run"


class Lane(TextChoices):
    """The queues of work. Each worker process serves one or more of them."""

    GPU = "gpu"
    CLOUD = "cloud"
    CPU = "cpu"
    DELIVERY = "delivery"
    HOUSEKEEPING = "housekeeping"
