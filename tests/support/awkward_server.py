"""A web server on a real socket that misbehaves on request: slow, endless, lying, compressed or circular."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

Behaviour = Callable[["Talk"], None]


@dataclass
class Talk:
    """One connection: the head of the request, and methods to answer."""

    connection: socket.socket
    path: str
    headers: dict[str, str]
    server: AwkwardServer

    def send(self, data: bytes) -> None:
        self.connection.sendall(data)

    def answer(self, body: bytes, status: str = "200 OK", **headers: str) -> None:
        """Send a proper answer; `content_type="text/csv"` becomes a header."""
        fields = {"Content-Length": str(len(body))}
        fields |= {name.replace("_", "-").title(): value for name, value in headers.items()}
        lines = [f"HTTP/1.1 {status}", *(f"{name}: {value}" for name, value in fields.items()), "", ""]
        self.send("\r\n".join(lines).encode() + body)

    def drip(self, data: bytes, every_seconds: float) -> None:
        """Send one byte after the other until the client hangs up."""
        for byte in data:
            if self.server.is_closing.wait(every_seconds):
                return
            self.send(bytes([byte]))


@dataclass
class AwkwardServer:
    """`pages`: path -> handler. `paths` and `talks` record the requests."""

    host: str
    port: int
    scheme: str = "http"
    pages: dict[str, Behaviour] = field(default_factory=dict)
    paths: list[str] = field(default_factory=list)
    talks: list[Talk] = field(default_factory=list)
    connections: int = 0
    is_closing: threading.Event = field(default_factory=threading.Event)

    def url(self, path: str = "/", name: str = "") -> str:
        return f"{self.scheme}://{name or self.host}:{self.port}{path}"


@contextmanager
def serving(host: str = "127.0.0.1", port: int = 0, tls: ssl.SSLContext | None = None) -> Iterator[AwkwardServer]:
    listening = socket.create_server((host, port))
    listening.settimeout(0.1)
    server = AwkwardServer(host, listening.getsockname()[1], "https" if tls else "http")
    threads: list[threading.Thread] = []

    def accept() -> None:
        while not server.is_closing.is_set():
            try:
                connection, _ = listening.accept()
            except TimeoutError:
                continue
            except OSError:
                return
            server.connections += 1
            thread = threading.Thread(target=talk, args=(connection,), daemon=True)
            threads.append(thread)
            thread.start()

    def talk(connection: socket.socket) -> None:
        with contextlib.suppress(OSError), connection:
            connection.settimeout(20)
            secured = tls.wrap_socket(connection, server_side=True) if tls else connection
            with secured:
                _serve_connection(server, secured)

    thread = threading.Thread(target=accept, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.is_closing.set()
        listening.close()
        for worker in (thread, *threads):
            worker.join(5)


def _serve_connection(server: AwkwardServer, connection: socket.socket) -> None:
    head = b""
    while b"\r\n\r\n" not in head:
        piece = connection.recv(65536)
        if not piece:
            return
        head += piece
    above, _, body = head.partition(b"\r\n\r\n")
    first, *lines = above.decode("latin-1").split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    # A socket that is closed with unread bytes breaks the connection off before the answer is read.
    while len(body) < int(headers.get("content-length", 0)) and (piece := connection.recv(65536)):
        body += piece
    path = first.split(" ")[1]
    server.paths.append(path)
    talk = Talk(connection, path, headers, server)
    server.talks.append(talk)
    page = server.pages.get(path.partition("?")[0])
    if page is None:
        talk.answer(b"nothing here", "404 Not Found", content_type="text/plain")
    else:
        page(talk)


def send_forever(talk: Talk, piece: bytes) -> None:
    """Send the same piece repeatedly until the client hangs up, at most for 120 s."""
    end = time.monotonic() + 120
    while time.monotonic() < end and not talk.server.is_closing.is_set():
        talk.send(piece)
