"""Django app configuration of the review app."""

from django.apps import AppConfig


class ReviewConfig(AppConfig):
    name = "review"
    events_label = "Review and delivery"  # in the filter of the audit page

    def ready(self) -> None:
        from review import events, periodic_tasks, subscribers  # noqa: F401
        from review.selectors import deliveries  # noqa: F401
