"""The generation app's entry in Django's registry."""

from django.apps import AppConfig


class GenerationConfig(AppConfig):
    name = "generation"

    def ready(self) -> None:
        """Register system checks and event subscribers."""
        from generation import events  # noqa: F401
