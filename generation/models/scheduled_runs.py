"""Scheduled runs of a campaign: images that are made automatically for new or changed products."""

from __future__ import annotations

from django.db import models
from django.utils.translation import gettext_lazy as _

from campaigns.models import Campaign, FeedSource, PromptVersion, Subject
from core.access import BrandOwned
from core.clock import MomentField
from core.models import User
from generation.models.endpoints import Endpoint


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
