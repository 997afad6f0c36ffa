"""The registered local models with their licences and terms of use."""

from __future__ import annotations

from django.db import models
from django.utils.translation import gettext_lazy as _

from core.clock import MomentField
from core.models import User


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
