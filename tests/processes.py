"""Real processes against the tests' own database, queue and files: workers that can be killed, a clock, a web
server."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import quote

from django.conf import settings
from django.db import connection

ROOT = Path(__file__).resolve().parent.parent


def environment(**extra: str) -> dict[str, str]:
    """The environment of a process that works on the test database and the test's folder of files."""
    options = connection.settings_dict
    host = quote(options["HOST"], safe="")
    address = f"postgres://{quote(options['USER'])}:{quote(options['PASSWORD'])}@{host}"
    if options["PORT"]:
        address += f":{options['PORT']}"
    return {
        **os.environ,
        "DATABASE_URL": f"{address}/{options['NAME']}",
        "REDIS_URL": settings.RQ_QUEUES["cpu"]["URL"],
        "PROOFLINE_FILES": str(settings.MEDIA_ROOT),
        "PROOFLINE_PLUGINS": "tests.engines,tests.remote_engine",
        "PROOFLINE_LEASE_SECONDS": "4",
        "PROOFLINE_PLAIN_STATIC": "1",
        "LOG_LEVEL": "WARNING",
        **extra,
    }


def start(*arguments: str, **extra: str) -> subprocess.Popen[bytes]:
    """`manage.py …` as a process of its own."""
    return subprocess.Popen(
        [sys.executable, str(ROOT / "manage.py"), *arguments],
        cwd=ROOT,
        env=environment(**extra),
        start_new_session=True,
    )


def stop(process: subprocess.Popen[bytes], number: int = signal.SIGTERM) -> int:
    """Send the signal and wait; a process that will not go is killed."""
    if process.poll() is None:
        process.send_signal(number)
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
    return process.returncode


@contextlib.contextmanager
def running(*arguments: str, **extra: str) -> Iterator[subprocess.Popen[bytes]]:
    process = start(*arguments, **extra)
    try:
        yield process
    finally:
        stop(process)


def wait_until(true: Callable[[], bool], *, seconds: float, what: str) -> None:
    """Poll until `true()`; AssertionError with `what` when the time is up."""
    until = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < until, f"waited {seconds} s in vain: {what}"
        time.sleep(0.1)
