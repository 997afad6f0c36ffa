"""The guarded fetcher: what it refuses to connect to, and what it does not let the other side do to it."""

from __future__ import annotations

import gzip
import io
import ipaddress
import socket
import ssl
import subprocess
import time
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from campaigns import fetching
from campaigns.fetching import Policy, Refused, fetch, is_public, parse
from campaigns.fetching.bodies import sniff
from campaigns.fetching.fetcher import retry_after
from tests import spellings
from tests.awkward_server import AwkwardServer, Talk, forever, serving

SPELLINGS = spellings.every()
OUTSIDE = "127.0.0.2"
"""Stands for the internet in tests with sockets: the one address that OPEN allows. 127.0.0.1 stays inside."""
CSV = b"sku,title\nMUG-1,Mug\n"


def as_programs_read(host: str, port: int) -> Sequence[str]:
    """Our names, and otherwise what this machine makes of the text by itself: 127.1, 0x7f000001 …"""
    if host in spellings.NAMES:
        return spellings.NAMES[host]
    return [str(entry[4][0]) for entry in socket.getaddrinfo(host, port, flags=socket.AI_NUMERICHOST)]


def open_policy(resolve: Any = None, **changed: Any) -> Policy:
    fields: dict[str, Any] = {"private": (ipaddress.IPv4Network(f"{OUTSIDE}/32"),), "idle_seconds": 2.0}
    return Policy(**(fields | changed), resolve=resolve or (lambda host, port: [OUTSIDE]))


OPEN = open_policy()


@pytest.fixture
def server() -> Iterator[AwkwardServer]:
    with serving(OUTSIDE) as one:
        yield one


def get(server: AwkwardServer, path: str, *, policy: Policy = OPEN, **asked: Any) -> fetching.Fetched:
    wanted: dict[str, Any] = {"max_bytes": 100_000, "timeout_seconds": 3.0} | asked
    return fetch(server.url(path), policy=policy, **wanted)


# -- addresses --------------------------------------------------------------------------------------------------------


def test_the_table_holds_more_than_two_hundred_spellings() -> None:
    assert len(SPELLINGS) >= 200


@pytest.mark.parametrize("url", SPELLINGS, ids=ascii)
def test_no_spelling_of_a_private_address_is_connected_to(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    touched: list[Any] = []
    monkeypatch.setattr(socket.socket, "connect", lambda self, address: touched.append(address))
    with pytest.raises(Refused) as refused:
        fetch(url, max_bytes=1000, timeout_seconds=2, policy=Policy(resolve=as_programs_read))
    assert touched == []
    assert refused.value.message.endswith(".") and " " in refused.value.message


@pytest.mark.parametrize("url", spellings.NEVER, ids=lambda url: ascii(url)[:60])
def test_what_is_no_address_of_a_public_web_server_is_refused(url: str) -> None:
    with pytest.raises(Refused):
        fetching.check(url, Policy(resolve=lambda host, port: ["93.184.216.34"]))


@pytest.mark.parametrize(
    ("url", "read"),
    [
        ("https://example.com", "https://example.com/"),
        ("HTTPS://Example.COM:443/Feed.csv?a=b&c#top", "https://example.com/Feed.csv?a=b&c"),
        ("http://example.com:443/", "http://example.com:443/"),
        ("https://münchen.example/ü bild.jpg", "https://xn--mnchen-3ya.example/%C3%BC%20bild.jpg"),
        ("https://例え.jp/", "https://xn--r8jz45g.jp/"),
        ("https://shop.example.com/100%.jpg", "https://shop.example.com/100%25.jpg"),
        ("https://shop.example.com/a%20b.jpg", "https://shop.example.com/a%20b.jpg"),
        ("https://cdn.example.com/@2x/a.jpg?url=http://127.0.0.1/", "https://cdn.example.com/@2x/a.jpg?url=http://127.0.0.1/"),
        ("https://my_shop.example.com/", "https://my_shop.example.com/"),
        ("https://localhost.example.com/", "https://localhost.example.com/"),
        ("https://93.184.216.34/a", "https://93.184.216.34/a"),
        ("https://[2606:2800:220:1:248:1893:25C8:1946]/a", "https://[2606:2800:220:1:248:1893:25c8:1946]/a"),
        ("https://1.example.com/", "https://1.example.com/"),
    ],
)  # fmt: skip
def test_addresses_as_shops_write_them_are_read(url: str, read: str) -> None:
    assert parse(url).url == read
    assert fetching.check(url, Policy(resolve=lambda host, port: ["93.184.216.34"])).url == read


@pytest.mark.parametrize("address", ["1.1.1.1", "93.184.216.34", "172.32.0.1", "100.63.255.255", "100.128.0.1",
                                     "192.0.1.1", "223.255.255.255", "2606:4700::1111", "2a00:1450:4001:80b::200e",
                                     "64:ff9b::5db8:d822"])  # fmt: skip
def test_public_addresses_are_public(address: str) -> None:
    assert is_public(address)


def test_every_address_of_a_name_must_be_public() -> None:
    for found in (["127.0.0.1", "93.184.216.34"], ["93.184.216.34", "127.0.0.1"]):
        with pytest.raises(Refused, match="not a public address"):
            fetching.check("https://example.com/", Policy(resolve=lambda host, port, found=found: found))


def test_the_operators_networks_may_be_fetched_from_and_no_others() -> None:
    network = (ipaddress.ip_network("10.2.0.0/16"),)
    inside = Policy(private=network, resolve=lambda host, port: ["10.2.3.4"])
    assert fetching.check("http://shop.internal:8080/feed.csv", inside).netloc == "shop.internal:8080"
    for found in ("10.3.0.1", "127.0.0.1", "169.254.169.254", "::ffff:10.2.3.4"):
        elsewhere = Policy(private=network, resolve=lambda host, port, found=found: [found])
        with pytest.raises(Refused, match="not a public address"):
            fetching.check("http://shop.internal/feed.csv", elsewhere)
    public = Policy(private=network, resolve=lambda host, port: ["93.184.216.34"])
    with pytest.raises(Refused, match="port 8080"):
        fetching.check("http://shop.example.com:8080/feed.csv", public)


# -- pinned -----------------------------------------------------------------------------------------------------------


def test_the_name_stays_in_the_host_header_while_the_checked_address_is_connected_to(server: AwkwardServer) -> None:
    server.pages["/feed.csv"] = lambda talk: talk.answer(CSV, content_type="text/csv")
    with fetch(server.url("/feed.csv", "shop.example.com"), max_bytes=1000, timeout_seconds=3, policy=OPEN) as got:
        assert got.data == CSV
    assert server.talks[0].headers["host"] == f"shop.example.com:{server.port}"


def test_a_name_that_changes_its_address_is_connected_to_where_it_was_checked(
    server: AwkwardServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.pages["/"] = lambda talk: talk.answer(CSV)
    answers = [[OUTSIDE], ["127.0.0.1"]]
    asked: list[str] = []

    def rebinding(host: str, port: int) -> Sequence[str]:
        asked.append(host)
        return answers[min(len(asked), len(answers)) - 1]

    looked_up: list[Any] = []
    real = socket.getaddrinfo
    monkeypatch.setattr(socket, "getaddrinfo", lambda host, *a, **k: looked_up.append(host) or real(host, *a, **k))
    with serving("127.0.0.1", server.port) as inside:
        inside.pages["/"] = lambda talk: talk.answer(b"secret")
        url = server.url("/", "rebind.example.com")
        with fetch(url, max_bytes=1000, timeout_seconds=3, policy=open_policy(rebinding)) as got:
            assert got.data == CSV
        assert asked == ["rebind.example.com"]
        assert "rebind.example.com" not in looked_up, "the name was resolved again below us"
        with pytest.raises(Refused, match="not a public address"):  # the second fetch sees the second answer
            fetch(url, max_bytes=1000, timeout_seconds=3, policy=open_policy(rebinding))
        assert inside.connections == 0


def test_a_redirect_does_not_let_a_name_change_either(server: AwkwardServer) -> None:
    """Same name, looked up again for the second hop: now it leads inside."""
    answers = iter([[OUTSIDE], ["127.0.0.1"]])
    server.pages["/a"] = lambda talk: talk.answer(b"", "302 Found", location="/b")
    with serving("127.0.0.1", server.port) as inside:
        with pytest.raises(Refused, match="not a public address"):
            fetch(server.url("/a", "shop.example.com"), max_bytes=1000, timeout_seconds=3,
                  policy=open_policy(lambda host, port: next(answers)))  # fmt: skip
        assert inside.connections == 0


def test_a_checked_address_that_does_not_answer_gives_way_to_the_next_checked_one(server: AwkwardServer) -> None:
    server.pages["/"] = lambda talk: talk.answer(CSV)
    both = (ipaddress.ip_network("127.0.0.2/31"),)
    policy = Policy(private=both, resolve=lambda host, port: ["127.0.0.3", OUTSIDE])
    assert fetch(server.url("/", "two.example.com"), max_bytes=99, timeout_seconds=3, policy=policy).data == CSV


def test_a_look_up_that_never_ends_is_given_up() -> None:
    def slow(host: str, port: int) -> Sequence[str]:
        time.sleep(3)
        return ["93.184.216.34"]

    started = time.monotonic()
    with pytest.raises(Refused, match="not found within") as refused:
        fetch("https://example.com/", max_bytes=9, timeout_seconds=0.3, policy=Policy(resolve=slow))
    assert time.monotonic() - started < 2
    assert not refused.value.is_final


def test_proxies_of_the_environment_are_not_used(server: AwkwardServer, monkeypatch: pytest.MonkeyPatch) -> None:
    server.pages["/"] = lambda talk: talk.answer(CSV)
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    assert get(server, "/").data == CSV


# -- redirects --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", ["301 Moved Permanently", "302 Found", "303 See Other", "307 T", "308 P"])
def test_redirects_are_followed(server: AwkwardServer, status: str) -> None:
    server.pages["/old"] = lambda talk: talk.answer(b"", status, location="/new?x=1")
    server.pages["/new"] = lambda talk: talk.answer(CSV)
    with get(server, "/old") as got:
        assert got.data == CSV
        assert got.final_url == server.url("/new?x=1")


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
    assert time.monotonic() - started < 1.6


# -- TLS --------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate for shop.example.com that signs itself, with its key."""
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
    with serving(OUTSIDE, tls=context) as one:
        one.named = named  # type: ignore[attr-defined]
        yield one


def test_certificates_are_checked_against_the_name_not_the_address(
    secure: AwkwardServer, certificate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    secure.pages["/"] = lambda talk: talk.answer(CSV)
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate / "cert.pem"))
    with fetch(secure.url("/", "shop.example.com"), max_bytes=999, timeout_seconds=3, policy=OPEN) as got:
        assert got.data == CSV
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


# -- time -------------------------------------------------------------------------------------------------------------


def _in_time(server: AwkwardServer, path: str, *, within: float, match: str, **asked: Any) -> Refused:
    started = time.monotonic()
    with pytest.raises(Refused, match=match) as refused:
        get(server, path, **asked)
    assert time.monotonic() - started < within
    return refused.value


def test_a_server_that_says_nothing_is_given_up(server: AwkwardServer) -> None:
    server.pages["/"] = lambda talk: talk.server.is_closing.wait(5)
    refusal = _in_time(server, "/", within=1.2, match="No answer within 0.5 s after its last byte",
                       policy=open_policy(idle_seconds=0.5))  # fmt: skip
    assert not refusal.is_final


def test_headers_that_drip_do_not_outlast_the_deadline(server: AwkwardServer) -> None:
    server.pages["/"] = lambda talk: talk.drip(b"HTTP/1.1 200 OK\r\nX-A: " + b"a" * 1000, 0.05)
    _in_time(server, "/", within=1.8, match="No answer within 1 s", timeout_seconds=1.0)


def test_a_body_that_drips_does_not_outlast_the_deadline(server: AwkwardServer) -> None:
    def drip(talk: Talk) -> None:
        talk.send(b"HTTP/1.1 200 OK\r\nContent-Length: 5000\r\n\r\n")
        talk.drip(b"a" * 5000, 0.05)

    server.pages["/"] = drip
    _in_time(server, "/", within=1.8, match="No answer within 1 s", timeout_seconds=1.0)


def test_endless_interim_answers_end(server: AwkwardServer) -> None:
    server.pages["/"] = lambda talk: forever(talk, b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n")
    _in_time(server, "/", within=3, match="limit", timeout_seconds=2.0)


# -- size -------------------------------------------------------------------------------------------------------------


def test_an_endless_body_ends_at_the_limit(server: AwkwardServer) -> None:
    def endless(talk: Talk) -> None:
        talk.send(b"HTTP/1.1 200 OK\r\n\r\n")
        forever(talk, b"a" * 65536)

    server.pages["/"] = endless
    assert _in_time(server, "/", within=2, match="more than 100,000 bytes").is_final


def test_an_endless_chunked_body_ends_at_the_limit(server: AwkwardServer) -> None:
    def endless(talk: Talk) -> None:
        talk.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        forever(talk, b"1\r\na\r\n" * 1000)

    server.pages["/"] = endless
    _in_time(server, "/", within=5, match="more than 20,000 bytes", max_bytes=20_000, timeout_seconds=6.0)


def test_endless_headers_end(server: AwkwardServer) -> None:
    def endless(talk: Talk) -> None:
        talk.send(b"HTTP/1.1 200 OK\r\n")
        forever(talk, b"X-Header: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\r\n")

    server.pages["/"] = endless
    _in_time(server, "/", within=3, match="limit|proper HTTP")


def test_an_announced_size_beyond_the_limit_is_not_read(server: AwkwardServer) -> None:
    server.pages["/"] = lambda talk: talk.answer(b"a" * 100_001)
    with pytest.raises(Refused, match="announces 100,001 bytes"):
        get(server, "/")


def test_a_body_of_exactly_the_limit_is_taken(server: AwkwardServer) -> None:
    server.pages["/"] = lambda talk: talk.answer(b"a" * 100_000)
    assert get(server, "/").size == 100_000


@pytest.mark.parametrize("encoding", ["gzip", "deflate"])
def test_a_bomb_is_not_unpacked_beyond_the_limit(server: AwkwardServer, encoding: str) -> None:
    """64 MB of nothing in 64 KB."""
    import tracemalloc

    engine = zlib.compressobj(9, wbits=31 if encoding == "gzip" else 15)
    packed = b"".join([*(engine.compress(bytes(1 << 20)) for _ in range(64)), engine.flush()])
    server.pages["/"] = lambda talk: talk.answer(packed, content_encoding=encoding)
    tracemalloc.start()
    with pytest.raises(Refused, match="more than 1,000,000 bytes"):
        get(server, "/", max_bytes=1_000_000)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 8 * (1 << 20)


def test_a_bomb_within_a_bomb_is_not_unpacked_either(server: AwkwardServer) -> None:
    inner = gzip.compress(bytes(1 << 24))
    server.pages["/"] = lambda talk: talk.answer(gzip.compress(inner * 40), content_encoding="gzip")
    with pytest.raises(Refused, match="more than 1,000,000 bytes"):
        get(server, "/", max_bytes=1_000_000)


def test_packed_answers_and_packed_files_are_unpacked(server: AwkwardServer) -> None:
    server.pages["/encoded"] = lambda talk: talk.answer(gzip.compress(CSV), content_encoding="gzip")
    server.pages["/feed.csv.gz"] = lambda talk: talk.answer(gzip.compress(CSV[:9]) + gzip.compress(CSV[9:]))
    server.pages["/both"] = lambda talk: talk.answer(gzip.compress(gzip.compress(CSV)), content_encoding="gzip")
    for path in ("/encoded", "/feed.csv.gz", "/both"):
        with get(server, path) as got:
            assert got.data == CSV, path
            assert got.content_type == "text/plain"
    assert server.talks[0].headers["accept-encoding"] == "gzip"


@pytest.mark.parametrize(
    ("body", "encoding", "sentence"),
    [
        (gzip.compress(CSV)[:-9], "gzip", "ends early"),
        (CSV, "gzip", "cannot be unpacked"),
        (CSV, "br", "expected gzip"),
        (gzip.compress(gzip.compress(CSV)), "gzip, gzip", "expected gzip"),
    ],
)
def test_broken_and_unknown_packing_is_refused(
    server: AwkwardServer, body: bytes, encoding: str, sentence: str
) -> None:
    server.pages["/"] = lambda talk: talk.answer(body, content_encoding=encoding)
    with pytest.raises(Refused, match=sentence):
        get(server, "/")


@pytest.mark.parametrize(
    "said",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\nshort",
        b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\nshort",
        b"HTTP/1.1 200 OK\r\nContent-Length: ten\r\n\r\nshort",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nshort",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffffffff\r\na",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nsho",
        b"ICY 200 OK\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01",
        b"HTTP/1.1 two hundred\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nBroken header\r\n\r\n",
        b"",
    ],
)
def test_answers_that_lie_or_break_off_are_refused_in_words(server: AwkwardServer, said: bytes) -> None:
    server.pages["/"] = lambda talk: talk.send(said)
    with pytest.raises(Refused) as refused:
        get(server, "/")
    assert refused.value.message.startswith(server.url("/"))
    assert not refused.value.is_final


def test_what_follows_an_announced_body_is_left_alone(server: AwkwardServer) -> None:
    server.pages["/"] = lambda talk: talk.send(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nshortHTTP/1.1 200 OK\r\n")
    assert get(server, "/").data == b"short"


# -- kinds, statuses, nothing new -------------------------------------------------------------------------------------


def test_a_sign_in_page_in_place_of_a_photo_is_recognised_by_its_bytes(server: AwkwardServer) -> None:
    page = b"\n<!-- hello --><!DOCTYPE html><html><body>Please sign in</body></html>"
    server.pages["/photo.jpg"] = lambda talk: talk.answer(page, content_type="image/jpeg")
    with pytest.raises(Refused, match=r"is a web page; expected a picture\."):
        get(server, "/photo.jpg", accept=["image/"])


def test_a_kind_is_refused_before_the_rest_is_read(server: AwkwardServer) -> None:
    def long(talk: Talk) -> None:
        talk.send(b"HTTP/1.1 200 OK\r\n\r\n<html>" + b"a" * 4096)
        talk.server.is_closing.wait(5)

    server.pages["/"] = long
    _in_time(server, "/", within=1, match="web page", accept=["image/"])


@pytest.mark.parametrize(
    ("head", "kind"),
    [
        (b"\xff\xd8\xff\xe0", "image/jpeg"),
        (b"\x89PNG\r\n\x1a\n\0", "image/png"),
        (b"RIFF\0\0\0\0WEBPVP8 ", "image/webp"),
        (b"\0\0\0\x1cftypavif", "image/avif"),
        (b"PK\x03\x04", "application/zip"),
        (b"\xef\xbb\xbf<?xml version='1.0'?><rss>", "application/xml"),
        (b"<rss version='2.0'>", "application/xml"),
        (b"<products><product>", "application/xml"),
        (b"<?xml version='1.0'?><!DOCTYPE html><html>", "application/xhtml+xml"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'>", "image/svg+xml"),
        (b' [{"sku": 1}]', "application/json"),
        (b"id\ttitle\n1\tMug", "text/plain"),
        (b"\xff\xfei\0d\0", "text/plain"),
        (b"a\0b", "application/octet-stream"),
        (b"<3 mugs;12", "text/plain"),
    ],
)
def test_kinds_are_told_by_their_first_bytes(head: bytes, kind: str) -> None:
    assert sniff(head) == kind


@pytest.mark.parametrize(
    ("status", "is_final"),
    [("404 Not Found", True), ("410 Gone", True), ("403 Forbidden", True), ("429 Too Many Requests", False),
     ("500 Oops", False), ("503 Busy", False), ("204 No Content", False), ("206 Partial Content", False)],
)  # fmt: skip
def test_other_statuses_are_refused_and_say_if_it_is_worth_trying_again(
    server: AwkwardServer, status: str, is_final: bool
) -> None:
    server.pages["/"] = lambda talk: talk.answer(b"", status, retry_after="7")
    with pytest.raises(Refused, match=f"answered {status[:3]}") as refused:
        get(server, "/")
    assert refused.value.is_final == is_final
    assert refused.value.status_code == int(status[:3])
    assert refused.value.retry_after_seconds == 7


def test_what_has_not_changed_is_not_sent_again(server: AwkwardServer) -> None:
    def page(talk: Talk) -> None:
        if talk.headers.get("if-none-match") == '"v1"' and "if-modified-since" in talk.headers:
            return talk.send(b"HTTP/1.1 304 Not Modified\r\n\r\n")
        return talk.answer(CSV, etag='"v1"', last_modified="Tue, 03 Nov 2026 08:00:00 GMT")

    server.pages["/"] = page
    first = get(server, "/")
    assert not first.not_modified and first.data == CSV
    second = get(server, "/", etag=first.etag, last_modified=first.last_modified)
    assert second.not_modified and second.file is None
    assert (second.etag, second.last_modified) == (first.etag, first.last_modified)


def test_a_not_modified_that_nobody_asked_for_is_refused(server: AwkwardServer) -> None:
    server.pages["/"] = lambda talk: talk.send(b"HTTP/1.1 304 Not Modified\r\n\r\n")
    with pytest.raises(Refused, match="answered 304"):
        get(server, "/")


def test_large_files_are_spooled_to_disk_and_hashed(server: AwkwardServer) -> None:
    import hashlib

    body = bytes(range(256)) * 40_000
    server.pages["/"] = lambda talk: talk.answer(body)
    with get(server, "/", max_bytes=20_000_000, timeout_seconds=10) as got:
        assert got.file is not None and not isinstance(getattr(got.file, "_file", None), io.BytesIO)
        assert (got.size, got.sha256) == (len(body), hashlib.sha256(body).hexdigest())


@pytest.mark.parametrize(("value", "seconds"), [("7", 7), ("999999999999", 86400), ("", None), ("soon", None),
                                                ("Sun, 06 Nov 1994 08:49:37 GMT", 0), ("²", None)])  # fmt: skip
def test_retry_after_is_a_number_or_a_date_and_at_most_a_day(value: str, seconds: float | None) -> None:
    assert retry_after(value) == seconds


# -- posting ----------------------------------------------------------------------------------------------------------


def test_a_message_is_posted_to_the_checked_address_and_its_answer_read_to_a_limit(server: AwkwardServer) -> None:
    def endless(talk: Talk) -> None:
        talk.send(b"HTTP/1.1 202 Accepted\r\nX-Word: yes\r\n\r\n")
        forever(talk, b"a" * 65536)

    server.pages["/hook"] = endless
    answer = fetching.post(server.url("/hook", "shop.example.com"), body=b"{}", headers={"X-A": "b"},
                           timeout_seconds=3, policy=OPEN)  # fmt: skip
    assert (answer.status, answer.headers["x-word"]) == (202, "yes")
    assert server.talks[0].headers["content-length"] == "2"


def test_a_post_does_not_follow_redirects(server: AwkwardServer) -> None:
    server.pages["/"] = lambda talk: talk.answer(b"", "302 Found", location="/other")
    assert fetching.post(server.url("/"), body=b"", headers={}, timeout_seconds=3, policy=OPEN).status == 302
    assert server.paths == ["/"]
