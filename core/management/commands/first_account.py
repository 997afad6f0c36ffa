"""`manage.py first_account`: explain how to create the first account if there is none."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand

from core.models import User

HOW = """\
There is no account yet. Create the first one in a second terminal, in this folder:

    .venv/bin/python manage.py createsuperuser

It may do everything. Sign in with it, and add a brand and accounts for others under Administration.
"""


class Command(BaseCommand):
    help = "Say how to create the first account if there is none."

    def handle(self, *args: Any, **options: Any) -> None:
        if not User.objects.exists():
            self.stdout.write(HOW)
