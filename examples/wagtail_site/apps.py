"""The app that has the page types of the example's magazine."""

from __future__ import annotations

from django.apps import AppConfig


class JournalConfig(AppConfig):
    name = "examples.wagtail_site"
    label = "journal"
    default_auto_field = "django.db.models.AutoField"
