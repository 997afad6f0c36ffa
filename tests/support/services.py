"""Start the tests' own PostgreSQL and Redis, apart from those of `make up`; pytest loads this before Django.

Named in pyproject.toml as `-p tests.support.services`, because pytest-django reads the settings, and with them the
addresses of the services, before any conftest.py is imported.
"""

from __future__ import annotations

import atexit
import contextlib
import os

from config import embedded, env

_held = contextlib.ExitStack()


def _begin() -> None:
    # A test run may flush Redis and kill PostgreSQL, so it must never use services that hold real work.
    # Each of several xdist processes (gw0, gw1 …) has its own services, in a folder of its own.
    os.environ["PROOFLINE_VAR"] = str(env.var_dir() / os.environ.get("PYTEST_XDIST_WORKER", "tests"))
    # Threads of several processes that wait for each other in a loop take ten times as long where cores are few.
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    # These databases live for minutes, so they may be lost in a crash of the machine.
    os.environ.setdefault("PROOFLINE_UNSAFE_FAST_DB", "1")
    os.environ.setdefault("PROOFLINE_PLUGINS", "tests.support.engines,tests.support.remote_engine")
    _held.enter_context(embedded.services())
    # Not a pytest hook: those are not called where loading the settings fails.
    atexit.register(_held.close)


_begin()
