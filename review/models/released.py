"""The model of released versions, whose files are marked before integrators ask for them."""

from __future__ import annotations

from django.db import models
from django.db.models import Q
from django.utils.translation import gettext_lazy as _

from core.access import BrandOwned
from core.models import LeasedRow
from generation.models import AssetVersion


class ReleasedVersion(LeasedRow):
    """A version of which an approval took effect. The leased work is to put the usual marks into its files.

    Written by services/released_files.py. A release removes the row of an earlier one, in its transaction: a version
    without a row is one whose work nobody has requested. What may be used now is decided by the approvals alone.
    """

    version = models.OneToOneField(
        AssetVersion, on_delete=models.PROTECT, primary_key=True, related_name="released_version"
    )
    marks_setup = models.CharField(
        max_length=64, help_text=_("sha256 of the settings of the marks for which the work was last requested")
    )
    error = models.CharField(max_length=500, blank=True)

    objects = BrandOwned.through("version__asset__brand").as_manager()

    class Meta:
        ordering = ["version"]
        indexes = [
            # The next versions to mark.
            models.Index(fields=["due_at", "version"], name="released_due", condition=Q(due_at__isnull=False)),
            # Versions whose files were marked with other settings.
            models.Index(fields=["marks_setup"], name="released_setup", condition=Q(due_at__isnull=True)),
        ]

    def __str__(self) -> str:
        return f"released version {self.pk}"
