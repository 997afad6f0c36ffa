"""Runs with their cells (the requested images, before anything is made), and scheduled runs."""

from __future__ import annotations

from django.db import models
from django.utils.translation import gettext_lazy as _

from campaigns.models import Campaign, FeedSource, GuideVersion, PromptVersion, Subject
from core.access import BrandOwned
from core.clock import MomentField
from core.models import User
from generation.choices import RunShape, RunState, Stage
from generation.models.endpoints import Endpoint


class Run(models.Model):
    """One batch of a campaign at a stage. Planned set-based, released once, changed only by services/runs.py.
    definition: the request, {"subjects": [ids] | "all", "axes": {...}} for a matrix, {"rows": [...]} for a list."""

    campaign = models.ForeignKey(Campaign, on_delete=models.PROTECT, related_name="runs")
    prompt_version = models.ForeignKey(PromptVersion, on_delete=models.PROTECT, related_name="runs")
    endpoint = models.ForeignKey(Endpoint, on_delete=models.PROTECT, related_name="runs")
    alternates = models.ManyToManyField(
        Endpoint, related_name="+", blank=True, help_text=_("where its jobs may go when the endpoint is slow or down")
    )
    guide_version = models.ForeignKey(
        GuideVersion, on_delete=models.PROTECT, null=True, blank=True, related_name="runs",
        help_text=_("the brand guide that counted when the run was planned: its limits judge, the sidebar shows it"),
    )  # fmt: skip
    name = models.CharField(max_length=160)
    stage = models.CharField(max_length=8, choices=Stage.choices)
    shape = models.CharField(max_length=6, choices=RunShape.choices, default=RunShape.MATRIX)
    definition = models.JSONField(default=dict)
    state = models.CharField(max_length=10, choices=RunState.choices, default=RunState.DRAFT)
    pause_reason = models.CharField(max_length=300, blank=True)
    priority = models.SmallIntegerField(default=0)
    cell_count = models.PositiveIntegerField(default=0)
    job_count = models.PositiveIntegerField(default=0)
    reused_count = models.PositiveIntegerField(default=0)
    left_out = models.JSONField(
        default=list, blank=True,
        help_text=_("images that were asked for and cannot be made, by cause: services/planning/counting.py"),
    )  # fmt: skip
    quoted_cost = models.DecimalField(max_digits=12, decimal_places=4, default=0)
    override_reason = models.TextField(blank=True, help_text=_("why a lead released a full run before its pilot"))
    job_template = models.SlugField(blank=True, help_text=_("the job template that it was planned from"))
    cloned_from = models.ForeignKey("self", on_delete=models.SET_NULL, null=True, blank=True, related_name="+")
    scheduled_run = models.ForeignKey(
        "ScheduledRun", on_delete=models.PROTECT, null=True, blank=True, related_name="runs"
    )
    release_at = models.DateTimeField(null=True, blank=True, help_text=_("a planned run is released then by the clock"))
    requested_by = models.ForeignKey(User, on_delete=models.PROTECT, related_name="+")
    created_at = MomentField(auto_now_add=True)
    released_at = models.DateTimeField(null=True, blank=True)
    watched_from = models.DateTimeField(
        null=True, blank=True, help_text=_("release or last resume: older outputs do not pause the run again")
    )
    finished_at = models.DateTimeField(null=True, blank=True)

    objects = BrandOwned.through("campaign__brand").as_manager()

    class Meta:
        ordering = ["-id"]
        indexes = [
            # The campaign page's runs, newest first.
            models.Index(fields=["campaign", "-id"], name="run_of_campaign"),
            # A periodic task finds the runs to release now.
            models.Index(fields=["release_at"], name="run_scheduled", condition=models.Q(state="planned")),
        ]

    def __str__(self) -> str:
        return self.name


class Cell(models.Model):
    """One subject × axis values × aspect group of a run: one future deliverable. Inserted by planning, never changed.
    `values_key` is the canonical JSON of `axis_values`, so that the database can enforce uniqueness."""

    run = models.ForeignKey(Run, on_delete=models.CASCADE, related_name="cells")
    subject = models.ForeignKey(Subject, on_delete=models.PROTECT, related_name="cells")
    axis_values = models.JSONField(default=dict)
    values_key = models.CharField(max_length=500, default="{}")
    aspect = models.CharField(max_length=20)
    position = models.PositiveIntegerField(default=0)

    objects = BrandOwned.through("run__campaign__brand").as_manager()

    class Meta:
        ordering = ["run", "position"]
        constraints = [
            models.UniqueConstraint(fields=["run", "subject", "values_key", "aspect"], name="cell_once_per_run"),
        ]

    def __str__(self) -> str:
        return f"cell {self.pk} of run {self.run_id}"


class ScheduledRun(models.Model):
    """A rule that plans and releases runs for new or changed products of a campaign, within a daily budget.

    The images always go into review. Written by services/scheduled_runs.py; stopped, never deleted. ScheduledSubject
    has the subjects handled so far; `last_checked_at` is the time of the last look for changes.
    """

    campaign = models.ForeignKey(Campaign, on_delete=models.PROTECT, related_name="scheduled_runs")
    name = models.CharField(max_length=120, default="Scheduled run")
    source = models.ForeignKey(
        FeedSource, on_delete=models.PROTECT, null=True, blank=True, related_name="scheduled_runs"
    )
    prompt_version = models.ForeignKey(PromptVersion, on_delete=models.PROTECT, related_name="+")
    endpoint = models.ForeignKey(Endpoint, on_delete=models.PROTECT, related_name="+")
    daily_budget = models.DecimalField(max_digits=12, decimal_places=2, help_text=_("in the brand's currency"))
    daily_images = models.PositiveIntegerField(default=100)
    is_enabled = models.BooleanField(default=True)
    last_checked_at = models.DateTimeField()
    message = models.CharField(
        max_length=500, blank=True, help_text=_("result of the last check, or why nothing was made")
    )
    created_by = models.ForeignKey(User, on_delete=models.PROTECT, related_name="+")
    created_at = MomentField(auto_now_add=True)

    objects = BrandOwned.through("campaign__brand").as_manager()

    class Meta:
        ordering = ["campaign", "id"]

    def __str__(self) -> str:
        return f"scheduled run {self.pk} of {self.campaign}"


class ScheduledSubject(models.Model):
    """The state of a subject when a scheduled run last handled it, so that only later changes count.

    Written with the run that was planned for it, and for all subjects of the campaign if a scheduled_run counts from
    now on. digest: md5 of name, attributes, photos and accepted cut-outs, as computed by the service's SQL.
    """

    scheduled_run = models.ForeignKey(ScheduledRun, on_delete=models.CASCADE, related_name="taken")
    subject = models.ForeignKey(Subject, on_delete=models.CASCADE, related_name="+")
    digest = models.CharField(max_length=32)

    objects = BrandOwned.through("scheduled_run__campaign__brand").as_manager()

    class Meta:
        ordering = ["scheduled_run", "subject"]
        constraints = [
            # Finds whether the current state of a subject was handled already.
            models.UniqueConstraint(fields=["scheduled_run", "subject"], name="scheduled_subject_once"),
        ]

    def __str__(self) -> str:
        return f"{self.subject_id} of scheduled run {self.scheduled_run_id}"
