"""Configured engines."""

from __future__ import annotations

from django.db import models

from campaigns.models import Brand
from generation.choices import Lane


class Endpoint(models.Model):
    """One configured engine: which plug-in, with what model, at what price, on which lane. Written by operators.

    config: the engine's own settings ({"model": "/models/sdxl", "dtype": "bfloat16"}); documented by each engine.
    Without a brand it serves all brands.
    """

    brand = models.ForeignKey(Brand, on_delete=models.PROTECT, null=True, blank=True, related_name="endpoints")
    slug = models.SlugField(unique=True)
    name = models.CharField(max_length=120)
    engine = models.CharField(max_length=40)
    config = models.JSONField(default=dict, blank=True)
    lane = models.CharField(max_length=12, choices=Lane.choices, default=Lane.GPU)
    batch_size = models.PositiveSmallIntegerField(default=4)
    price_per_image = models.DecimalField(max_digits=10, decimal_places=6, default=0)
    seconds_per_image = models.FloatField(
        default=1.0, help_text="measured mean, starts as a guess; feeds quotes and fair share"
    )
    licence_note = models.TextField(blank=True)
    caution = models.CharField(
        max_length=40,
        blank=True,
        help_text='what must stand beside every picture that it generates, such as "demo model"; most need nothing',
    )
    is_enabled = models.BooleanField(default=True)

    class Meta:
        ordering = ["slug"]

    def __str__(self) -> str:
        return self.name
