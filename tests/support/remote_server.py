"""The base of the tests' ComfyUI, Replicate and OpenAI servers: a web server on a real socket.

A service subclasses `Remote` and answers in `respond`. The faults are the same for all services and are defined here:
limits that answer 429, slow answers, connections that are cut before or after the request took effect.
"""

from __future__ import annotations

import contextlib
import json
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar, TypeVar
from urllib.parse import parse_qs, urlsplit


@dataclass(frozen=True)
class Request:
    """A request as it arrived. path: without the query; query: last value of each name; route: "POST /prompt"."""

    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass(frozen=True)
class Response:
    status: int = 200
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)


def plain(value: Any, status: int = 200, **headers: str) -> Response:
    """Return a JSON answer; `retry_after="5"` becomes a header."""
    named = {name.replace("_", "-"): text for name, text in headers.items()}
    return Response(status, json.dumps(value).encode(), {"Content-Type": "application/json", **named})


@dataclass(frozen=True)
class Fault:
    """A fault of one request.

    seconds: how long to be silent first. after_effect: the request is carried out, and only its answer is wrong.
    response: the false answer. is_cut: the connection ends without a byte of an answer.
    """

    seconds: float = 0.0
    after_effect: bool = False
    response: Response | None = None
    is_cut: bool = False


CUT_BEFORE = Fault(is_cut=True)
CUT_AFTER = Fault(is_cut=True, after_effect=True)


class Window:
    """At most `limit` requests in any `seconds`, counted when they arrive."""

    def __init__(self, limit: int, seconds: float) -> None:
        self.limit = limit
        self.seconds = seconds
        self._arrived: deque[float] = deque()

    def wait_seconds(self) -> float:
        """Count the request and return 0.0 if there is room, else return how long until there is."""
        now = time.monotonic()
        while self._arrived and self._arrived[0] <= now - self.seconds:
            self._arrived.popleft()
        if len(self._arrived) >= self.limit:
            return max(self._arrived[0] + self.seconds - now, 0.001)
        self._arrived.append(now)
        return 0.0


class Remote:
    """One service. `counts` has every request by route; `faults[route]` are used up one request after the other.

    limits: windows that the routes in `limited` share. most_at_once: calls of these routes at the same time.
    """

    limited: ClassVar[frozenset[str]] = frozenset()

    def __init__(self, *, limits: tuple[Window, ...] = (), most_at_once: int = 0) -> None:
        self.counts: Counter[str] = Counter()
        self.refused: Counter[str] = Counter()
        self.requests: list[Request] = []
        self.faults: dict[str, deque[Fault]] = {}
        self.limits = limits
        self.most_at_once = most_at_once
        self.guard = threading.RLock()
        self.url = ""
        self._at_once = 0

    def fail_next(self, route: str, *faults: Fault) -> None:
        with self.guard:
            self.faults.setdefault(route, deque()).extend(faults)

    def respond(self, request: Request) -> Response:
        """Carry out one request and answer it; called from many threads."""
        raise NotImplementedError

    def too_many(self, wait_seconds: float) -> Response:
        """Return the 429 answer of this service."""
        return plain({"detail": "slow down"}, 429, retry_after=f"{wait_seconds:.3f}")

    def route(self, request: Request) -> str:
        """Return the name under which a request is counted; services whose paths contain ids override it."""
        return f"{request.method} {request.path}"

    def handle(self, request: Request) -> Response | None:
        """Handle one request from limits and faults to its answer; None cuts the connection."""
        route = self.route(request)
        is_limited = route in self.limited
        with self.guard:
            self.counts[route] += 1
            self.requests.append(request)
            waiting = self.faults.get(route)
            fault = waiting.popleft() if waiting else None
            wait = self._over_limit() if is_limited and fault is None else 0.0
            if wait:
                self.refused[route] += 1
                return self.too_many(wait)
            self._at_once += is_limited
        try:
            fault = fault or Fault()
            time.sleep(fault.seconds)
            is_truth = not fault.is_cut and fault.response is None
            answer = self.respond(request) if is_truth or fault.after_effect else None
            return answer if is_truth else fault.response
        finally:
            with self.guard:
                self._at_once -= is_limited

    def _over_limit(self) -> float:
        if self.most_at_once and self._at_once >= self.most_at_once:
            return 0.5
        return max((window.wait_seconds() for window in self.limits), default=0.0)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1
    service: Remote

    def _serve(self) -> None:
        parts = urlsplit(self.path)
        length = int(self.headers.get("Content-Length") or 0)
        body = self.rfile.read(length)
        if len(body) < length:  # the client died in the middle of its request: no service carries out half of one
            self.close_connection = True
            return
        request = Request(
            self.command,
            parts.path,
            {name: values[-1] for name, values in parse_qs(parts.query, keep_blank_values=True).items()},
            {name.lower(): value for name, value in self.headers.items()},
            body,
        )
        if self._upgrade(request):
            return
        response = self.service.handle(request)
        if response is None:
            self.close_connection = True
            return
        with contextlib.suppress(OSError):
            self.send_response(response.status)
            for name, value in response.headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(response.body)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(response.body)

    def _upgrade(self, request: Request) -> bool:
        """Let a service take the connection for itself (a websocket); True if it did."""
        take: Callable[[Request, Any], bool] | None = getattr(self.service, "upgrade", None)
        if take is None or not take(request, self.connection):
            return False
        self.close_connection = True
        return True

    do_GET = do_HEAD = do_POST = do_PUT = do_DELETE = do_PURGE = _serve

    def log_message(self, *_: Any) -> None:
        return


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 512
    # With the usual five, Linux cuts calls that arrive together and were accepted: their submissions become uncertain.


S = TypeVar("S", bound=Remote)


@contextlib.contextmanager
def serving(service: S, port: int = 0) -> Iterator[S]:
    """Serve on a port of 127.0.0.1 until the block ends; `service.url` is the address."""
    handler = type("Handler", (_Handler,), {"service": service})
    server = _Server(("127.0.0.1", port), handler)
    service.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield service
    finally:
        server.shutdown()
        server.server_close()
        thread.join(5)
