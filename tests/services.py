"""Loaded by pytest before Django: the tests' own PostgreSQL and Redis, apart from those of `make up`.

Named in pyproject.toml as `-p tests.services`, because pytest-django reads the settings, and with them the addresses of
the services, before any conftest.py is imported.
"""

from __future__ import annotations

import atexit
import contextlib
import os

from config import embedded, env

_held = contextlib.ExitStack()


def _begin() -> None:
    # A run may flush Redis and kill PostgreSQL: never those that hold somebody's work.
    os.environ["PROOFLINE_VAR"] = str(env.var_dir() / "tests")
    # These databases live for minutes; a crash of the machine may take them.
    os.environ.setdefault("PROOFLINE_UNSAFE_FAST_DB", "1")
    os.environ.setdefault("PROOFLINE_PLUGINS", "tests.engines,tests.remote_engine")
    _held.enter_context(embedded.services())
    # Not a pytest hook: those are not called where loading the settings fails.
    atexit.register(_held.close)


_begin()
