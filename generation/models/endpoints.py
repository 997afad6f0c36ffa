"""Endpoints, which are configured engines, their state, and the registered local models."""

from __future__ import annotations

from django.db import models
from django.utils.translation import gettext_lazy as _

from core import encryption
from core.access import BrandOwned
from core.choices import Lane
from core.clock import MomentField
from core.models import Brand, User
from generation.choices import Breaker, WhenUncertain
from generation.engines import base as engines


class Endpoint(models.Model):
    """One configured engine: its plug-in, model, price and lane. Written by operators.

    config: the engine's own settings ({"model": "/models/sdxl", "dtype": "bfloat16"}); documented by each engine.
    secret: its API key, encrypted in `sealed_secret` and read by workers only. prices: money per unit that the service
    counts (generation/prices.py), in addition to the fixed price per image. Limits apply to all workers together.
    An endpoint without a brand serves all brands.
    """

    brand = models.ForeignKey(Brand, on_delete=models.PROTECT, null=True, blank=True, related_name="endpoints")
    slug = models.SlugField(unique=True)
    name = models.CharField(max_length=120)
    engine = models.CharField(max_length=40)
    config = models.JSONField(default=dict, blank=True)
    lane = models.CharField(max_length=12, choices=Lane.choices, default=Lane.GPU)
    batch_size = models.PositiveSmallIntegerField(default=4)
    price_per_image = models.DecimalField(max_digits=10, decimal_places=6, default=0)
    prices = models.JSONField(default=dict, blank=True, help_text=_('per unit, such as {"second": 0.000725}'))
    sealed_secret = models.TextField(blank=True, editable=False)
    max_concurrent = models.PositiveIntegerField(
        null=True, blank=True, help_text=_("calls or jobs that the service takes at once; empty: found out")
    )
    max_per_second = models.FloatField(null=True, blank=True, help_text=_("submissions a second; empty: found out"))
    max_per_minute = models.FloatField(null=True, blank=True, help_text=_("submissions a minute; empty: found out"))
    when_uncertain = models.CharField(
        max_length=8, choices=WhenUncertain.choices, default=WhenUncertain.HOLD,
        help_text=_("what becomes of a submission whose answer was lost, where the service cannot be asked"),
    )  # fmt: skip
    seconds_per_image = models.FloatField(
        default=1.0, help_text=_("measured mean, starts as a guess; feeds quotes and fair share")
    )
    licence_note = models.TextField(blank=True)
    disclaimer = models.CharField(
        max_length=40, blank=True,
        help_text=_('what must stand beside every image that it generates, such as "demo model"; most need nothing'),
    )  # fmt: skip
    is_enabled = models.BooleanField(default=True)

    secret = encryption.encrypted_property("sealed_secret")

    objects = BrandOwned.as_manager()

    class Meta:
        ordering = ["slug"]

    def __str__(self) -> str:
        return self.name

    @property
    def plugin(self) -> engines.EnginePlugin:
        return engines.find_declaration(self.engine)

    @property
    def most_at_once(self) -> int | None:
        """Most submissions at once: as set by its operator, else by its engine; None: the limit is learned."""
        return self.max_concurrent or self.plugin.count_calls_at_once(self.config)


class EndpointStatus(models.Model):
    """The state of an endpoint: its circuit breaker, a pause that the service asked for, and learned limits.

    One row per endpoint that was ever called, written by services/remote/pacing.py only, read by every lane. rates:
    LearntRate (rate_limits.py) under "second" and "minute".
    """

    endpoint = models.OneToOneField(Endpoint, on_delete=models.CASCADE, primary_key=True, related_name="status")
    breaker = models.CharField(max_length=9, choices=Breaker.choices, default=Breaker.CLOSED)
    failures = models.PositiveIntegerField(default=0, help_text=_("in a row"))
    trips = models.PositiveIntegerField(default=0, help_text=_("times that it opened without a success between"))
    open_until = models.DateTimeField(null=True, blank=True)
    resume_at = models.DateTimeField(null=True, blank=True, help_text=_("the service asked for no call before"))
    window = models.FloatField(null=True, blank=True, help_text=_("calls at once, found by itself"))
    window_peak = models.FloatField(null=True, blank=True, help_text=_("the window at the latest refusal"))
    window_cut_at = models.DateTimeField(null=True, blank=True)
    rates = models.JSONField(
        default=dict, blank=True, db_default={}, help_text=_("submissions a second or minute, found")
    )
    last_error = models.CharField(max_length=500, blank=True)
    last_error_kind = models.CharField(max_length=20, blank=True)
    last_error_at = models.DateTimeField(null=True, blank=True)
    last_success_at = models.DateTimeField(null=True, blank=True)
    notified_at = models.DateTimeField(null=True, blank=True, help_text=_("operators know that it makes nothing"))

    class Meta:
        ordering = ["endpoint"]

    def __str__(self) -> str:
        return f"{self.endpoint_id} {self.breaker}"


class LocalModel(models.Model):
    """One folder or file of weights on the machines of the GPU lane. Operators register it with its licence.

    revision: the name of these files in a plan (weights.digest), which is fast to compute; sha256: over all of their
    content, computed by a worker and empty until then. Endpoints name models by path; attempts record the sha256 of a
    registered model. A model that may no longer be used is kept and marked, to trace the images made with it.
    """

    name = models.CharField(max_length=120, unique=True)
    path = models.CharField(max_length=500, unique=True)
    family = models.CharField(max_length=20)
    revision = models.CharField(max_length=64)
    sha256 = models.CharField(max_length=64, blank=True)
    size_bytes = models.PositiveBigIntegerField()
    licence = models.CharField(max_length=200, help_text=_("its name, and where its text is"))
    usage_terms = models.TextField(blank=True, help_text=_("what people must know who pick it; shown where they do"))
    is_usable = models.BooleanField(default=True)
    registered_by = models.ForeignKey(User, on_delete=models.PROTECT, null=True, blank=True, related_name="+")
    registered_at = MomentField(auto_now_add=True)

    class Meta:
        ordering = ["name"]
        constraints = [
            models.CheckConstraint(
                condition=models.Q(sha256="") | models.Q(sha256__regex=r"^[0-9a-f]{64}$"), name="localmodel_sha256_hex"
            )
        ]
        indexes = [
            # Finds the registered model of a revision for every finished attempt (store.recorded).
            models.Index(fields=["revision"], name="localmodel_revision"),
        ]

    def __str__(self) -> str:
        return self.name
