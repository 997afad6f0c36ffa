"""The numbers of open review tasks, kept by triggers."""

from __future__ import annotations

from django.contrib.postgres.fields import ArrayField
from django.db import models

from core.counts import Count, Counts
from core.models import Brand
from generation.models import Run


class TaskCount(Count):
    """The number of open tasks with these keys. due_hour: whole hours since 1970 of the due time; two billion
    for tasks without one, which are never overdue.
    """

    brand = models.ForeignKey(Brand, on_delete=models.CASCADE, related_name="+", db_constraint=False)
    stage = models.SlugField(db_index=False)
    deciders = ArrayField(models.BigIntegerField())
    due_hour = models.IntegerField()

    keys = ("brand_id", "stage", "deciders", "due_hour")
    counted = ("review_reviewtask",)
    counted_by = """
        SELECT brand_id, stage, deciders,
               coalesce(floor(extract(epoch FROM due_at) / 3600)::int, 2000000000) AS due_hour, count(*) AS number
        FROM review_reviewtask WHERE state = 'open' GROUP BY 1, 2, 3, 4
    """
    objects = Counts.as_manager()

    class Meta:
        ordering = ["id"]

    def __str__(self) -> str:
        return f"{self.number} open tasks of {self.stage}"


class RunTaskCount(Count):
    """The number of open tasks of a run with these keys. is_again: not of the first round."""

    brand = models.ForeignKey(Brand, on_delete=models.CASCADE, related_name="+", db_constraint=False)
    run = models.ForeignKey(Run, on_delete=models.CASCADE, related_name="+", db_constraint=False)
    stage = models.SlugField(db_index=False)
    deciders = ArrayField(models.BigIntegerField())
    has_problem = models.BooleanField()
    is_again = models.BooleanField()

    keys = ("brand_id", "run_id", "stage", "deciders", "has_problem", "is_again")
    counted = ("review_reviewtask",)
    counted_by = """
        SELECT brand_id, run_id, stage, deciders, has_problem, round > 1 AS is_again, count(*) AS number
        FROM review_reviewtask WHERE state = 'open' GROUP BY 1, 2, 3, 4, 5, 6
    """
    objects = Counts.as_manager()

    class Meta:
        ordering = ["id"]

    def __str__(self) -> str:
        return f"{self.number} open tasks of run {self.run_id}"
