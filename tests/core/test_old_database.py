"""Tests that a database from before the first release is recognised and not changed."""

from __future__ import annotations

import pytest
from django.core.management import CommandError, call_command
from django.db import connection
from django.db.migrations.recorder import MigrationRecorder

from core.management.commands.migrate import NEWEST_TABLE


@pytest.mark.django_db(transaction=True)
def test_a_database_from_before_the_first_release_is_refused_in_one_sentence() -> None:
    before = MigrationRecorder(connection).applied_migrations().keys()
    with connection.cursor() as cursor:
        cursor.execute(f"ALTER TABLE {NEWEST_TABLE} RENAME TO generation_standingorder")
    try:
        with pytest.raises(CommandError, match="cannot be taken over: begin with an empty one"):
            call_command("migrate", verbosity=0)
    finally:
        with connection.cursor() as cursor:
            cursor.execute(f"ALTER TABLE generation_standingorder RENAME TO {NEWEST_TABLE}")
    assert MigrationRecorder(connection).applied_migrations().keys() == before


@pytest.mark.django_db
def test_a_current_database_has_nothing_left_to_migrate() -> None:
    before = MigrationRecorder(connection).applied_migrations().keys()
    call_command("migrate", verbosity=0)
    assert MigrationRecorder(connection).applied_migrations().keys() == before
