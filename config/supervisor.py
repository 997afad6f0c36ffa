"""Runs the whole line in one terminal: web, two workers and the clock. `python -m config.supervisor up`.

A process that dies is started again, because the line is built to survive that (honcho and its like end everything with
the first death, which is why these lines exist). The database is held by the caller and outlives all of them.
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
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from config import embedded, env, servers

STOP_SECONDS = 20
LONGEST_PAUSE_SECONDS = 30.0
COLOURS = (36, 33, 35, 32, 34)
Write = Callable[[str, str], None]


@dataclass(frozen=True)
class Program:
    """One process to keep alive: its name in front of each line, and its command."""

    name: str
    command: Sequence[str]


@dataclass
class _Running:
    program: Program
    process: subprocess.Popen[bytes]
    reader: threading.Thread
    started: float
    deaths: int = 0
    again_at: float | None = None


def manage(*words: str) -> list[str]:
    """The command line of one of Django's commands, in this Python."""
    return [sys.executable, str(env.ROOT / "manage.py"), *words]


def web(*, host: str, port: int) -> Program:
    """The pages and the API on one address."""
    return Program(
        "web",
        [
            *(sys.executable, "-m", "granian", "--interface", "wsgi", "--host", host, "--port", str(port)),
            *("--blocking-threads", str(env.number("WEB_THREADS", 8)), "--workers", str(env.number("WEB_WORKERS", 1))),
            *("--log-level", "error", "--no-ws", "config.wsgi:application"),
        ],
    )


def workers() -> list[Program]:
    """Two workers serve every lane, and the clock ticks for housekeeping."""
    # Without a GPU the first worker would sit idle beside a busy cpu lane.
    first = ["gpu"] if Path("/dev/nvidia0").exists() else ["gpu", "cpu"]
    return [
        Program("gpu", manage("worker", *first)),
        Program("rest", manage("worker", "cloud", "cpu", "delivery", "housekeeping")),
        Program("clock", manage("clock")),
    ]


def free_port(host: str, wanted: int) -> int:
    """`wanted`, or the next port that nobody listens on."""
    for port in range(wanted, min(wanted + 100, 65_536)):
        with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
            # As the web server itself does; otherwise a port closed a moment ago counts as taken for a minute.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            with contextlib.suppress(OSError):
                probe.bind((host, port))
                return port
    raise SystemExit(f"no free port between {wanted} and {wanted + 99} on {host}: name another with PORT=…")


@dataclass
class Crew:
    """Processes kept alive together. `tend()` must be called now and then; `stop()` ends them, children included."""

    programs: list[Program]
    write: Write
    _running: list[_Running] = field(default_factory=list)

    def start(self) -> None:
        self._running = [self._launch(program) for program in self.programs]

    def _launch(self, program: Program) -> _Running:
        process = subprocess.Popen(
            program.command,
            cwd=env.ROOT,
            env=os.environ | {"PYTHONUNBUFFERED": "1"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            # Ctrl-C must reach us alone; we end them in order.
            start_new_session=True,
        )
        assert process.stdout is not None
        reader = threading.Thread(target=self._pump, args=(program.name, process.stdout), daemon=True)
        reader.start()
        return _Running(program, process, reader, time.monotonic())

    def _pump(self, name: str, pipe: IO[bytes]) -> None:
        for line in pipe:
            self.write(name, line.decode(errors="replace").rstrip("\n"))
        pipe.close()

    def tend(self) -> None:
        """Start again what has died, after a pause that grows with each quick death."""
        now = time.monotonic()
        for index, one in enumerate(self._running):
            code = one.process.poll()
            if code is None:
                continue
            if one.again_at is None:
                deaths = one.deaths + 1 if now - one.started < LONGEST_PAUSE_SECONDS else 0
                pause = min(2.0**deaths - 1, LONGEST_PAUSE_SECONDS)
                self.write(one.program.name, f"ended with {code}; starting it again in {pause:.0f} s")
                one.deaths, one.again_at = deaths, now + pause
            elif now >= one.again_at:
                one.reader.join(1)
                self._running[index] = self._launch(one.program)
                self._running[index].deaths = one.deaths

    def pid(self, name: str) -> int:
        """The process id of a program that runs now."""
        return next(one.process.pid for one in self._running if one.program.name == name)

    def stop(self) -> None:
        """Ask all to finish what they hold, wait, and kill what has not left after STOP_SECONDS."""
        for one in self._running:
            _signal(one.process, signal.SIGTERM)
        deadline = time.monotonic() + STOP_SECONDS
        for one in self._running:
            with contextlib.suppress(subprocess.TimeoutExpired):
                one.process.wait(max(0.1, deadline - time.monotonic()))
            _signal(one.process, signal.SIGKILL, group=True)
            one.process.wait()
            one.reader.join(2)
        self._running = []


def _signal(process: subprocess.Popen[bytes], number: int, *, group: bool = False) -> None:
    """To the process, or to its whole session, whose leader it is."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        if group:
            os.killpg(process.pid, number)
        elif process.poll() is None:
            process.send_signal(number)


@contextlib.contextmanager
def crew(programs: list[Program], *, write: Write | None = None) -> Iterator[Crew]:
    """A started Crew, stopped at the end of the block however it ends; a second Ctrl-C does not cut that short."""
    one = Crew(programs, write or to_terminal([program.name for program in programs]))
    one.start()
    try:
        yield one
    finally:
        with embedded.undisturbed():
            one.stop()


def to_terminal(names: list[str]) -> Write:
    """Lines with the process's name in front, coloured on a terminal."""
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
    """Lines appended to one file per process, for when the terminal shows something else."""
    folder.mkdir(parents=True, exist_ok=True)
    lock = threading.Lock()

    def write(name: str, line: str) -> None:
        with lock, (folder / f"{name}.log").open("a") as file:
            file.write(line + "\n")

    return write


def answers(host: str, port: int, *, seconds: float) -> bool:
    """Wait until something accepts connections there."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        with contextlib.suppress(OSError), socket.create_connection((host, port), timeout=1):
            return True
        time.sleep(0.1)
    return False


def prepare() -> None:
    """Bring the database's tables and the static files up to date."""
    for words in (("migrate", "--noinput", "--verbosity", "0"), ("collectstatic", "--noinput", "--verbosity", "0")):
        done = subprocess.run(manage(*words), cwd=env.ROOT, stdin=subprocess.DEVNULL)
        if done.returncode:
            raise SystemExit(f"manage.py {words[0]} failed; its message is above")


def up() -> None:
    """Serve until Ctrl-C. HOST and PORT choose the address."""
    host = env.text("HOST", "127.0.0.1")
    with embedded.services(watch=True):
        prepare()
        wanted = env.number("PORT", 8000)
        port = free_port(host, wanted)
        shown = f"http://{host if host not in {'0.0.0.0', '::'} else '127.0.0.1'}:{port}"  # noqa: S104
        os.environ.setdefault("SITE_URL", shown)
        with crew([web(host=host, port=port), *workers()]) as line:
            if port != wanted:
                print(f"Port {wanted} is taken.")
            if answers(host, port, seconds=60):
                print(f"Proofline is at {os.environ['SITE_URL']}. Ctrl-C stops it.", flush=True)
                subprocess.run(manage("first_account"), cwd=env.ROOT, stdin=subprocess.DEVNULL)
            while True:
                line.tend()
                time.sleep(0.5)


def main() -> None:
    if sys.argv[1:] != ["up"]:
        sys.exit("usage: python -m config.supervisor up")
    try:
        up()
    except KeyboardInterrupt:
        print("Stopped.")
    except servers.CannotStart as error:
        sys.exit(f"The embedded services cannot start: {error}")


if __name__ == "__main__":
    main()
