"""Runs a command in the background: its output goes to a file, and it never outlives this process."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from config import env

STOP_SECONDS = 5


@dataclass(frozen=True)
class BackgroundCommand:
    """A background command, or none. log: the file with its output."""

    log: Path
    process: subprocess.Popen[bytes] | None = None

    @property
    def is_over(self) -> bool:
        """Return True if the command has ended, or none was started."""
        return self.process is None or self.process.poll() is not None

    @property
    def has_failed(self) -> bool:
        return self.process is not None and bool(self.process.poll())


@contextlib.contextmanager
def run_in_background(command: Sequence[str], *, log: Path) -> Iterator[BackgroundCommand]:
    """Start `command` in the checkout, unless it is empty, and stop it at the end of the block."""
    if not command:
        yield BackgroundCommand(log)
        return
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("wb") as out:
        # A separate session: Ctrl-C reaches only this process, which ends the command and its children.
        process = subprocess.Popen(
            command,
            cwd=env.ROOT,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        yield BackgroundCommand(log, process)
    finally:
        _stop(process)


def _stop(process: subprocess.Popen[bytes]) -> None:
    """End the command and its children, if it still runs."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        if process.poll() is not None:
            return
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, number)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(STOP_SECONDS)
