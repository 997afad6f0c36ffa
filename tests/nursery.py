"""Workers that can be killed by the dozen: forked from a process that has everything imported, so that each is up in a
moment. Real processes with connections of their own; nothing is connected to before the fork.
"""

from __future__ import annotations

import contextlib
import signal
import subprocess
import sys
from collections.abc import Iterator

import psutil

from tests.processes import ROOT, environment, stop

PARENT = """
import os, signal, sys
import django
django.setup()
from django.core.management import call_command
from importlib import import_module
for name in sys.argv[2:]:
    import_module(name)
signal.signal(signal.SIGCHLD, signal.SIG_IGN)
print("ready", flush=True)
for _ in sys.stdin:
    pid = os.fork()
    if pid == 0:
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        os.setsid()
        os.close(0)
        os.dup2(2, 1)
        try:
            call_command("worker", *sys.argv[1].split(","))
        finally:
            os._exit(0)
    print(pid, flush=True)
"""


class Nursery:
    """A parent of workers for some lanes."""

    def __init__(self, lanes: tuple[str, ...], preload: tuple[str, ...], **extra: str) -> None:
        self.parent = subprocess.Popen(
            [sys.executable, "-c", PARENT, ",".join(lanes), *preload],
            cwd=ROOT,
            env=environment(DJANGO_SETTINGS_MODULE="config.settings", **extra),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.born: list[psutil.Process] = []
        assert self._line() == "ready"

    def _line(self) -> str:
        assert self.parent.stdout is not None
        return self.parent.stdout.readline().strip()

    def start(self) -> psutil.Process:
        """One more worker."""
        assert self.parent.stdin is not None
        self.parent.stdin.write("one\n")
        self.parent.stdin.flush()
        worker = psutil.Process(int(self._line()))
        self.born.append(worker)
        return worker

    def close(self) -> None:
        for worker in self.born:
            with contextlib.suppress(psutil.NoSuchProcess):
                kill(worker)
        assert self.parent.stdin is not None
        self.parent.stdin.close()
        stop(self.parent)


def kill(worker: psutil.Process) -> None:
    """SIGKILL, and wait until it is gone."""
    with contextlib.suppress(psutil.NoSuchProcess):
        worker.send_signal(signal.SIGKILL)
        psutil.wait_procs([worker], timeout=20)
    assert not _is_alive(worker)


def _is_alive(worker: psutil.Process) -> bool:
    with contextlib.suppress(psutil.NoSuchProcess):
        return worker.is_running() and worker.status() != psutil.STATUS_ZOMBIE
    return False


@contextlib.contextmanager
def nursery(*lanes: str, preload: tuple[str, ...] = (), **extra: str) -> Iterator[Nursery]:
    """`nursery("cloud")` until the block ends; workers that still live are killed then."""
    made = Nursery(lanes, preload, **extra)
    try:
        yield made
    finally:
        made.close()
