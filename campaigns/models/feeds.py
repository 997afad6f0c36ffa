"""Imports of product feeds: the import itself, its staged rows and what was wrong with them."""

from __future__ import annotations

from django.db import models
from django.db.models.functions import Now

from campaigns.access import BrandOwned
from campaigns.choices import ImportStatus
from campaigns.models.brands import Brand, User


class FeedImport(models.Model):
    """One file offered to a brand: checked, applied in full, or refused in full. Immutable afterwards."""

    brand = models.ForeignKey(Brand, on_delete=models.PROTECT, related_name="imports")
    file_name = models.CharField(max_length=300)
    file_sha256 = models.CharField(max_length=64)
    file_bytes = models.BigIntegerField()
    dialect = models.JSONField(default=dict, help_text="what was detected: format, encoding, delimiter, columns")
    status = models.CharField(max_length=10, choices=ImportStatus.choices)
    rows = models.PositiveIntegerField(default=0)
    created = models.PositiveIntegerField(default=0)
    updated = models.PositiveIntegerField(default=0)
    unchanged = models.PositiveIntegerField(default=0)
    error_count = models.PositiveIntegerField(default=0)
    issue_counts = models.JSONField(default=dict, help_text="cause -> how many, all counted, also those not stored")
    requested_by = models.ForeignKey(User, on_delete=models.PROTECT, related_name="+")
    created_at = models.DateTimeField(auto_now_add=True)

    objects = BrandOwned.as_manager()

    class Meta:
        ordering = ["-id"]

    def __str__(self) -> str:
        return f"import {self.pk} of {self.file_name}"


class ImportIssue(models.Model):
    """One thing wrong in one cell of an import, in words. `cause` groups equal mistakes ("price_not_a_number")."""

    feed_import = models.ForeignKey(FeedImport, on_delete=models.CASCADE, related_name="issues")
    row = models.PositiveIntegerField(help_text="1 is the header, as a spreadsheet counts")
    column = models.CharField(max_length=200, help_text="its heading as the file writes it")
    cell = models.CharField(max_length=12, blank=True, help_text="A14, as a spreadsheet names it")
    value = models.CharField(max_length=300)
    cause = models.CharField(max_length=60)
    message = models.CharField(max_length=500)

    objects = BrandOwned.through("feed_import__brand").as_manager()

    class Meta:
        ordering = ["feed_import", "row", "id"]

    def __str__(self) -> str:
        return f"row {self.row}, {self.column}: {self.message}"


class StagedRow(models.Model):
    """One parsed row awaiting validation and merge; unlogged, filled by COPY, emptied at the end of the import.

    A subject has `parent_key` empty; a variant names its subject there; a row of pictures alone has no `key` either.
    `staged_at` lets a later import remove what a killed one left behind.
    """

    id = models.BigAutoField(primary_key=True)
    batch = models.UUIDField()
    row = models.PositiveIntegerField()
    key = models.TextField()
    parent_key = models.TextField(blank=True)
    name = models.TextField(blank=True)
    kind = models.CharField(max_length=10)
    attributes = models.JSONField(default=dict)
    options = models.JSONField(default=dict)
    photos = models.JSONField(default=list)
    staged_at = models.DateTimeField(db_default=Now())

    class Meta:
        ordering = ["id"]
        indexes = [
            # Every statement of an import reads one batch, by key.
            models.Index(fields=["batch", "key"], name="staged_batch_key"),
        ]

    def __str__(self) -> str:
        return f"staged row {self.row}"
