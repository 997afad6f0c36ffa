"""The review app's entry in Django's registry."""

from django.apps import AppConfig


class ReviewConfig(AppConfig):
    name = "review"

    def ready(self) -> None:
        """Register system checks and event subscribers."""
        from review import chores, events, subscribers  # noqa: F401
        from review.selectors import live  # noqa: F401
