"""The brand's studio, for images of free words without a product or a prompt of the lists."""

from __future__ import annotations

from django.db import models

from campaigns.models.prompts import PromptTemplate
from campaigns.models.subjects import Subject
from core.access import BrandOwned
from core.clock import MomentField
from core.models.brands import Brand


class Studio(models.Model):
    """A brand's place for free words: one subject that pictures without a product are about, and one prompt whose
    versions are the words that were tried. Both stay out of every list.

    Written once by services/studios.py, when somebody of the brand first tries free words. The subject is retired from
    the start: only runs of the sandbox find it, and its photos are the reference pictures that people put there.
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
