"""An S3 server (moto) on a real socket that carries out one request at a time.

S3 checks and makes a conditional write in one step; the threads of moto do not. Permissions, overload, lost answers and
the gaps of services like S3 are added here, in the words of AWS and Cloudflare.
"""

from __future__ import annotations

import contextlib
import socket
import threading
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs
from xml.sax.saxutils import escape

import boto3
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, MotoRequestHandler, create_backend_app
from werkzeug.serving import make_server
from werkzeug.wrappers import Response

SLOW_DOWN = "SlowDown"
CUT_AFTER = "cut after"
CUT_BEFORE = "cut before"


@dataclass
class S3Server:
    """url: the address. denied: actions that no key may do. faults: by action, used up one request after the other.

    unknown: headers that the service does not implement. requests: by action.
    """

    url: str = ""
    denied: set[str] = field(default_factory=set)
    faults: dict[str, deque[str]] = field(default_factory=dict)
    unknown: set[str] = field(default_factory=set)
    requests: Counter[str] = field(default_factory=Counter)

    def fail_next(self, action: str, *faults: str) -> None:
        self.faults.setdefault(action, deque()).extend(faults)

    def answer(self, app: Any, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        actions = _actions(environ)
        self.requests.update(actions)
        if refused := self._refuse(environ, actions):
            return refused(environ, start_response)
        waiting = next((self.faults[action] for action in actions if self.faults.get(action)), None)
        fault = waiting.popleft() if waiting else ""
        if fault == SLOW_DOWN:
            return _error(environ, 503, SLOW_DOWN, "Please reduce your request rate.")(environ, start_response)
        if fault == CUT_BEFORE:
            return _cut(environ)
        done = Response.from_app(app, environ)
        if fault == CUT_AFTER:
            return _cut(environ)
        if done.status_code == 404 and "s3:GetObject" in actions and "s3:ListBucket" in self.denied:
            done = _error(environ, 403, "AccessDenied", _not_authorized(environ, "s3:ListBucket"))
        return done(environ, start_response)

    def _refuse(self, environ: dict[str, Any], actions: list[str]) -> Response | None:
        for action in actions:
            if action in self.denied:
                return _error(environ, 403, "AccessDenied", _not_authorized(environ, action))
        for header in self.unknown:
            if value := environ.get("HTTP_" + header.upper().replace("-", "_")):
                message = f"Header '{header}' with value '{value}' not implemented"
                return _error(environ, 501, "NotImplemented", message)
        return None


def _actions(environ: dict[str, Any]) -> list[str]:
    """Return the permissions that a request needs."""
    method, query = environ["REQUEST_METHOD"], parse_qs(environ["QUERY_STRING"], keep_blank_values=True)
    if environ["PATH_INFO"].strip("/").count("/") == 0:
        return ["s3:ListBucket" if method in {"GET", "HEAD"} else "s3:CreateBucket"]
    if "tagging" in query:
        return ["s3:GetObjectTagging" if method == "GET" else "s3:PutObjectTagging"]
    if method == "PUT":
        return ["s3:PutObject", *(["s3:PutObjectTagging"] if "HTTP_X_AMZ_TAGGING" in environ else [])]
    return ["s3:DeleteObject" if method == "DELETE" else "s3:GetObject"]


def _not_authorized(environ: dict[str, Any], action: str) -> str:
    return (
        f"User: arn:aws:iam::123456789012:user/proofline is not authorized to perform: {action} on resource: "
        f'"arn:aws:s3:::{environ["PATH_INFO"].strip("/")}" because no identity-based policy allows the {action} action'
    )


def _error(environ: dict[str, Any], status: int, code: str, message: str) -> Response:
    environ["wsgi.input"].read(
        int(environ.get("CONTENT_LENGTH") or 0)
    )  # a server that leaves the body unread cuts the connection
    body = (
        f"<?xml version='1.0' encoding='UTF-8'?><Error><Code>{code}</Code><Message>{escape(message)}</Message></Error>"
    )
    return Response("" if environ["REQUEST_METHOD"] == "HEAD" else body, status, mimetype="application/xml")


def _cut(environ: dict[str, Any]) -> Iterable[bytes]:
    environ["werkzeug.socket"].shutdown(socket.SHUT_RDWR)
    raise ConnectionAbortedError


@contextlib.contextmanager
def serving_s3() -> Iterator[S3Server]:
    """Serve S3 until the block ends."""
    app, guard, service = DomainDispatcherApplication(create_backend_app), threading.Lock(), S3Server()

    def one_at_a_time(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        with guard:
            return list(service.answer(app, environ, start_response))

    server = make_server("127.0.0.1", 0, one_at_a_time, threaded=True, request_handler=MotoRequestHandler)
    service.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield service
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@contextlib.contextmanager
def serving() -> Iterator[str]:
    """Serve S3; yield the address of the server."""
    with serving_s3() as service:
        yield service.url


def connect(url: str) -> Any:
    """Return a client of the tests."""
    return boto3.client(
        "s3", endpoint_url=url, aws_access_key_id="key", aws_secret_access_key="secret", region_name="us-east-1"
    )
