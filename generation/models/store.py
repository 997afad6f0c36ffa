"""The model store: which local models there are, what they are, and under which terms they may be used."""

from __future__ import annotations

from django.db import models

from core.clock import MomentField
from core.models import User


class LocalModel(models.Model):
    """One folder or file of weights on the machines of the GPU lane. Registered by operators, who note its licence.

    revision: what engines call these files in a plan (weights.digest), read in no time; sha256: over all of their
    content, computed by a worker and empty until then. Endpoints name models by path; attempts record the sha256 of a
    registered one. A model that may not be used any more stays, marked so: pictures made with it are traced to it.
    """

    name = models.CharField(max_length=120, unique=True)
    path = models.CharField(max_length=500, unique=True)
    family = models.CharField(max_length=20)
    revision = models.CharField(max_length=64)
    sha256 = models.CharField(max_length=64, blank=True)
    size_bytes = models.PositiveBigIntegerField()
    licence = models.CharField(max_length=200, help_text="its name, and where its text is")
    usage_terms = models.TextField(blank=True, help_text="what people must know who pick it; shown where they do")
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
            # store.recorded: the registered model of a revision, for every finished attempt
            models.Index(fields=["revision"], name="localmodel_revision"),
        ]

    def __str__(self) -> str:
        return self.name
