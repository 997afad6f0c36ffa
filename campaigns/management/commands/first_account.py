"""`manage.py first_account`: say how to make the first account, where there is none yet."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand

from campaigns.models import User

HOW = """\
There is no account yet. Make the first one in a second terminal, in this folder:

    .venv/bin/python manage.py createsuperuser

It may do everything. Sign in with it, and make a brand and accounts for others under Administration.
"""


class Command(BaseCommand):
    help = "Say how to make the first account, where there is none yet."

    def handle(self, *args: Any, **options: Any) -> None:
        if not User.objects.exists():
            self.stdout.write(HOW)
