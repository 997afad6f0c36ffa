"""Tests of the guarded fetcher: redirects and TLS certificates."""

from __future__ import annotations

import ssl
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from core.fetching import Refused, fetch
from tests.core.fetching.fetch_helpers import CSV, OPEN, OUTSIDE, get
from tests.support.awkward_server import AwkwardServer, Talk, serving

# -- redirects ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", ["301 Moved Permanently", "302 Found", "303 See Other", "307 T", "308 P"])
def test_redirects_are_followed(server: AwkwardServer, status: str) -> None:
    server.pages["/old"] = lambda talk: talk.answer(b"", status, location="/new?x=1")
    server.pages["/new"] = lambda talk: talk.answer(CSV)
    with get(server, "/old") as fetched:
        assert fetched.data == CSV
        assert fetched.final_url == server.url("/new?x=1")


@pytest.mark.parametrize(
    "location",
    [
        "http://127.0.0.1:{port}/", "//127.0.0.1:{port}/", "http://0177.1:{port}/", "http://[::ffff:127.0.0.1]:{port}/",
        "http://2130706433:{port}/", "http:\\\\127.0.0.1:{port}\\", "http://user@127.0.0.1:{port}/", "file:///etc/passwd",
        "http://①②⑦.0.0.1:{port}/", "http://127.0.0.1:{port}\t/", "gopher://127.0.0.1:{port}/", "http://[::1",
        "http://169.254.169.254/latest/meta-data/iam/", "https://10.0.0.1/",
    ],
)  # fmt: skip
def test_redirects_inside_are_refused(server: AwkwardServer, location: str) -> None:
    server.pages["/"] = lambda talk: talk.answer(b"", "302 Found", location=location.format(port=server.port))
    with serving("127.0.0.1", server.port) as inside:
        with pytest.raises(Refused, match="redirects to"):
            get(server, "/")
        assert inside.connections == 0


def test_a_circle_of_redirects_ends(server: AwkwardServer) -> None:
    server.pages["/a"] = lambda talk: talk.answer(b"", "302 Found", location="/b")
    server.pages["/b"] = lambda talk: talk.answer(b"", "302 Found", location="/a")
    with pytest.raises(Refused, match="circle"):
        get(server, "/a")
    assert server.paths == ["/a", "/b"]


def test_more_than_five_redirects_are_too_many(server: AwkwardServer) -> None:
    def on(talk: Talk) -> None:
        talk.answer(b"", "302 Found", location=f"/?{len(talk.server.paths)}")

    server.pages["/"] = on
    with pytest.raises(Refused, match="more than 5 times"):
        get(server, "/")
    assert len(server.paths) == 6


def test_five_redirects_are_followed(server: AwkwardServer) -> None:
    def on(talk: Talk) -> None:
        count = len(talk.server.paths)
        talk.answer(CSV) if count > 5 else talk.answer(b"", "302 Found", location=f"/?{count}")

    server.pages["/"] = on
    assert get(server, "/").data == CSV


def test_a_redirect_without_a_place_is_refused(server: AwkwardServer) -> None:
    server.pages["/"] = lambda talk: talk.answer(b"", "302 Found")
    with pytest.raises(Refused, match="without saying where"):
        get(server, "/")


def test_slow_redirects_share_one_deadline(server: AwkwardServer) -> None:
    def on(talk: Talk) -> None:
        time.sleep(0.4)
        talk.answer(b"", "302 Found", location=f"/?{len(talk.server.paths)}")

    server.pages["/"] = on
    started = time.monotonic()
    with pytest.raises(Refused, match=r"within 1 s|No answer|was not found"):
        get(server, "/", timeout_seconds=1.0)
    assert time.monotonic() - started < 30


# -- TLS ---------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make a self-signed certificate for shop.example.com, with its key."""
    folder = tmp_path_factory.mktemp("tls")
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=shop.example.com",
         "-addext", "subjectAltName=DNS:shop.example.com", "-keyout", folder / "key.pem", "-out", folder / "cert.pem"],
        check=True, capture_output=True,
    )  # fmt: skip
    return folder


@pytest.fixture
def secure(certificate: Path) -> Iterator[AwkwardServer]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate / "cert.pem", certificate / "key.pem")
    named: list[str | None] = []
    context.sni_callback = lambda connection, name, _: named.append(name)
    with serving(OUTSIDE, tls=context) as server:
        server.named = named  # type: ignore[attr-defined]
        yield server


def test_certificates_are_checked_against_the_name_not_the_address(
    secure: AwkwardServer, certificate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    secure.pages["/"] = lambda talk: talk.answer(CSV)
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate / "cert.pem"))
    with fetch(secure.url("/", "shop.example.com"), max_bytes=999, timeout_seconds=3, policy=OPEN) as fetched:
        assert fetched.data == CSV
    assert secure.named == ["shop.example.com"]  # type: ignore[attr-defined]
    with pytest.raises(Refused, match="certificate"):
        fetch(secure.url("/", "other.example.com"), max_bytes=999, timeout_seconds=3, policy=OPEN)


def test_a_certificate_that_nobody_vouches_for_is_refused(secure: AwkwardServer) -> None:
    with pytest.raises(Refused, match="certificate"):
        fetch(secure.url("/", "shop.example.com"), max_bytes=999, timeout_seconds=3, policy=OPEN)
    assert secure.paths == []


def test_a_redirect_from_https_to_http_is_refused(
    secure: AwkwardServer, server: AwkwardServer, certificate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate / "cert.pem"))
    secure.pages["/"] = lambda talk: talk.answer(b"", "302 Found", location=server.url("/", "shop.example.com"))
    with pytest.raises(Refused, match="unprotected"):
        fetch(secure.url("/", "shop.example.com"), max_bytes=999, timeout_seconds=3, policy=OPEN)
    assert server.connections == 0
