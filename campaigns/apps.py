"""The campaigns app's entry in Django's registry."""

from django.apps import AppConfig
from django.utils.translation import gettext_lazy as _


class CampaignsConfig(AppConfig):
    name = "campaigns"
    events_label = _("Campaigns, prompts and feeds")  # in the filter of the audit page

    def ready(self) -> None:
        """Register event types, periodic tasks and subscribers."""
        from campaigns import events, periodic_tasks, subscribers  # noqa: F401
