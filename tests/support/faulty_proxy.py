"""A proxy in front of a tests' server, which spoils single requests: cut off, answered wrongly, late or not at all."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.client import HTTPConnection, HTTPException, HTTPResponse
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

HOP = frozenset({"connection", "keep-alive", "transfer-encoding", "content-length", "expect"})
SLOW = "slow"
FAULTS: dict[str, tuple[bool, int, dict[str, str]]] = {
    "cut before": (False, 0, {}),
    "cut after": (True, 0, {}),
    "504 after": (True, 504, {}),
    "500 after": (True, 500, {}),
    "503 before": (False, 503, {}),
    "429 before": (False, 429, {"Retry-After": "0"}),
    "401 before": (False, 401, {}),
    "413 before": (False, 413, {}),
    SLOW: (True, -1, {}),
}
"""By name: whether the server carries the request out, the status of the answer (0: the connection is cut, -1: it comes
after the client's time-out), and its headers."""


@dataclass
class Proxy:
    """target: the server's address. slow_seconds: longer than the client's time-out.

    faults: what to do to which request from now, from 1. on_request: called before and after each request is passed on.
    """

    target: str
    url: str = ""
    slow_seconds: float = 0.0
    faults: dict[int, str] = field(default_factory=dict)
    met: list[str] = field(default_factory=list)
    count: int = 0
    on_request: Callable[[str], None] | None = None
    guard: threading.Lock = field(default_factory=threading.Lock)

    def spoil(self, number: int, fault: str) -> None:
        """Spoil the request with this number, from 1, counted from now."""
        with self.guard:
            self.faults[self.count + number] = fault

    def heal(self) -> None:
        with self.guard:
            self.faults.clear()

    def next_fault(self) -> str:
        with self.guard:
            self.count += 1
            fault = self.faults.pop(self.count, "")
            self.met += [fault] if fault else []
            return fault


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1
    proxy: Proxy

    def _serve(self) -> None:
        body = self._read_body()
        if body is None:
            self.close_connection = True
            return
        fault = self.proxy.next_fault()
        is_made, status, headers = FAULTS.get(fault, (True, 200, {}))
        self._tell("before")
        answer = self._pass_on(body) if is_made else None
        self._tell("after")
        if status == -1:
            time.sleep(self.proxy.slow_seconds)
        elif fault:
            answer = (status, list(headers.items()), b"trouble") if status else None
        if answer is None:
            self.close_connection = True
        else:
            self._answer(*answer)

    def handle_expect_100(self) -> bool:
        super().handle_expect_100()
        self.wfile.flush()
        return True

    def _read_body(self) -> bytes | None:
        """Return the body of the request; None if the client died in the middle of it."""
        if "chunked" in self.headers.get("Transfer-Encoding", ""):
            pieces = []
            while size := int(self.rfile.readline().split(b";")[0] or b"0", 16):
                pieces.append(self.rfile.read(size))
                self.rfile.readline()
            self.rfile.readline()
            return b"".join(pieces)
        length = int(self.headers.get("Content-Length") or 0)
        body = self.rfile.read(length)
        return body if len(body) == length else None

    def _pass_on(self, body: bytes) -> tuple[int, list[tuple[str, str]], bytes] | None:
        address = urlsplit(self.proxy.target)
        connection = HTTPConnection(address.hostname or "", address.port)
        try:
            connection.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
            for name, value in self.headers.items():
                if name.lower() not in HOP:
                    connection.putheader(name, value)
            connection.putheader("Content-Length", str(len(body)))
            connection.putheader("Connection", "close")
            connection.endheaders(body)
            return _read(connection.getresponse(), is_head=self.command == "HEAD")
        except (OSError, HTTPException):
            return None
        finally:
            connection.close()

    def _answer(self, status: int, headers: list[tuple[str, str]], body: bytes) -> None:
        with contextlib.suppress(OSError):
            self.send_response_only(status)
            for name, value in headers:
                self.send_header(name, value)
            if not any(name.lower() == "content-length" for name, _ in headers):
                self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)
            self.wfile.flush()

    def _tell(self, when: str) -> None:
        if self.proxy.on_request is not None:
            self.proxy.on_request(when)

    do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = do_OPTIONS = _serve

    def log_message(self, *_: Any) -> None:
        return


def _read(answer: HTTPResponse, *, is_head: bool) -> tuple[int, list[tuple[str, str]], bytes]:
    dropped = HOP - {"content-length"} if is_head else HOP
    headers = [(name, value) for name, value in answer.getheaders() if name.lower() not in dropped]
    return answer.status, headers, answer.read()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 512

    def handle_error(self, *_: Any) -> None:
        """Ignore clients that went away."""


@contextlib.contextmanager
def in_front_of(target: str) -> Iterator[Proxy]:
    """Serve on a port of 127.0.0.1 until the block ends; `url` of the yielded proxy is the address."""
    proxy = Proxy(target)
    server = _Server(("127.0.0.1", 0), type("Handler", (_Handler,), {"proxy": proxy}))
    proxy.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield proxy
    finally:
        server.shutdown()
        server.server_close()
        thread.join(5)
