"""Fixtures of the fuzz tests: people and rows, built once, and the count that `make fuzz` prints."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings as django_settings
from django.db import connection, transaction
from django.test.utils import override_settings

from tests.fuzz import world
from tests.fuzz.sending import TALLY, Browser

#: `make fuzz` sends every case; the usual test run sends a fixed sample.
IS_WHOLE = os.environ.get("FUZZ") == "whole"


@pytest.fixture(autouse=True)
def media() -> None:
    """Leave files where the `browser` fixture puts them, for all tests of this folder."""


@pytest.fixture(scope="package")
def browser(
    django_db_setup: None, django_db_blocker: Any, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Browser]:
    """Yield a browser that sends requests about one brand, in one transaction that is rolled back at the end."""
    folder: Path = tmp_path_factory.mktemp("fuzz")
    changed = {
        "MEDIA_ROOT": folder / "files",
        "MIDDLEWARE": [*django_settings.MIDDLEWARE, "tests.fuzz.sending.RecordingMiddleware"],
        "PROOFLINE": django_settings.PROOFLINE | {"handover_folders": [str(folder)]},
        "PASSWORD_HASHERS": ["django.contrib.auth.hashers.MD5PasswordHasher"],
        "STORAGES": django_settings.STORAGES
        | {"staticfiles": {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"}},
    }
    logging.disable(logging.CRITICAL)  # thousands of refusals, each with a line
    block = transaction.atomic()
    block._from_testcase = True  # as in Django's TestCase: services that must commit may run inside
    with django_db_blocker.unblock(), override_settings(**changed), block:
        with connection.cursor() as cursor:  # making cases may take longer than the 30 s that settings.py allows
            cursor.execute("SET LOCAL idle_in_transaction_session_timeout = 0")
        yield Browser(world.build(folder))
        transaction.set_rollback(True)
    logging.disable(logging.NOTSET)


def pytest_terminal_summary(terminalreporter: Any) -> None:
    if TALLY:
        terminalreporter.section("fuzzed requests")
        for run, (cases, errors) in TALLY.items():
            terminalreporter.line(f"{run}: {cases:,} cases, {errors} answered with 500")
        cases, errors = (sum(column) for column in zip(*TALLY.values(), strict=True))
        terminalreporter.line(f"all: {cases:,} cases, {errors} answered with 500")
