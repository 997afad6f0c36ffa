"""Granian on the test database, run as by `make up`."""

from __future__ import annotations

import contextlib
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass

import psutil

from config.supervisor import find_free_port
from tests.support import processes


@dataclass(frozen=True)
class WebServer:
    address: str
    port: int
    pid: int

    def memory_mb(self) -> float:
        """Return the resident memory of the server's processes."""
        server = psutil.Process(self.pid)
        return sum(process.memory_info().rss for process in [server, *server.children(recursive=True)]) / 1e6


@contextlib.contextmanager
def serving(*, threads: int = 4, **environment: str) -> Iterator[WebServer]:
    port = find_free_port("127.0.0.1", 8700)
    command = [sys.executable, "-m", "granian", "--interface", "wsgi", "--host", "127.0.0.1", "--port", str(port)]
    command += ["--blocking-threads", str(threads), "--workers", "1", "--log-level", "error", "--no-ws"]
    command += ["config.wsgi:application"]
    server = subprocess.Popen(command, cwd=processes.ROOT, env=processes.environment(**environment))
    try:
        processes.wait_until(lambda: _is_listening(port), seconds=60, what="the web server")
        yield WebServer(f"http://127.0.0.1:{port}", port, server.pid)
    finally:
        processes.stop(server)


def _is_listening(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
