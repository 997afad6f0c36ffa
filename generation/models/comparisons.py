"""Blind comparisons: people vote on images of several endpoints or prompt versions without knowing which made which."""

from __future__ import annotations

from django.db import models

from core.access import BrandOwned
from core.clock import MomentField
from core.models import Brand, User
from generation.models.runs import Run


class Comparison(models.Model):
    """A blind comparison: `row_count` rows (products or free prompts) × columns. Written once by
    services/comparisons.py; its images are try-outs in the sandbox. Row n is the cell at position n of each run."""

    brand = models.ForeignKey(Brand, on_delete=models.PROTECT, related_name="comparisons")
    name = models.CharField(max_length=160)
    row_count = models.PositiveSmallIntegerField()
    created_by = models.ForeignKey(User, on_delete=models.PROTECT, related_name="+")
    created_at = MomentField(auto_now_add=True)

    objects = BrandOwned.as_manager()

    class Meta:
        ordering = ["-id"]

    def __str__(self) -> str:
        return self.name


class ComparisonColumn(models.Model):
    """One endpoint with one prompt version, as the run that makes its images. People see columns under letters that
    differ for each row and each person."""

    # column_place_once begins with it.
    comparison = models.ForeignKey(Comparison, on_delete=models.PROTECT, related_name="columns", db_index=False)
    position = models.PositiveSmallIntegerField()
    run = models.OneToOneField(Run, on_delete=models.PROTECT, related_name="comparison_column")

    objects = BrandOwned.through("comparison__brand").as_manager()

    class Meta:
        ordering = ["comparison", "position"]
        constraints = [models.UniqueConstraint(fields=["comparison", "position"], name="column_place_once")]

    def __str__(self) -> str:
        return f"column {self.position} of comparison {self.comparison_id}"


class ComparisonVote(models.Model):
    """One person's vote for the best image of a row; no column: none is better than the others. It may change until
    `revealed_at`, when the person sees which column made which image."""

    # vote_once begins with it.
    comparison = models.ForeignKey(Comparison, on_delete=models.PROTECT, related_name="votes", db_index=False)
    row = models.PositiveSmallIntegerField()
    voter = models.ForeignKey(User, on_delete=models.PROTECT, related_name="+")
    column = models.ForeignKey(ComparisonColumn, on_delete=models.PROTECT, null=True, blank=True, related_name="votes")
    voted_at = MomentField(auto_now=True)
    revealed_at = models.DateTimeField(null=True, blank=True)

    objects = BrandOwned.through("comparison__brand").as_manager()

    class Meta:
        ordering = ["comparison", "row", "id"]
        constraints = [models.UniqueConstraint(fields=["comparison", "row", "voter"], name="vote_once")]

    def __str__(self) -> str:
        return f"vote of {self.voter_id} on row {self.row} of comparison {self.comparison_id}"
