"""The campaigns app's entry in Django's registry."""

from django.apps import AppConfig


class CampaignsConfig(AppConfig):
    name = "campaigns"

    def ready(self) -> None:
        """Register system checks and event subscribers."""
        from campaigns import events  # noqa: F401
