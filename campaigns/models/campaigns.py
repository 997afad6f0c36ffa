"""The brief, its images, and the output specs of its channels."""

from __future__ import annotations

from math import gcd

from django.db import models
from django.utils.translation import gettext_lazy as _

from campaigns import visible_labels
from campaigns.choices import ImageFormat, LabelCorner
from campaigns.models.subjects import Subject
from campaigns.visible_labels import Label
from core.access import BrandOwned
from core.clock import MomentField
from core.models import Brand, User


class Campaign(models.Model):
    """The brief: purpose, audience, channel, dates, budget, subjects, review owner."""

    brand = models.ForeignKey(Brand, on_delete=models.PROTECT, related_name="campaigns")
    slug = models.SlugField()
    name = models.CharField(max_length=160)
    purpose = models.TextField(blank=True)
    audience = models.TextField(blank=True)
    channel = models.CharField(max_length=80, blank=True)
    starts_on = models.DateField(null=True, blank=True)
    ends_on = models.DateField(null=True, blank=True)
    budget = models.DecimalField(
        max_digits=12, decimal_places=2, null=True, blank=True, help_text=_("in the brand's currency")
    )
    patience_seconds = models.PositiveIntegerField(
        default=3600, help_text=_("seconds to wait before another endpoint is used")
    )
    pilot_decisions = models.PositiveIntegerField(default=10, help_text=_("decisions a pilot needs before a full run"))
    pilot_approval_percent = models.PositiveIntegerField(default=80)
    owner = models.ForeignKey(User, on_delete=models.PROTECT, related_name="+")
    review_owner = models.ForeignKey(User, on_delete=models.PROTECT, related_name="+", null=True, blank=True)
    subjects = models.ManyToManyField(Subject, related_name="campaigns", blank=True)
    is_example_history = models.BooleanField(
        default=False, help_text=_("made by the demo as if weeks ago; pages say so")
    )
    is_sandbox = models.BooleanField(
        default=False, help_text=_("the brand's own place for try-outs of prompts; nothing of it goes to review")
    )
    created_at = MomentField(auto_now_add=True)
    updated_at = MomentField(auto_now=True)

    objects = BrandOwned.as_manager()

    class Meta:
        ordering = ["-created_at", "-id"]
        constraints = [
            models.UniqueConstraint(fields=["brand", "slug"], name="campaign_slug_once"),
            models.UniqueConstraint(
                fields=["brand"], condition=models.Q(is_sandbox=True), name="campaign_sandbox_once"
            ),
        ]

    def __str__(self) -> str:
        return self.name


class BriefImage(models.Model):
    """An example image of the brief. Added and removed by people; its file is shared."""

    campaign = models.ForeignKey(Campaign, on_delete=models.CASCADE, related_name="images")
    caption = models.CharField(max_length=300, blank=True)
    position = models.PositiveIntegerField(default=1)
    sha256 = models.CharField(max_length=64)
    storage_key = models.CharField(max_length=200)
    width = models.PositiveIntegerField()
    height = models.PositiveIntegerField()
    created_at = MomentField(auto_now_add=True)

    objects = BrandOwned.through("campaign__brand").as_manager()

    class Meta:
        ordering = ["campaign", "position", "id"]

    def __str__(self) -> str:
        return f"image {self.position} of {self.campaign_id}"


class OutputSpec(models.Model):
    """The requirements of a channel: size, format, byte limit, background, name. Specs of equal aspect share a cell.

    label_text: words that are drawn into the image, "" for none; see campaigns.visible_labels.
    """

    campaign = models.ForeignKey(Campaign, on_delete=models.CASCADE, related_name="output_specs")
    slug = models.SlugField()
    asset_type = models.CharField(max_length=40, default="packshot")
    width = models.PositiveIntegerField()
    height = models.PositiveIntegerField()
    image_format = models.CharField(max_length=5, choices=ImageFormat.choices, default=ImageFormat.JPEG)
    max_bytes = models.PositiveIntegerField(null=True, blank=True)
    background = models.CharField(max_length=9, blank=True, help_text=_("hex colour behind transparent pixels"))
    name_pattern = models.CharField(max_length=200, default="{brand}_{sku}_{asset_type}_{spec}_{date}_{variation}")
    label_text = models.CharField(max_length=visible_labels.MAX_LENGTH, blank=True, help_text=_("drawn into the image"))
    label_corner = models.CharField(max_length=12, choices=LabelCorner.choices, default=LabelCorner.BOTTOM_RIGHT)
    label_percent = models.PositiveSmallIntegerField(
        default=visible_labels.USUAL_PERCENT, help_text=_("height of the label, in percent of the shorter side")
    )

    objects = BrandOwned.through("campaign__brand").as_manager()

    class Meta:
        ordering = ["campaign", "id"]
        constraints = [
            models.UniqueConstraint(fields=["campaign", "slug"], name="spec_slug_once"),
            models.CheckConstraint(
                condition=models.Q(width__gte=16, width__lte=8192, height__gte=16, height__lte=8192),
                name="spec_size_sane",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.slug} {self.width}×{self.height} {self.image_format}"

    @property
    def label(self) -> Label | None:
        return Label(self.label_text, self.label_corner, self.label_percent) if self.label_text else None

    @property
    def aspect(self) -> str:
        """Return the aspect in lowest terms, such as "4:5"; specs of equal aspect share one generation."""
        divisor = gcd(self.width, self.height)
        return f"{self.width // divisor}:{self.height // divisor}"
