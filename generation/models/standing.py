"""Standing orders: what is made by itself when products come or change."""

from __future__ import annotations

from django.db import models

from campaigns.access import BrandOwned
from campaigns.clock import MomentField
from campaigns.models import Campaign, FeedSource, PromptVersion, User
from generation.models.endpoints import Endpoint


class StandingOrder(models.Model):
    """New or changed products of a campaign are planned and released by the clock, inside a daily budget; their
    pictures always go into review. `looked_until` is how far changes (Subject.updated_at) were taken up.
    """

    campaign = models.ForeignKey(Campaign, on_delete=models.PROTECT, related_name="standing_orders")
    source = models.ForeignKey(
        FeedSource, on_delete=models.PROTECT, null=True, blank=True, related_name="standing_orders"
    )
    prompt_version = models.ForeignKey(PromptVersion, on_delete=models.PROTECT, related_name="+")
    endpoint = models.ForeignKey(Endpoint, on_delete=models.PROTECT, related_name="+")
    daily_budget = models.DecimalField(max_digits=12, decimal_places=2, help_text="in the brand's currency")
    daily_pictures = models.PositiveIntegerField(default=100)
    is_enabled = models.BooleanField(default=True)
    looked_until = models.DateTimeField()
    message = models.CharField(max_length=500, blank=True, help_text="what the last look did, or why nothing was made")
    created_by = models.ForeignKey(User, on_delete=models.PROTECT, related_name="+")
    created_at = MomentField(auto_now_add=True)

    objects = BrandOwned.through("campaign__brand").as_manager()

    class Meta:
        ordering = ["campaign", "id"]

    def __str__(self) -> str:
        return f"standing order {self.pk} of {self.campaign}"
