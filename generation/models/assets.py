"""Generated images: masters (pixels), assets (deliverables) with versions, renditions (files) and findings."""

from __future__ import annotations

from django.db import models
from django.db.models import Q
from django.utils.translation import gettext_lazy as _

from campaigns.models import Campaign, OutputSpec, Subject
from core.access import BrandOwned
from core.clock import MomentField
from core.models import Brand, User
from generation.choices import AssetState, Outcome, VersionSource
from generation.models.jobs import Job
from generation.models.runs import Cell


class Master(models.Model):
    """Pixels: immutable, content-addressed, without metadata; unique per brand and fingerprint. The file under
    `storage_key` was written before this row; a file without a row is swept after an hour."""

    id = models.BigAutoField(primary_key=True)
    brand = models.ForeignKey(Brand, on_delete=models.PROTECT, related_name="+", db_index=False)
    fingerprint = models.CharField(max_length=64)
    sha256 = models.CharField(max_length=64)
    storage_key = models.CharField(max_length=200)
    image_format = models.CharField(max_length=10)
    width = models.PositiveIntegerField()
    height = models.PositiveIntegerField()
    has_alpha = models.BooleanField(default=False)
    bytes = models.BigIntegerField()
    thumbnails = models.JSONField(
        default=dict, help_text=_('{"256" | "512" | "1024": storage key}: long edge in pixels')
    )
    pdq = models.CharField(
        max_length=64, blank=True, help_text=_("256-bit PDQ hash, hex; empty when its quality is low")
    )
    pdq_quality = models.PositiveSmallIntegerField(default=0)
    colours = models.BinaryField(
        default=b"\0" * 48, help_text=_("4 × 4 cells of L, a, b: tells look-alikes of other colours")
    )
    was_rejected = models.BooleanField(default=False, help_text=_("a reviewer rejected it: never reused silently"))
    created_at = MomentField(auto_now_add=True)

    objects = BrandOwned.as_manager()

    class Meta:
        ordering = ["id"]
        constraints = [
            # Reuse looks masters up by brand and fingerprint; two workers finishing the same one meet here.
            models.UniqueConstraint(fields=["brand", "fingerprint"], name="master_fingerprint_once"),
        ]
        indexes = [
            # The sweeper asks whether a file has a row.
            models.Index(fields=["sha256"], name="master_sha256"),
        ]

    def __str__(self) -> str:
        return f"master {self.sha256[:12]}"


class Asset(models.Model):
    """The deliverable of one cell. Its pixels are in versions; `current_version` is in review or approved."""

    id = models.BigAutoField(primary_key=True)
    brand = models.ForeignKey(Brand, on_delete=models.PROTECT, related_name="assets", db_index=False)
    campaign = models.ForeignKey(Campaign, on_delete=models.PROTECT, related_name="assets", db_index=False)
    subject = models.ForeignKey(Subject, on_delete=models.PROTECT, related_name="assets", db_index=False)
    cell = models.OneToOneField(Cell, on_delete=models.PROTECT, related_name="asset")
    state = models.CharField(max_length=10, choices=AssetState.choices, default=AssetState.MAKING)
    round = models.PositiveSmallIntegerField(default=1)
    current_version = models.ForeignKey(
        "AssetVersion", on_delete=models.PROTECT, null=True, blank=True, related_name="+"
    )
    is_sandbox = models.BooleanField(default=False)
    created_at = MomentField(auto_now_add=True)
    changed_at = MomentField(auto_now=True)

    objects = BrandOwned.as_manager()

    class Meta:
        ordering = ["-id"]
        indexes = [
            # The library: a brand's assets by state, newest first, by keyset.
            models.Index(fields=["brand", "state", "-id"], name="asset_library"),
            # Coverage of a campaign and the run's funnel, and a campaign's images in the library.
            models.Index(fields=["campaign", "state", "-id"], name="asset_campaign_state"),
            # The newest images of each product that a search finds.
            models.Index(fields=["subject", "-id"], name="asset_of_subject"),
        ]

    def __str__(self) -> str:
        return f"asset {self.pk}"


class AssetVersion(models.Model):
    """One candidate of one round of an asset. Immutable. Candidates that were not picked are not current."""

    id = models.BigAutoField(primary_key=True)
    asset = models.ForeignKey(Asset, on_delete=models.PROTECT, related_name="versions", db_index=False)
    round = models.PositiveSmallIntegerField()
    candidate = models.PositiveSmallIntegerField()
    master = models.ForeignKey(Master, on_delete=models.PROTECT, related_name="versions")
    job = models.OneToOneField(Job, on_delete=models.PROTECT, null=True, blank=True, related_name="version")
    source = models.CharField(max_length=10, choices=VersionSource.choices, default=VersionSource.GENERATED)
    made_by = models.ForeignKey(User, on_delete=models.PROTECT, null=True, blank=True, related_name="+")
    worst_outcome = models.CharField(max_length=4, choices=Outcome.choices, default=Outcome.PASS)
    created_at = MomentField(auto_now_add=True)

    objects = BrandOwned.through("asset__brand").as_manager()

    class Meta:
        ordering = ["asset", "round", "candidate"]
        constraints = [models.UniqueConstraint(fields=["asset", "round", "candidate"], name="version_candidate_once")]

    def __str__(self) -> str:
        return f"asset {self.asset_id} round {self.round} candidate {self.candidate}"

    @property
    def disclaimer(self) -> str:
        """The disclaimer that must stand beside this image wherever it is shown. Lists select "job__endpoint"."""
        return (self.job.endpoint if self.job else self.asset.cell.run.endpoint).disclaimer


class Rendition(models.Model):
    """A file for one output spec, made from a version with a recipe version. It can always be made again."""

    id = models.BigAutoField(primary_key=True)
    version = models.ForeignKey(AssetVersion, on_delete=models.PROTECT, related_name="renditions")
    output_spec = models.ForeignKey(OutputSpec, on_delete=models.PROTECT, related_name="renditions")
    recipe_version = models.PositiveIntegerField()
    sha256 = models.CharField(max_length=64)
    storage_key = models.CharField(max_length=200)
    image_format = models.CharField(max_length=5)
    width = models.PositiveIntegerField()
    height = models.PositiveIntegerField()
    bytes = models.BigIntegerField()
    quality = models.PositiveSmallIntegerField(null=True)
    created_at = MomentField(auto_now_add=True)
    marked_file = models.ForeignKey(
        "generation.MarkedFile",
        on_delete=models.SET_NULL,
        null=True,
        related_name="+",
        db_index=False,  # marked files are never deleted
        help_text=_("what integrators and image feeds get: the file with the usual marks; null until it is made"),
    )

    objects = BrandOwned.through("version__asset__brand").as_manager()

    class Meta:
        ordering = ["version", "output_spec"]
        constraints = [
            models.UniqueConstraint(fields=["version", "output_spec", "recipe_version"], name="rendition_once"),
        ]
        indexes = [models.Index(fields=["sha256"], name="rendition_sha256")]  # the sweeper

    def __str__(self) -> str:
        return f"rendition {self.pk}"


class Finding(models.Model):
    """The result of one check of one version. Passes are stored too, to tell "checked" from "not checked"."""

    id = models.BigAutoField(primary_key=True)
    version = models.ForeignKey(AssetVersion, on_delete=models.CASCADE, related_name="findings")
    check_name = models.CharField(max_length=40)
    outcome = models.CharField(max_length=4, choices=Outcome.choices)
    score = models.FloatField(null=True)
    message = models.CharField(max_length=300)
    box = models.JSONField(null=True, help_text=_("[left, top, right, bottom] as shares 0–1 of the master, or null"))
    duplicate = models.ForeignKey(AssetVersion, on_delete=models.SET_NULL, null=True, related_name="+")

    objects = BrandOwned.through("version__asset__brand").as_manager()

    class Meta:
        ordering = ["version", "id"]
        constraints = [models.UniqueConstraint(fields=["version", "check_name"], name="finding_once")]
        indexes = [
            # "Only problems" in the library and on the run page.
            models.Index(fields=["check_name", "outcome"], name="finding_problem", condition=~Q(outcome="pass")),
        ]

    def __str__(self) -> str:
        return f"{self.check_name}: {self.outcome}"
