"""A proxy before a real server: it cuts connections and spoils answers, before or after the server did the work."""

from __future__ import annotations

import http.client
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit


@dataclass
class Trouble:
    """A fault of the next request of this method whose path matches, without its query.

    how: "answer" (at once, nothing is done), "cut" (the connection ends, nothing is done), "late answer" (`status`
    after the work was done), "lost" (the connection ends after the work was done).
    """

    method: str
    path: str
    how: str
    status: int = 504
    headers: dict[str, str] = field(default_factory=dict)


class TroubledProxy:
    """`troubles`: what goes wrong next. `countdown_of_changes`: with which change from now on it does, and how."""

    def __init__(self, target: str) -> None:
        self.target = urlsplit(target)
        self.troubles: list[Trouble] = []
        self.countdown_of_changes: tuple[int, str] | None = None
        self.requests: list[tuple[str, str]] = []
        self.guard = threading.Lock()
        self.url = ""

    def note(self, method: str, path: str) -> Trouble | None:
        """Record a request; return what goes wrong with it."""
        with self.guard:
            self.requests.append((method, path))
            if self.countdown_of_changes and method != "GET":
                count, how = self.countdown_of_changes
                self.countdown_of_changes = (count - 1, how) if count > 1 else None
                if count == 1:
                    return Trouble(method, path, how)
            for trouble in self.troubles:
                if trouble.method == method and re.fullmatch(trouble.path, path):
                    self.troubles.remove(trouble)
                    return trouble
        return None


class _Handler(BaseHTTPRequestHandler):
    proxy: TroubledProxy

    def do_GET(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        trouble = self.proxy.note(self.command, urlsplit(self.path).path)
        if trouble is None or trouble.how in {"late answer", "lost"}:
            status, headers, content = self._forward(body)
        if trouble is None:
            self._send(status, headers, content)
        elif trouble.how in {"cut", "lost"}:
            self.close_connection = True
            self.connection.close()
        else:
            self._send(trouble.status, list(trouble.headers.items()), b"<html>trouble</html>")

    do_POST = do_PATCH = do_DELETE = do_GET

    def _forward(self, body: bytes) -> tuple[int, list[tuple[str, str]], bytes]:
        assert self.proxy.target.hostname
        connection = http.client.HTTPConnection(self.proxy.target.hostname, self.proxy.target.port, timeout=60)
        headers = {name: value for name, value in self.headers.items() if name.lower() != "connection"}
        connection.request(self.command, self.path, body=body, headers=headers)
        answer = connection.getresponse()
        content = answer.read()
        connection.close()
        return answer.status, answer.getheaders(), content

    def _send(self, status: int, headers: list[tuple[str, str]], content: bytes) -> None:
        self.send_response_only(status)
        for name, value in headers:
            if name.lower() not in {"connection", "content-length", "transfer-encoding"}:
                self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: object) -> None: ...


@contextmanager
def serving(target: str) -> Iterator[TroubledProxy]:
    """Serve a proxy before the address `target`."""
    proxy = TroubledProxy(target)
    handler = type("Handler", (_Handler,), {"proxy": proxy})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    proxy.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield proxy
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
