"""Closed lists of values used by models, forms and the API of this app."""

from django.db.models import TextChoices
from django.utils.translation import gettext_lazy as _


class Role(TextChoices):
    """The roles that a person can have in a brand; access.py says what each may do."""

    VIEWER = "viewer", _("Viewer")
    DESIGNER = "designer", _("Designer")
    CAMPAIGN_MANAGER = "campaign_manager", _("Campaign Manager")
    REVIEWER = "reviewer", _("Reviewer")
    LEAD = "lead", _("Lead")
    INTEGRATOR = "integrator", _("Integrator")
    ADMIN = "admin", _("Admin")


class StaleUse(TextChoices):
    """Treatment of the files of an approved image that went stale, until a person decides."""

    KEEP = "keep", _("Keep published until decided")
    WITHDRAW = "withdraw", _("Take back at once")


class BannedWords(TextChoices):
    """Treatment of words that the brand's guide bans."""

    WARN = "warn", _("Warn in the preview of a run")
    BLOCK = "block", _("Refuse the run")


class Lane(TextChoices):
    """The queues of work. Each worker process serves one or more of them."""

    GPU = "gpu"
    CLOUD = "cloud"
    CPU = "cpu"
    DELIVERY = "delivery"
    IO = "io"
    HOUSEKEEPING = "housekeeping"
