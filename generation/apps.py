"""The generation app's entry in Django's registry."""

from importlib import import_module

from django.apps import AppConfig
from django.conf import settings
from django.utils.translation import gettext_lazy as _

from campaigns import thresholds


class GenerationConfig(AppConfig):
    name = "generation"
    events_label = _("Making")  # in the filter of the audit page

    def ready(self) -> None:
        """Register event types, periodic tasks, subscribers and the plug-ins of this installation."""
        from generation import events, periodic_tasks, subscribers  # noqa: F401
        from generation.checks.base import CHECKS
        from generation.finishing.base import STEPS

        for module in settings.PROOFLINE["plugins"]:
            import_module(module)
        for plugin in (*STEPS, *CHECKS):  # now, so that the guide's page knows the limits of each
            thresholds.declare_thresholds(plugin.name, plugin.config)
