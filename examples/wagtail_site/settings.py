"""The settings of the example's magazine. Its folder, address and key come from the environment; see __main__.py."""

from __future__ import annotations

import os
from pathlib import Path

FOLDER = Path(os.environ["WAGTAIL_SITE_FOLDER"])
SECRET_KEY = os.environ["WAGTAIL_SITE_KEY"]
WAGTAILADMIN_BASE_URL = os.environ["WAGTAIL_SITE_URL"]
DEBUG = False
ALLOWED_HOSTS = ["127.0.0.1", "localhost"]
ROOT_URLCONF = "examples.wagtail_site.urls"
INSTALLED_APPS = [
    "examples.wagtail_site.apps.JournalConfig",
    "wagtail.api.v3",
    "wagtail.users",
    "wagtail.snippets",
    "wagtail.documents",
    "wagtail.images",
    "wagtail.search",
    "wagtail.admin",
    "wagtail.sites",
    "wagtail",
    "modelcluster",
    "taggit",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
]
MIDDLEWARE = [
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
]
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [Path(__file__).parent / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ]
        },
    }
]
DATABASES = {
    "default": {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": FOLDER / "site.sqlite3",
        "OPTIONS": {"timeout": 20, "transaction_mode": "IMMEDIATE", "init_command": "PRAGMA journal_mode=wal;"},
    }
}
MEDIA_ROOT, MEDIA_URL = FOLDER / "media", "/media/"
STATIC_URL = "/static/"
USE_TZ = True
WAGTAIL_SITE_NAME = "The Kilnmoor magazine"
WAGTAIL_ENABLE_UPDATE_CHECK = False
WAGTAIL_ENABLE_WHATS_NEW_BANNER = False


class _NoMigrations:
    """Says of each app that it has no migrations: the tables are made from the models, in seconds, not in a minute."""

    def __contains__(self, app_label: str) -> bool:
        return True

    def __getitem__(self, app_label: str) -> None:
        return None


MIGRATION_MODULES = _NoMigrations()
