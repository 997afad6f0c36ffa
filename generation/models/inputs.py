"""The inputs of images (the feed values and the product photo used), and approvals that became stale because an input
changed."""

from __future__ import annotations

from django.db import models
from django.utils.translation import gettext_lazy as _

from campaigns.models import Subject
from core.access import BrandOwned
from core.clock import MomentField
from core.models import User
from generation.models.assets import Asset
from generation.models.runs import Cell


class PinnedInputs(models.Model):
    """The feed values and the product photo that the images of one cell depend on. Planning writes one row per cell;
    every approval updates it, because a reviewer approves with the values of that time.

    feed_values: placeholder -> value of the subject, {"colour": "sage"}; "" if it had none. Values of axes are not
    included, because no feed changes them. photo_pk: the id of the product photo, without a constraint because undoing
    an import deletes photos. photo_sha256, cutout_sha256: the file of the photo, and of its cut-out if it was used.
    """

    cell = models.OneToOneField(Cell, on_delete=models.CASCADE, primary_key=True, related_name="inputs")
    subject = models.ForeignKey(Subject, on_delete=models.PROTECT, related_name="+", db_index=False)
    feed_values = models.JSONField(default=dict)
    photo_pk = models.BigIntegerField(null=True)
    photo_sha256 = models.CharField(max_length=64, blank=True)
    cutout_sha256 = models.CharField(max_length=64, blank=True)

    objects = BrandOwned.through("subject__brand").as_manager()

    class Meta:
        ordering = ["cell"]
        verbose_name_plural = _("pinned inputs")
        indexes = [
            # Finds the images of subjects that a feed, a person or a photo changed.
            models.Index(fields=["subject"], name="inputs_of_subject"),
        ]

    def __str__(self) -> str:
        return f"inputs of cell {self.cell_id}"


class StaleAsset(models.Model):
    """The causes for which an approved asset became stale, and whether its files are still in use. Written when it
    becomes stale, removed when the next decision takes effect.

    causes: [{"kind": "value", "name", "from", "to", "at"} | {"kind": "photo" | "cutout", "change": "replaced" |
    "removed", "at"} | {"kind": "guide" | "checklist", "number", "name", "at"}], the oldest first.
    """

    asset = models.OneToOneField(Asset, on_delete=models.CASCADE, primary_key=True, related_name="staleness")
    causes = models.JSONField(default=list)
    is_published = models.BooleanField(default=True, help_text=_("its approved files stay in use until it is decided"))
    began_at = MomentField(auto_now_add=True)

    objects = BrandOwned.through("asset__brand").as_manager()

    class Meta:
        ordering = ["asset"]

    def __str__(self) -> str:
        return f"asset {self.asset_id} is stale"


class StaleCandidate(models.Model):
    """An asset to be checked because something that it may depend on changed. Written in the transaction of the change,
    removed in the one that handles the asset; if that process is killed, a periodic task continues.

    cause: the change, if it is no input of the asset (a guide, a checklist), else {}. batch: one change.
    """

    id = models.BigAutoField(primary_key=True)
    batch = models.UUIDField()
    asset = models.ForeignKey(Asset, on_delete=models.CASCADE, related_name="+", db_index=False)
    cause = models.JSONField(default=dict)
    caused_by = models.ForeignKey(User, on_delete=models.SET_NULL, null=True, related_name="+", db_index=False)
    created_at = MomentField(auto_now_add=True)

    class Meta:
        ordering = ["id"]
        indexes = [
            # The next assets of one change, in the order in which they are locked.
            models.Index(fields=["batch", "asset"], name="stale_candidate_next"),
        ]

    def __str__(self) -> str:
        return f"asset {self.asset_id} is to be looked at"
