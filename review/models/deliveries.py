"""Models of deliveries: destinations, the desired and the observed state of each asset there, and each attempt."""

from __future__ import annotations

from django.db import models
from django.db.models import Case, Q, Value, When
from django.db.models.functions import Greatest
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from core import encryption
from core.access import BrandOwned
from core.clock import MomentField
from core.models import Brand, LeasedRow, User, is_free
from generation.models import Asset, AssetVersion
from review.choices import (
    AbsenceCause,
    DesiredState,
    ObservedState,
    StepState,
    UpdateKind,
)
from review.models.webhooks import WebhookAttempt, WebhookEndpoint, WebhookMessage  # noqa: F401


class Destination(models.Model):
    """A destination of approved assets: a folder, a bucket or a webhook. `secret` is write-only outside services."""

    brand = models.ForeignKey(Brand, on_delete=models.PROTECT, related_name="destinations")
    slug = models.SlugField()
    name = models.CharField(max_length=120)
    kind = models.CharField(max_length=40)
    config = models.JSONField(default=dict, blank=True)
    sealed_secret = models.TextField(blank=True, editable=False)
    rules = models.JSONField(
        default=list, blank=True, help_text=_("which images it gets: see review.delivery.rules; [] is every image")
    )
    needs_release = models.BooleanField(
        default=False, help_text=_("a lead releases each delivery before it is published")
    )
    starts_with_campaign = models.BooleanField(
        default=False, help_text=_("nothing is published before the first day of its campaign")
    )
    ends_with_campaign = models.BooleanField(
        default=False, help_text=_("images are taken down after the last day of their campaign")
    )
    tells_prompt = models.BooleanField(default=False, help_text=_("its files name the prompt of the image"))
    tells_prompt_writer = models.BooleanField(default=False, help_text=_("its files name who wrote the prompt"))
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

        What is absent as desired has nothing to do, unless something is to be put back in its place; what is not
        released waits for a person; what is to be published later, or has an embargo, waits until then.
        """
        is_absent = When(desired=DesiredState.ABSENT, observed=ObservedState.ABSENT, is_restoring=False, then=None)
        is_absent_or_waits = [is_absent, When(desired=DesiredState.PRESENT, is_released=False, then=None)]
        publish_at = Greatest("publish_at", "embargo_until", Value(timezone.now()))  # nulls do not count
        is_to_publish = When(desired=DesiredState.PRESENT, then=publish_at)
        due_at = Case(*is_absent_or_waits, is_to_publish, default=Value(timezone.now()))
        return self.filter(is_free()).update(lease_token=None, due_at=due_at, attempts=0, deaths=0)


class Delivery(LeasedRow):
    """The desired and the observed state of one asset at one destination. Each attempt is a DeliveryAttempt."""

    id = models.BigAutoField(primary_key=True)
    asset = models.ForeignKey(Asset, on_delete=models.PROTECT, related_name="deliveries", db_index=False)
    destination = models.ForeignKey(Destination, on_delete=models.PROTECT, related_name="deliveries")
    version = models.ForeignKey(AssetVersion, on_delete=models.PROTECT, related_name="+")
    desired = models.CharField(max_length=8, choices=DesiredState.choices, default=DesiredState.PRESENT)
    observed = models.CharField(max_length=10, choices=ObservedState.choices, default=ObservedState.ABSENT)
    wish = models.PositiveIntegerField(
        default=1, help_text=_("raised whenever desired or version changes; names the message")
    )
    files = models.JSONField(default=list, help_text=_("as delivered; see review.delivery.base.Receipt"))
    before = models.JSONField(
        null=True, blank=True, help_text=_("the destination's state before the first change there")
    )
    is_restoring = models.BooleanField(
        default=False, help_text=_("removing also puts back what the destination had before")
    )
    alt_text = models.CharField(
        max_length=512, blank=True, help_text=_("read to people who do not see the image; empty: the product’s name")
    )
    publish_at = models.DateTimeField(null=True, blank=True, help_text=_("nothing is delivered before"))
    embargo_until = models.DateTimeField(null=True, blank=True, help_text=_("its campaign starts; kept up to date"))
    expires_at = models.DateTimeField(null=True, blank=True, help_text=_("it is taken down then; kept up to date"))
    absence = models.CharField(
        max_length=8, choices=AbsenceCause.choices, blank=True, help_text=_("why an approved image is not to be there")
    )
    is_released = models.BooleanField(default=True, help_text=_("false: a lead has yet to release it for publishing"))
    verification = models.JSONField(
        default=list,
        help_text=_('[{"name", "url", "outcome", "distance", "marks"}]: what is served'),
    )
    verified_at = models.DateTimeField(null=True, blank=True)
    error = models.CharField(max_length=500, blank=True)
    needs = models.CharField(
        max_length=10, blank=True, help_text=_("what mends the error, such as a product: review.delivery.base.Need")
    )
    changed_at = MomentField(auto_now=True)

    objects = DeliveryQuerySet.as_manager()

    class Meta:
        verbose_name_plural = "deliveries"
        ordering = ["-id"]
        constraints = [models.UniqueConstraint(fields=["asset", "destination"], name="delivery_once")]
        indexes = [
            # The delivery lane's work list.
            models.Index(fields=["due_at", "id"], name="delivery_due", condition=Q(due_at__isnull=False)),
            # The next images whose time is over.
            models.Index(
                fields=["expires_at"],
                name="delivery_expires",
                condition=Q(desired=DesiredState.PRESENT, expires_at__isnull=False),
            ),
            # The home page: the newest failures.
            models.Index(
                fields=["destination", "-changed_at"],
                name="delivery_failed",
                condition=Q(observed=ObservedState.FAILED),
            ),
            # The newest files that a destination serves: review.selectors.kept_marks.
            models.Index(
                fields=["destination", "-verified_at"],
                name="delivery_verified",
                condition=Q(observed=ObservedState.PRESENT),
            ),
        ]

    def __str__(self) -> str:
        return f"asset {self.asset_id} at {self.destination_id}"


class DestinationUpdate(models.Model):
    """A request to send what is missing at a destination, or to recall what its rules no longer send.

    It is carried out in chunks; `done` counts its deliveries. There is one at a time of each kind.
    """

    id = models.BigAutoField(primary_key=True)
    destination = models.ForeignKey(Destination, on_delete=models.PROTECT, related_name="updates")
    kind = models.CharField(max_length=8, choices=UpdateKind.choices)
    requested_by = models.ForeignKey(User, on_delete=models.PROTECT, related_name="+")
    requested_at = MomentField(auto_now_add=True)
    done = models.PositiveIntegerField(default=0)
    ended_at = models.DateTimeField(null=True, blank=True)

    objects = BrandOwned.through("destination__brand").as_manager()

    class Meta:
        ordering = ["-id"]
        constraints = [
            # Also the work list of the periodic task.
            models.UniqueConstraint(
                fields=["destination", "kind"], condition=Q(ended_at__isnull=True), name="destination_update_once"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.kind} at {self.destination_id}"


class DeliveryStep(models.Model):
    """One change that a delivery made at its destination, recorded before it is sent. Never deleted.

    key: names the change; within a delivery it is made once. result: what the destination answered, such as an id.
    """

    id = models.BigAutoField(primary_key=True)
    delivery = models.ForeignKey(Delivery, on_delete=models.PROTECT, related_name="steps", db_index=False)
    key = models.CharField(max_length=200)
    state = models.CharField(max_length=6, choices=StepState.choices, default=StepState.SENT)
    result = models.JSONField(default=dict)
    sent_at = models.DateTimeField()
    ended_at = models.DateTimeField(null=True)

    objects = BrandOwned.through("delivery__destination__brand").as_manager()

    class Meta:
        ordering = ["delivery", "id"]
        constraints = [models.UniqueConstraint(fields=["delivery", "key"], name="delivery_step_once")]

    def __str__(self) -> str:
        return f"{self.key} of delivery {self.delivery_id}"


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
