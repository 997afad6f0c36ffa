"""Test the supervisor: it labels lines, restarts dead processes, ends all of them, and avoids a taken port."""

from __future__ import annotations

import os
import signal
import socket
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from config import supervisor
from config.supervisor import ProcessGroup, Program

PATIENT = "import time; print('here', flush=True); time.sleep(600)"
STUBBORN = (
    "import signal, subprocess, sys, time; signal.signal(signal.SIGTERM, signal.SIG_IGN);"
    "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)']);"
    "print(child.pid, flush=True); time.sleep(600)"
)


def python(name: str, code: str) -> Program:
    return Program(name, [sys.executable, "-c", code])


class Lines:
    """The output of the processes, as (name, line)."""

    def __init__(self) -> None:
        self.seen: list[tuple[str, str]] = []

    def __call__(self, name: str, line: str) -> None:
        self.seen.append((name, line))

    def count(self, name: str, line: str) -> int:
        return self.seen.count((name, line))


def wait_until(condition: Callable[[], bool], processes: ProcessGroup | None = None) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline, "waited 60 s in vain"
        if processes:
            processes.restart_ended()
        time.sleep(0.02)


def is_running(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state != "Z"


def test_each_line_carries_the_name_of_its_process() -> None:
    lines = Lines()
    with supervisor.run_programs([python("one", PATIENT), python("two", PATIENT)], write=lines):
        wait_until(lambda: lines.count("one", "here") == lines.count("two", "here") == 1)


def test_a_killed_process_is_started_again_and_the_others_stay() -> None:
    lines = Lines()
    with supervisor.run_programs([python("one", PATIENT), python("two", PATIENT)], write=lines) as processes:
        wait_until(lambda: len(lines.seen) == 2)
        killed, kept = processes.pid("one"), processes.pid("two")
        os.kill(killed, signal.SIGKILL)
        wait_until(lambda: lines.count("one", "here") == 2, processes)
        assert processes.pid("one") != killed
        assert processes.pid("two") == kept
        assert any("ended with -9" in line for _, line in lines.seen)


def test_what_dies_again_and_again_is_started_less_and_less_often() -> None:
    lines = Lines()
    with supervisor.run_programs([python("hasty", "raise SystemExit(3)")], write=lines) as processes:
        wait_until(lambda: len(lines.seen) == 2, processes)
    assert [line for _, line in lines.seen] == [
        "ended with 3; starting it again in 1 s",
        "ended with 3; starting it again in 3 s",
    ]


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks at /proc")
def test_stopping_leaves_neither_a_stubborn_process_nor_its_children(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervisor, "STOP_SECONDS", 1)
    lines = Lines()
    with supervisor.run_programs([python("stubborn", STUBBORN), python("patient", PATIENT)], write=lines) as processes:
        wait_until(lambda: len(lines.seen) == 2)
        child = next(int(line) for name, line in lines.seen if name == "stubborn")
        pids = [processes.pid("stubborn"), processes.pid("patient"), child]
        assert all(map(is_running, pids))
    wait_until(lambda: not any(map(is_running, pids)))


def test_an_error_in_the_block_stops_the_processes_too() -> None:
    lines = Lines()
    with pytest.raises(RuntimeError), supervisor.run_programs([python("one", PATIENT)], write=lines) as processes:  # noqa: PT012
        wait_until(lambda: len(lines.seen) == 1)
        pid = processes.pid("one")
        raise RuntimeError("the driver failed")
    assert not is_running(pid)


def test_a_taken_port_is_passed_over() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert supervisor.find_free_port("127.0.0.1", port) > port


def test_lines_can_go_to_one_file_per_process(tmp_path: Path) -> None:
    write = supervisor.to_files(tmp_path / "logs")
    write("web", "first")
    write("web", "second")
    assert (tmp_path / "logs" / "web.log").read_text() == "first\nsecond\n"
