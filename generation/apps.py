"""The generation app's entry in Django's registry."""

from django.apps import AppConfig


class GenerationConfig(AppConfig):
    name = "generation"

    def ready(self) -> None:
        """Make event types and housekeeping known."""
        from generation import chores, events  # noqa: F401
