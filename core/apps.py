"""The core app's entry in Django's registry."""

from typing import Any

from django.apps import AppConfig
from django.core import checks
from django.utils.translation import gettext_lazy


class CoreConfig(AppConfig):
    name = "core"
    events_label = gettext_lazy("Brands and people")  # in the filter of the audit page

    def ready(self) -> None:
        from core import events, periodic_tasks  # noqa: F401 - they register themselves
        from core.services import notices  # noqa: F401

        checks.register(check_subscribers)


def check_subscribers(**_: Any) -> list[checks.CheckMessage]:
    """Return error E001 for each event on which work depends but that has no subscriber."""
    from core.events import missing_subscribers

    return [
        checks.Error(f"Nothing subscribes to {name}; work would stop there.", id="core.E001")
        for name in missing_subscribers()
    ]
