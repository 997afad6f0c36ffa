"""The brand's studio, for images from free text, without a product or a saved prompt."""

from __future__ import annotations

from django.db import models

from campaigns.models.prompts import PromptTemplate
from campaigns.models.subjects import Subject
from core.access import BrandOwned
from core.clock import MomentField
from core.models import Brand


class Studio(models.Model):
    """A brand's studio: one subject for images without a product, and one prompt whose versions are the tried texts.

    Neither is in any list. services/studios.py creates them once, when a person of the brand first uses the studio. The
    subject is retired from the start: only sandbox runs use it, and its photos are the reference images of people.
    """

    brand = models.OneToOneField(Brand, on_delete=models.PROTECT, related_name="studio")
    subject = models.OneToOneField(Subject, on_delete=models.PROTECT, related_name="studio")
    template = models.OneToOneField(PromptTemplate, on_delete=models.PROTECT, related_name="studio")
    created_at = MomentField(auto_now_add=True)

    objects = BrandOwned.as_manager()

    class Meta:
        ordering = ["brand"]

    def __str__(self) -> str:
        return f"studio of {self.brand}"
