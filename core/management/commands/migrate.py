"""Django's migrate, but it refuses a database that was made before the tables got their names of the first release."""

from __future__ import annotations

from typing import Any

from django.core.management.base import CommandError
from django.core.management.commands import migrate
from django.db import connections
from django.db.migrations.recorder import MigrationRecorder

#: A table of the first migrations that was called something else before them.
NEWEST_TABLE = "generation_scheduledrun"


class Command(migrate.Command):
    def handle(self, *args: Any, **options: Any) -> None:
        """Migrate. Raises CommandError, before any change, for a database from before the first release."""
        connection = connections[options["database"]]
        has_begun = ("campaigns", "0001_initial") in MigrationRecorder(connection).applied_migrations()
        if has_begun and NEWEST_TABLE not in connection.introspection.table_names():
            raise CommandError(
                "This database was made by Proofline before its first release and cannot be taken over: "
                "begin with an empty one (another DATABASE_URL, or without it another PROOFLINE_VAR)."
            )
        super().handle(*args, **options)
