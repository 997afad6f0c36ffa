"""Servers of services on real sockets, which answer late, wrongly or not at all, before or after the work is done."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, TypeVar
from urllib.parse import urlsplit

S = TypeVar("S", bound="TroubledServer")


@dataclass
class Trouble:
    """A fault of the next request of this method whose route matches.

    how: "answer" (at once, nothing is done), "cut" (the connection ends, nothing is done), "late answer" (`status`
    after the work was done), "lost" (the connection ends after the work was done). A server may know others.
    """

    method: str
    route: str
    how: str
    status: int = 500
    headers: dict[str, str] = field(default_factory=dict)
    body: str = "<html>trouble</html>"


@dataclass(frozen=True)
class Reply:
    status: int
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)


class TroubledServer:
    """The state of a service. A subclass answers requests.

    troubles: those that are to come. countdown: after how many requests from now a trouble comes, and which.
    """

    def __init__(self) -> None:
        self.url = ""
        self.max_bytes = 50_000_000
        self.troubles: list[Trouble] = []
        self.countdown: tuple[int, str] | None = None
        self.requests: list[tuple[str, str]] = []
        self.guard = threading.Lock()

    def route_of(self, method: str, path: str, query: str, body: bytes) -> str:
        """Return the name of a request's route, which troubles match."""
        return path.strip("/")

    def is_open_to_all(self, path: str) -> bool:
        """Return whether a path serves files to everybody; such requests have no troubles and are not counted."""
        return False

    def reply(self, method: str, target: str, headers: Any, body: bytes) -> Reply:
        """Do the work. Called by one thread at a time."""
        raise NotImplementedError

    def reply_too_large(self) -> Reply | None:
        """Return the answer to a body that is too large; None closes the connection."""
        return Reply(413, b"<html>trouble</html>")

    def note(self, method: str, route: str) -> None:
        """Record a request, and make trouble with it if the countdown is over."""
        self.requests.append((method, route))
        if self.countdown:
            count, how = self.countdown
            self.countdown = (count - 1, how) if count > 1 else None
            if count == 1:
                self.troubles.append(Trouble(method, re.escape(route), how, 504))

    def take_trouble(self, method: str, route: str, *how: str) -> Trouble | None:
        for trouble in self.troubles:
            if trouble.how in how and trouble.method == method and re.fullmatch(trouble.route, route):
                self.troubles.remove(trouble)
                return trouble
        return None


class TroubledHandler(BaseHTTPRequestHandler):
    service: TroubledServer

    def _serve(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        parts, service = urlsplit(self.path), self.service
        if service.is_open_to_all(parts.path):
            return self._send(service.reply(self.command, self.path, self.headers, body))
        with service.guard:
            route = service.route_of(self.command, parts.path, parts.query, body)
            service.note(self.command, route)
            early = service.take_trouble(self.command, route, "answer", "cut")
            if early:
                return self._end_badly(early, "cut")
            if len(body) > service.max_bytes:
                return self._send(service.reply_too_large())
            reply = service.reply(self.command, self.path, self.headers, body)
            late = service.take_trouble(self.command, route, "late answer", "lost")
        if late:
            return self._end_badly(late, "lost")
        return self._send(reply)

    def _end_badly(self, trouble: Trouble, silent: str) -> None:
        reply = Reply(trouble.status, trouble.body.encode(), trouble.headers)
        self._send(None if trouble.how == silent else reply)

    def _send(self, reply: Reply | None) -> None:
        """Answer; without a reply, close the connection."""
        if reply is None:
            self.close_connection = True
            self.connection.close()
            return
        self.send_response(reply.status)
        for name, value in {**reply.headers, "Content-Length": str(len(reply.body))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(reply.body)

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = _serve

    def log_message(self, *_: object) -> None:
        """Log nothing."""


@contextmanager
def serving(service: S) -> Iterator[S]:
    handler = type("Handler", (TroubledHandler,), {"service": service})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    service.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield service
    finally:
        server.shutdown()
        server.server_close()
        thread.join(5)
