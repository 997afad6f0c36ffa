"""Django's migrate, but it refuses a database that was made before the core app had tables."""

from __future__ import annotations

from typing import Any

from django.core.management.base import CommandError
from django.core.management.commands import migrate
from django.db import connections
from django.db.migrations.recorder import MigrationRecorder


class Command(migrate.Command):
    def handle(self, *args: Any, **options: Any) -> None:
        """Migrate. Raises CommandError, before any change, for a database from before the first release."""
        applied = MigrationRecorder(connections[options["database"]]).applied_migrations()
        if ("campaigns", "0001_initial") in applied and ("core", "0001_initial") not in applied:
            raise CommandError(
                "This database was made by Proofline before its first release and cannot be taken over: "
                "begin with an empty one (another DATABASE_URL, or without it another PROOFLINE_VAR)."
            )
        super().handle(*args, **options)
