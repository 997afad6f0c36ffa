"""The inputs of images, that is the feed values and the product photo that were used, and approvals that went stale
because these changed."""

from __future__ import annotations

from django.db import models

from campaigns.models import Subject
from core.access import BrandOwned
from core.clock import MomentField
from core.models import User
from generation.models.assets import Asset
from generation.models.runs import Cell


class PinnedInputs(models.Model):
    """The feed values and the product photo that one cell's images rest on. Written by planning, one row per cell;
    brought up to date by every approval, because a reviewer approves with what is known then.

    feed_values: placeholder -> value as the subject had it, {"colour": "sage"}; "" where it had none. Values of axes
    are not here: no feed changes them. photo_pk: the id of the reference photo, without a constraint because undoing
    an import deletes photos. photo_sha256, cutout_sha256: the file of the photo, and of its cut-out where it was used.
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
        verbose_name_plural = "pinned inputs"
        indexes = [
            # Which images rest on these subjects? Asked when a feed, a person or a photo changes them.
            models.Index(fields=["subject"], name="inputs_of_subject"),
        ]

    def __str__(self) -> str:
        return f"inputs of cell {self.cell_id}"


class StaleAsset(models.Model):
    """The causes for which an approved asset went stale, and whether its files are still in use. Written when it goes
    stale, removed when the decision that follows takes effect.

    causes: [{"kind": "value", "name", "from", "to", "at"} | {"kind": "photo" | "cutout", "change": "replaced" |
    "removed", "at"} | {"kind": "guide" | "checklist", "number", "name", "at"}], the oldest first.
    """

    asset = models.OneToOneField(Asset, on_delete=models.CASCADE, primary_key=True, related_name="staleness")
    causes = models.JSONField(default=list)
    is_published = models.BooleanField(default=True, help_text="its approved files stay in use until it is decided")
    began_at = MomentField(auto_now_add=True)

    objects = BrandOwned.through("asset__brand").as_manager()

    class Meta:
        ordering = ["asset"]

    def __str__(self) -> str:
        return f"asset {self.asset_id} is stale"


class StaleCandidate(models.Model):
    """An asset to be looked at because something that it may rest on changed. Written in the transaction of the change,
    removed in the one that deals with the asset; a killed process leaves it to housekeeping.

    cause: what made it stale where that is no input of its own (a guide, a checklist), else {}. batch: one change.
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
