"""Real processes on the tests' own database, queue and files: killable workers, a clock, a web server."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from functools import cache
from multiprocessing import forkserver
from multiprocessing.context import ForkServerContext
from pathlib import Path
from typing import Any
from unittest import mock
from urllib.parse import quote

from django.conf import settings
from django.db import connection

ROOT = Path(__file__).resolve().parents[2]


def environment(**extra: str) -> dict[str, str]:
    """Return the environment of a process that uses the test database and the test's folder of files."""
    options = connection.settings_dict
    host = quote(options["HOST"], safe="")
    address = f"postgres://{quote(options['USER'])}:{quote(options['PASSWORD'])}@{host}"
    if options["PORT"]:
        address += f":{options['PORT']}"
    return {
        **os.environ,
        "DJANGO_SETTINGS_MODULE": "config.settings",
        "DATABASE_URL": f"{address}/{options['NAME']}",
        "REDIS_URL": settings.RQ_QUEUES["cpu"]["URL"],
        "PROOFLINE_FILES": str(settings.MEDIA_ROOT),
        "PROOFLINE_PLUGINS": "tests.support.engines,tests.support.remote_engine",
        "PROOFLINE_LEASE_SECONDS": "4",
        "PROOFLINE_PLAIN_STATIC": "1",
        "LOG_LEVEL": "WARNING",
        **extra,
    }


class Process:
    """`manage.py …` in its own process, with the methods of `subprocess.Popen`; starts fast (preloaded_process.py)."""

    def __init__(self, arguments: tuple[str, ...], environment: dict[str, str]) -> None:
        # `_manage` imports `prepared` only in the fork, because this process runs Django with the tests' settings.
        self._process = _family().Process(target=_manage, args=(arguments, environment), daemon=True)
        self._process.start()
        assert self._process.pid is not None
        self.pid: int = self._process.pid

    @property
    def returncode(self) -> int | None:
        return self._process.exitcode

    def poll(self) -> int | None:
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Wait for the end; raise subprocess.TimeoutExpired."""
        self._process.join(timeout)
        code = self._process.exitcode
        if code is None:
            raise subprocess.TimeoutExpired(self._process.name, timeout or 0.0)
        return code

    def send_signal(self, number: int, /) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        """Send SIGKILL, and wait until the process is gone."""
        self.send_signal(signal.SIGKILL)
        self.wait(60)


def _manage(arguments: tuple[str, ...], environment: dict[str, str]) -> None:
    from tests.support import preloaded_process

    preloaded_process.manage(arguments, environment)


@cache
def _family() -> ForkServerContext:
    """Return the parent of all such processes, which ends with the tests."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.support.preloaded_process"])
    with mock.patch.dict(os.environ, environment(), clear=True):
        forkserver.ensure_running()
    return context


def start(*arguments: str, **extra: str) -> Process:
    """Start `manage.py …` in its own process."""
    return Process(arguments, environment(**extra))


def start_doomed(lane: str, point: str) -> Process:
    """Start a worker that is killed at `point` (core/crash_points.py).

    Its leases are short: nobody checks them while it lives, and its successor waits for their end.
    """
    return start("worker", lane, PROOFLINE_KILL_AT=point, PROOFLINE_LEASE_SECONDS="1")


def stop(process: Process | subprocess.Popen[Any], number: int = signal.SIGTERM) -> int:
    """Send the signal and wait; kill a process that does not end."""
    if process.poll() is None:
        process.send_signal(number)
        try:
            process.wait(60)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
    assert process.returncode is not None
    return process.returncode


@contextlib.contextmanager
def running(*arguments: str, **extra: str) -> Iterator[Process]:
    process = start(*arguments, **extra)
    try:
        yield process
    finally:
        stop(process)


def connections() -> set[int]:
    """Return the server processes of other connections to this database.

    The process of a dead client is among them until its last statement ends.
    """
    with connection.cursor() as cursor:
        cursor.execute("""
            SELECT pid FROM pg_stat_activity
            WHERE datname = current_database() AND backend_type = 'client backend' AND pid <> pg_backend_pid()
        """)
        return {pid for (pid,) in cursor.fetchall()}


def wait_until(true: Callable[[], bool], *, seconds: float, what: str) -> None:
    """Poll until `true()`; raise AssertionError with `what` when the time is up."""
    until = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < until, f"waited {seconds} s in vain: {what}"
        time.sleep(0.1)
