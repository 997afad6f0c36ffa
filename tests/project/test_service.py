"""Test the HTTP client of remote engines against a misbehaving server: an endless answer blocks no worker."""

from __future__ import annotations

import gzip
import time
from collections.abc import Iterator

import pytest

from generation.engines import service
from generation.engines.base import EngineError, ErrorKind
from generation.engines.service import Service
from tests.support.awkward_server import AwkwardServer, Talk, serving
from tests.support.processes import wait_until


@pytest.fixture
def server() -> Iterator[AwkwardServer]:
    with serving() as awkward_server:
        yield awkward_server


def dripping(talk: Talk) -> None:
    talk.send(b"HTTP/1.1 200 OK\r\nContent-Length: 5000\r\n\r\n")
    talk.drip(b"a" * 5000, 0.05)


def ask(server: AwkwardServer) -> EngineError:
    with pytest.raises(EngineError) as raised:
        Service(server.url()).request("GET", "/")
    return raised.value


def submit_to(server: AwkwardServer) -> EngineError:
    with pytest.raises(EngineError) as raised:
        Service(server.url()).submit("POST", "/")
    return raised.value


def test_an_answer_that_drips_ends_in_a_bounded_time(server: AwkwardServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service, "MAX_RESPONSE_SECONDS", 0.4)
    server.pages["/"] = dripping
    began = time.monotonic()
    assert ask(server).kind == ErrorKind.TRANSIENT
    assert submit_to(server).kind == ErrorKind.UNCERTAIN, "it was sent, and may have been taken"
    assert time.monotonic() - began < 60


def test_an_answer_larger_than_any_image_is_not_taken_in(
    server: AwkwardServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service, "MAX_BYTES", 1 << 20)
    server.pages["/"] = lambda talk: talk.answer(b"a" * (3 << 20))
    assert "over 1 MB" in submit_to(server).message


def test_a_packed_answer_is_read_like_any_other(server: AwkwardServer) -> None:
    packed = gzip.compress('{"id": "é"}'.encode())
    server.pages["/"] = lambda talk: talk.answer(
        packed, content_encoding="gzip", content_type="application/json", retry_after="3"
    )
    response = Service(server.url()).request("GET", "/")
    assert response.json() == {"id": "é"}
    assert response.headers["Retry-After"] == "3"


class Gate:
    """A hook that records each call, with the number of requests that the server had received."""

    def __init__(self, server: AwkwardServer, *, is_open: bool) -> None:
        self.server, self.is_open = server, is_open
        self.seen: list[tuple[str, int]] = []

    def wait_until_allowed(self) -> None:
        wait_until(lambda: self.server.connections > 0, seconds=60, what="a connection before the order's turn")
        self.seen.append(("come", len(self.server.paths)))
        if not self.is_open:
            raise EngineError(ErrorKind.RATE, "Patience.")

    def record_sent(self) -> None:
        self.seen.append(("left", 0))


@pytest.mark.parametrize("is_open", [True, False])
def test_a_submission_has_its_connection_and_leaves_when_its_turn_has_come(
    server: AwkwardServer, is_open: bool
) -> None:
    server.pages["/"] = lambda talk: talk.answer(b"{}")
    gate = Gate(server, is_open=is_open)
    token = service.send_hook.set(gate)
    try:
        if is_open:
            assert Service(server.url()).submit("POST", "/").status_code == 200
        else:
            assert submit_to(server).kind == ErrorKind.RATE
    finally:
        service.send_hook.reset(token)
    assert gate.seen == ([("come", 0), ("left", 0)] if is_open else [("come", 0)])
    assert server.paths == (["/"] if is_open else [])
