"""Destinations of approved assets, and the deliveries to them."""

from __future__ import annotations

from django.db import models
from django.db.models import Case, Q, Value, When
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from core import encryption
from core.access import BrandOwned
from core.clock import MomentField
from core.models import Brand
from core.models.leases import LeasedRow, is_free
from generation.models import Asset, AssetVersion
from review.choices import DesiredState, ObservedState


class Destination(models.Model):
    """A destination of approved assets: a folder, a bucket or a webhook. `secret` is write-only outside services."""

    brand = models.ForeignKey(Brand, on_delete=models.PROTECT, related_name="destinations")
    slug = models.SlugField()
    name = models.CharField(max_length=120)
    kind = models.CharField(max_length=40)
    config = models.JSONField(default=dict, blank=True)
    sealed_secret = models.TextField(blank=True, editable=False)
    is_enabled = models.BooleanField(default=True)
    disabled_reason = models.CharField(max_length=200, blank=True)

    secret = encryption.encrypted_property("sealed_secret")
    objects = BrandOwned.as_manager()

    class Meta:
        ordering = ["brand", "slug"]
        constraints = [models.UniqueConstraint(fields=["brand", "slug"], name="destination_slug_once")]

    def __str__(self) -> str:
        return self.name


class DeliveryQuerySet(BrandOwned):
    brand_path = "destination__brand"

    def make_due(self) -> int:
        """Make the deliveries due now and start counting again; return how many. Running attempts are left alone.

        What is absent as desired has nothing to do.
        """
        is_absent = When(desired=DesiredState.ABSENT, observed=ObservedState.ABSENT, then=None)
        due_at = Case(is_absent, default=Value(timezone.now()))
        return self.filter(is_free()).update(lease_token=None, due_at=due_at, attempts=0, deaths=0)


class Delivery(LeasedRow):
    """The desired and the observed state of one asset at one destination. Each attempt is a DeliveryAttempt."""

    id = models.BigAutoField(primary_key=True)
    asset = models.ForeignKey(Asset, on_delete=models.PROTECT, related_name="deliveries", db_index=False)
    destination = models.ForeignKey(Destination, on_delete=models.PROTECT, related_name="deliveries")
    version = models.ForeignKey(AssetVersion, on_delete=models.PROTECT, related_name="+")
    desired = models.CharField(max_length=8, choices=DesiredState.choices, default=DesiredState.PRESENT)
    observed = models.CharField(max_length=8, choices=ObservedState.choices, default=ObservedState.ABSENT)
    wish = models.PositiveIntegerField(
        default=1, help_text=_("raised whenever desired or version changes; names the message")
    )
    files = models.JSONField(default=list, help_text=_('[{"spec", "name", "sha256"}] as delivered'))
    error = models.CharField(max_length=500, blank=True)
    changed_at = MomentField(auto_now=True)

    objects = DeliveryQuerySet.as_manager()

    class Meta:
        verbose_name_plural = "deliveries"
        ordering = ["-id"]
        constraints = [models.UniqueConstraint(fields=["asset", "destination"], name="delivery_once")]
        indexes = [
            # The delivery lane's work list.
            models.Index(fields=["due_at"], name="delivery_due", condition=Q(due_at__isnull=False)),
        ]

    def __str__(self) -> str:
        return f"asset {self.asset_id} at {self.destination_id}"


class DeliveryAttempt(models.Model):
    """One attempt to deliver or remove an asset. Never deleted."""

    id = models.BigAutoField(primary_key=True)
    delivery = models.ForeignKey(Delivery, on_delete=models.CASCADE, related_name="attempt_rows")
    number = models.PositiveSmallIntegerField()
    started_at = models.DateTimeField()
    ended_at = models.DateTimeField(null=True)
    is_success = models.BooleanField(default=False)
    status_code = models.PositiveSmallIntegerField(null=True)
    message = models.TextField(blank=True)

    objects = BrandOwned.through("delivery__destination__brand").as_manager()

    class Meta:
        ordering = ["delivery", "number"]
        constraints = [models.UniqueConstraint(fields=["delivery", "number"], name="delivery_attempt_once")]

    def __str__(self) -> str:
        return f"attempt {self.number} of delivery {self.delivery_id}"
