"""A brand's guide: palette, wording, thresholds, and example images."""

from __future__ import annotations

from django.db import models
from django.utils.translation import gettext_lazy as _

from campaigns.choices import GuideStatus, ImageUse
from core.access import BrandOwned
from core.clock import MomentField
from core.models import Brand, User


class GuideVersion(models.Model):
    """One numbered version of a brand's guide. Immutable once published; the highest published number is used.

    palette and backdrops: [{"name": "Clay", "hex": "#b5651d"}]; wording lists: plain strings, matched as whole words.
    backdrop and light: the defaults of engines if a prompt has none. fill_ratio and baseline: shares of the image's
    height. thresholds: check name -> {limit name: number}, {"sharpness": {"least": 0.3}}.
    """

    brand = models.ForeignKey(Brand, on_delete=models.PROTECT, related_name="guide_versions")
    number = models.PositiveIntegerField()
    status = models.CharField(max_length=10, choices=GuideStatus.choices, default=GuideStatus.DRAFT)
    palette = models.JSONField(default=list, blank=True)
    backdrops = models.JSONField(default=list, blank=True)
    required_wording = models.JSONField(default=list, blank=True)
    approved_wording = models.JSONField(default=list, blank=True)
    banned_wording = models.JSONField(default=list, blank=True)
    backdrop = models.CharField(max_length=60, blank=True)
    light = models.CharField(max_length=20, blank=True)
    fill_ratio = models.FloatField(default=0.82)
    baseline = models.FloatField(default=0.9)
    thresholds = models.JSONField(default=dict, blank=True)
    note = models.TextField(blank=True, help_text=_("what changed and why, for the people who review by it"))
    created_by = models.ForeignKey(User, on_delete=models.PROTECT, null=True, related_name="+")
    created_at = MomentField(auto_now_add=True)
    published_by = models.ForeignKey(User, on_delete=models.PROTECT, null=True, blank=True, related_name="+")
    published_at = models.DateTimeField(null=True, blank=True)

    objects = BrandOwned.as_manager()

    class Meta:
        ordering = ["brand", "-number"]
        constraints = [models.UniqueConstraint(fields=["brand", "number"], name="guide_number_once")]

    def __str__(self) -> str:
        return f"{self.brand} guide v{self.number}"


class GuideImage(models.Model):
    """A logo or example image (do, don't) of one guide version; immutable with it. The next draft shares its file."""

    guide = models.ForeignKey(GuideVersion, on_delete=models.CASCADE, related_name="images")
    use = models.CharField(max_length=10, choices=ImageUse.choices)
    caption = models.CharField(max_length=300, blank=True)
    position = models.PositiveIntegerField(default=1)
    sha256 = models.CharField(max_length=64)
    storage_key = models.CharField(max_length=200)
    width = models.PositiveIntegerField()
    height = models.PositiveIntegerField()

    objects = BrandOwned.through("guide__brand").as_manager()

    class Meta:
        ordering = ["guide", "use", "position", "id"]

    def __str__(self) -> str:
        return f"{self.use} image of {self.guide_id}"
