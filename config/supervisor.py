"""Runs processes: all of Proofline in one terminal, and a command in the background. `python -m config.supervisor up`.

A process that ends is started again. (Tools such as honcho stop everything when one process ends, so they are unused.)
The caller keeps the database running; it outlives these processes.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from config import embedded, env, servers

STOP_SECONDS = 20
BACKGROUND_STOP_SECONDS = 5
LONGEST_PAUSE_SECONDS = 30.0
COLOURS = (36, 33, 35, 32, 34)
Write = Callable[[str, str], None]


@dataclass(frozen=True)
class Program:
    """One process to keep running: its name, which is written before each line, and its command."""

    name: str
    command: Sequence[str]


@dataclass
class _Running:
    program: Program
    process: subprocess.Popen[bytes]
    reader: threading.Thread
    started: float
    deaths: int = 0
    restart_at: float | None = None


def management_command(*arguments: str) -> list[str]:
    return [sys.executable, str(env.ROOT / "manage.py"), *arguments]


def web_program(*, host: str, port: int) -> Program:
    command = [
        *(sys.executable, "-m", "granian", "--interface", "wsgi", "--host", host, "--port", str(port)),
        *("--blocking-threads", str(env.number("WEB_THREADS", 8)), "--workers", str(env.number("WEB_WORKERS", 1))),
        *("--log-level", "error", "--no-ws", "config.wsgi:application"),
    ]
    return Program("web", command)


def worker_programs() -> list[Program]:
    """Return two workers, which serve all lanes, and the clock."""
    # Without a GPU the first worker would have no jobs, so it also serves the cpu lane.
    first = ["gpu"] if Path("/dev/nvidia0").exists() else ["gpu", "cpu"]
    return [
        Program("gpu", management_command("worker", *first)),
        Program("rest", management_command("worker", "cloud", "cpu", "delivery", "io", "housekeeping")),
        Program("clock", management_command("clock")),
    ]


def find_free_port(host: str, preferred: int) -> int:
    """Return `preferred`, or the next port that no process listens on."""
    for port in range(preferred, min(preferred + 100, 65_536)):
        with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
            # The web server does the same; without it, a closed port counts as taken for about a minute.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            with contextlib.suppress(OSError):
                probe.bind((host, port))
                return port
    raise SystemExit(f"no free port between {preferred} and {preferred + 99} on {host}: name another with PORT=…")


def _start(command: Sequence[str], output: IO[bytes] | int) -> subprocess.Popen[bytes]:
    """Start a process in the checkout, in its own session: Ctrl-C reaches only this process, which ends the others."""
    return subprocess.Popen(
        command,
        cwd=env.ROOT,
        env=os.environ | {"PYTHONUNBUFFERED": "1"},
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )


class ProcessGroup:
    """Processes that are kept running. Call `restart_ended()` regularly; `stop()` ends them and their children."""

    def __init__(self, programs: list[Program], write: Write) -> None:
        self.write = write
        self._running = [self._launch(program) for program in programs]

    def _launch(self, program: Program) -> _Running:
        process = _start(program.command, subprocess.PIPE)
        assert process.stdout is not None
        reader = threading.Thread(target=self._pump, args=(program.name, process.stdout), daemon=True)
        reader.start()
        return _Running(program, process, reader, time.monotonic())

    def _pump(self, name: str, pipe: IO[bytes]) -> None:
        for line in pipe:
            self.write(name, line.decode(errors="replace").rstrip("\n"))
        pipe.close()

    def restart_ended(self) -> None:
        """Restart processes that ended, after a pause that grows if they end quickly."""
        now = time.monotonic()
        for index, running in enumerate(self._running):
            code = running.process.poll()
            if code is None:
                continue
            if running.restart_at is None:
                deaths = running.deaths + 1 if now - running.started < LONGEST_PAUSE_SECONDS else 0
                pause = min(2.0**deaths - 1, LONGEST_PAUSE_SECONDS)
                self.write(running.program.name, f"ended with {code}; starting it again in {pause:.0f} s")
                running.deaths, running.restart_at = deaths, now + pause
            elif now >= running.restart_at:
                running.reader.join(1)
                self._running[index] = self._launch(running.program)
                self._running[index].deaths = running.deaths

    def pid(self, name: str) -> int:
        return next(running.process.pid for running in self._running if running.program.name == name)

    def stop(self) -> None:
        """Send SIGTERM to all processes, wait, and kill those that still run after STOP_SECONDS."""
        for running in self._running:
            running.process.terminate()
        deadline = time.monotonic() + STOP_SECONDS
        for running in self._running:
            with contextlib.suppress(subprocess.TimeoutExpired):
                running.process.wait(max(0.1, deadline - time.monotonic()))
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(running.process.pid, signal.SIGKILL)
            running.process.wait()
            running.reader.join(2)


@contextlib.contextmanager
def run_programs(programs: list[Program], *, write: Write | None = None) -> Iterator[ProcessGroup]:
    """Start the programs, and stop them at the end of the block; a second Ctrl-C does not interrupt the stop."""
    processes = ProcessGroup(programs, write or to_terminal([program.name for program in programs]))
    try:
        yield processes
    finally:
        with embedded.ignore_interrupts():
            processes.stop()


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
    with log.open("wb") as output:
        process = _start(command, output)
    try:
        yield BackgroundCommand(log, process)
    finally:
        _stop(process)


def _stop(process: subprocess.Popen[bytes]) -> None:
    for number in (signal.SIGTERM, signal.SIGKILL):
        if process.poll() is not None:
            return
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, number)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(BACKGROUND_STOP_SECONDS)


def to_terminal(names: list[str]) -> Write:
    """Return a function that prints lines with the process's name in front, coloured on a terminal."""
    lock, width = threading.Lock(), max(map(len, names))
    colours = {name: COLOURS[index % len(COLOURS)] for index, name in enumerate(names)}

    def write(name: str, line: str) -> None:
        mark = f"{name:<{width}} │ "
        if sys.stdout.isatty():
            mark = f"\x1b[{colours[name]}m{mark}\x1b[0m"
        with lock:
            print(mark + line, flush=True)

    return write


def to_files(folder: Path) -> Write:
    """Return a function that appends lines to one file per process, if the terminal is used for something else."""
    folder.mkdir(parents=True, exist_ok=True)
    lock = threading.Lock()

    def write(name: str, line: str) -> None:
        with lock, (folder / f"{name}.log").open("a") as file:
            file.write(line + "\n")

    return write


def wait_until_reachable(host: str, port: int, *, seconds: float) -> bool:
    """Wait until the address accepts connections; return False if it does not in time."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        with contextlib.suppress(OSError), socket.create_connection((host, port), timeout=1):
            return True
        time.sleep(0.1)
    return False


def migrate_and_collect_static() -> None:
    for arguments in (("migrate", "--noinput", "--verbosity", "0"), ("collectstatic", "--noinput", "--verbosity", "0")):
        completed = subprocess.run(management_command(*arguments), cwd=env.ROOT, stdin=subprocess.DEVNULL)
        if completed.returncode:
            raise SystemExit(f"manage.py {arguments[0]} failed; its message is above")


def serve() -> None:
    """Serve until Ctrl-C. HOST and PORT choose the address."""
    host = env.text("HOST", "127.0.0.1")
    with embedded.services(watch=True):
        migrate_and_collect_static()
        preferred = env.number("PORT", 8000)
        port = find_free_port(host, preferred)
        shown = f"http://{host if host not in {'0.0.0.0', '::'} else '127.0.0.1'}:{port}"  # noqa: S104
        os.environ.setdefault("SITE_URL", shown)
        with run_programs([web_program(host=host, port=port), *worker_programs()]) as processes:
            if port != preferred:
                print(f"Port {preferred} is taken.")
            if wait_until_reachable(host, port, seconds=60):
                print(f"Proofline is at {os.environ['SITE_URL']}. Ctrl-C stops it.", flush=True)
                subprocess.run(management_command("first_account"), cwd=env.ROOT, stdin=subprocess.DEVNULL)
            while True:
                processes.restart_ended()
                time.sleep(0.5)


def main() -> None:
    if sys.argv[1:] != ["up"]:
        sys.exit("usage: python -m config.supervisor up")
    try:
        serve()
    except KeyboardInterrupt:
        print("Stopped.")
    except servers.StartFailed as error:
        sys.exit(f"The embedded services cannot start: {error}")


if __name__ == "__main__":
    main()
