"""The campaigns app's entry in Django's registry."""

from typing import Any

from django.apps import AppConfig
from django.core import checks


class CampaignsConfig(AppConfig):
    name = "campaigns"

    def ready(self) -> None:
        """Make event types and housekeeping known, and check that the line is connected."""
        from campaigns import chores, events, subscribers  # noqa: F401

        checks.register(every_needed_event_is_heard)


def every_needed_event_is_heard(**_: Any) -> list[checks.CheckMessage]:
    """E001: an event on which the line depends has no subscriber."""
    from campaigns import events

    return [
        checks.Error(f"Nobody listens to {name}, and the line stops there.", id="campaigns.E001")
        for name in events.unheard()
    ]
