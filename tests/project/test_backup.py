"""Test that a backup made as in docs/operations.md can be restored, with the bundled client programs."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from django.core.management import call_command
from django.db import connection
from psycopg import sql

from core.models import User
from core.services import brands
from tests.support import processes

RESTORED = "restored_for_a_test"
TABLES = ("core_user", "core_brand", "core_event", "django_migrations")


def client_program(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "config.postgres", *arguments],
        cwd=processes.ROOT,
        env=processes.environment(**environment),
        capture_output=True,
        text=True,
    )


def connect(name: str) -> psycopg.Connection[Any]:
    options = connection.settings_dict
    return psycopg.connect(
        host=options["HOST"],
        port=options["PORT"] or None,
        user=options["USER"],
        password=options["PASSWORD"],
        dbname=name,
        autocommit=True,
    )


@pytest.fixture
def empty_database(transactional_db: None) -> Iterator[str]:
    with connect(connection.settings_dict["NAME"]) as admin:
        admin.execute(f"DROP DATABASE IF EXISTS {RESTORED}")
        admin.execute(f"CREATE DATABASE {RESTORED}")
    yield RESTORED
    with connect(connection.settings_dict["NAME"]) as admin:
        admin.execute(f"DROP DATABASE {RESTORED} WITH (FORCE)")


@pytest.mark.slow
def test_a_dump_restores_rows_and_the_guards_of_the_audit_trail(empty_database: str, tmp_path: Path) -> None:
    operator = User.objects.create_superuser("keeper")
    brands.create_brand(name="Größe “M”", slug="backup", currency="EUR", by=operator)
    dump = tmp_path / "proofline.dump"

    made = client_program("pg_dump", "--format=custom", f"--file={dump}")
    assert made.returncode == 0, made.stderr
    restored = client_program(
        "pg_restore", f"--dbname={empty_database}", "--clean", "--if-exists", "--no-owner", str(dump)
    )
    assert restored.returncode == 0, restored.stderr

    with connect(connection.settings_dict["NAME"]) as original, connect(empty_database) as copy:
        for table in TABLES:
            count = sql.SQL("SELECT count(*) FROM {}").format(sql.Identifier(table))
            assert copy.execute(count).fetchone() == original.execute(count).fetchone(), table
        assert copy.execute("SELECT name FROM core_brand").fetchone() == ("Größe “M”",)
        with pytest.raises(psycopg.errors.RestrictViolation):
            copy.execute("DELETE FROM core_event")


def test_the_client_programs_are_as_new_as_the_embedded_server(db: None) -> None:
    with connection.cursor() as cursor:
        cursor.execute("SHOW server_version_num")
        server = int(cursor.fetchone()[0]) // 10_000
    for program in ("pg_dump", "pg_restore", "psql"):
        version = client_program(program, "--version").stdout
        assert f"(PostgreSQL) {server}." in version


def test_the_password_is_no_argument_that_others_can_read(transactional_db: None) -> None:
    """While psql runs, the process list shows only its options."""
    process = subprocess.Popen(
        [sys.executable, "-m", "config.postgres", "psql", "--command=SELECT pg_sleep(30)"],
        cwd=processes.ROOT,
        env=processes.environment(),
    )
    try:
        pause = threading.Event()
        arguments = ""
        while not arguments and process.poll() is None and not pause.wait(0.05):
            children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
            if children:
                arguments = Path(f"/proc/{children[0]}/cmdline").read_text()
        assert "psql" in arguments
        assert connection.settings_dict["PASSWORD"] not in arguments
    finally:
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE 'SELECT pg_sleep%'")
        process.terminate()
        process.wait()


@pytest.mark.parametrize("arguments", [(), ("pg_dumpall",), ("/bin/sh",), ("--file=x",), ("postgres",)])
def test_only_the_client_programs_are_run(arguments: tuple[str, ...]) -> None:
    refused = client_program(*arguments)
    assert refused.returncode == 1
    assert "usage: python -m config.postgres {pg_dump,pg_restore,psql}" in refused.stderr


def test_an_empty_installation_says_how_to_make_the_first_account(db: None, capsys: pytest.CaptureFixture[str]) -> None:
    call_command("first_account")
    assert "manage.py createsuperuser" in capsys.readouterr().out


def test_a_hint_about_accounts_is_missing_where_there_is_one(db: None, capsys: pytest.CaptureFixture[str]) -> None:
    User.objects.create_user("first")
    call_command("first_account")
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(("is_superuser", "words"), [(True, "Add a brand"), (False, "Ask an administrator")])
def test_a_person_in_no_brand_sees_the_next_step(client: Any, db: None, is_superuser: bool, words: str) -> None:
    client.force_login(User.objects.create_user("somebody", is_superuser=is_superuser))
    assert words in client.get("/").content.decode()
