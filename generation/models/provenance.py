"""The model of files with marks of origin, as they leave Proofline."""

from __future__ import annotations

from django.db import models
from django.utils.translation import gettext_lazy as _

from core.access import BrandOwned
from core.clock import MomentField
from generation.models.assets import Rendition


class MarkedFile(models.Model):
    """A rendition's file with its marks of origin. Never changed: other marks make another file.

    A signature has a time and random numbers in it, so a file is signed once and kept.
    """

    id = models.BigAutoField(primary_key=True)
    rendition = models.ForeignKey(Rendition, on_delete=models.PROTECT, related_name="marked_files", db_index=False)
    marks = models.CharField(max_length=64, help_text=_("sha256 of what the marks say and of who signs them"))
    document_id = models.CharField(max_length=60, help_text=_("in every mark: what the file is found by"))
    sha256 = models.CharField(max_length=64)
    storage_key = models.CharField(max_length=200)
    bytes = models.BigIntegerField()
    created_at = MomentField(auto_now_add=True)

    objects = BrandOwned.through("rendition__version__asset__brand").as_manager()

    class Meta:
        ordering = ["rendition", "id"]
        constraints = [models.UniqueConstraint(fields=["rendition", "marks"], name="marked_file_once")]
        indexes = [
            models.Index(fields=["sha256"], name="marked_file_sha256"),  # the sweeper, and people with a file
            models.Index(fields=["document_id"], name="marked_file_document"),
        ]

    def __str__(self) -> str:
        return f"marked file {self.pk} of rendition {self.rendition_id}"
