"""Separate embedded services, kept alive as by `make up`, for tests that kill the database server."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import psycopg

from tests.support.processes import ROOT, stop, wait_until

KEEPER_SCRIPT = """
import sys, time
from config import embedded
with embedded.services(watch=True):
    print(embedded.database_url(), flush=True)
    sys.stdin.read()
"""


class SeparateServices:
    """A PostgreSQL and a Redis in their own folder, and processes that use them."""

    def __init__(self, folder: Path) -> None:
        inherited = {k: v for k, v in os.environ.items() if k not in {"DATABASE_URL", "REDIS_URL"}}
        self.environment = {
            **inherited,
            "PROOFLINE_VAR": str(folder / "var"),
            "PROOFLINE_PLUGINS": "tests.support.engines",
            "PROOFLINE_LEASE_SECONDS": "10",
            "PROOFLINE_PLAIN_STATIC": "1",
            "LOG_LEVEL": "ERROR",
            "PROOFLINE_UNSAFE_FAST_DB": "0",
        }
        self.keeper = subprocess.Popen(
            [sys.executable, "-c", KEEPER_SCRIPT],
            cwd=ROOT,
            env=self.environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        assert self.keeper.stdout is not None
        self.address = self.keeper.stdout.readline().decode().strip()

    def manage(self, *arguments: str) -> None:
        subprocess.run([sys.executable, "manage.py", *arguments], cwd=ROOT, env=self.environment, check=True)

    def start(self, *arguments: str) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [sys.executable, "manage.py", *arguments], cwd=ROOT, env=self.environment, start_new_session=True
        )

    def count(self, query: str) -> int:
        with psycopg.connect(self.address) as connection:
            row = connection.execute(query).fetchone()
        assert row is not None
        return int(row[0])

    def kill_postgres(self) -> None:
        """Kill the postmaster with SIGKILL, and wait until the keeper has started another one that answers."""
        before = self._postmaster()
        assert before is not None
        os.kill(before, signal.SIGKILL)
        wait_until(lambda: self._postmaster() not in {None, before}, seconds=60, what="a new server")

    def _postmaster(self) -> int | None:
        """Return the parent of the process that serves us; None while there is none."""
        try:
            with psycopg.connect(self.address) as connection:
                return psutil.Process(connection.info.backend_pid).ppid()
        except (psycopg.Error, psutil.Error):
            return None


@contextlib.contextmanager
def run_services(folder: Path) -> Iterator[SeparateServices]:
    server = SeparateServices(folder)
    try:
        yield server
    finally:
        assert server.keeper.stdin is not None
        server.keeper.stdin.close()
        stop(server.keeper)
