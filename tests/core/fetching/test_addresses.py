"""Tests of the addresses that the guarded fetcher refuses to connect to."""

from __future__ import annotations

import ipaddress
import socket
import threading
import time
from collections.abc import Sequence
from typing import Any

import pytest

from core import fetching
from core.fetching import Policy, Refused, fetch, is_public, parse
from tests.core.fetching.fetch_helpers import CSV, OPEN, OUTSIDE, get, open_policy
from tests.support import address_spellings
from tests.support.awkward_server import AwkwardServer, serving

SPELLINGS = address_spellings.all_spellings()


def resolve_like_programs(host: str, port: int) -> Sequence[str]:
    """Resolve the test's names, and other texts as this machine does: 127.1, 0x7f000001 …"""
    if host in address_spellings.PRIVATE_HOST_NAMES:
        return address_spellings.PRIVATE_HOST_NAMES[host]
    return [str(entry[4][0]) for entry in socket.getaddrinfo(host, port, flags=socket.AI_NUMERICHOST)]


# -- addresses ---------------------------------------------------------------------------------------------------------


def test_the_table_holds_more_than_two_hundred_spellings() -> None:
    assert len(SPELLINGS) >= 200


@pytest.mark.parametrize("url", SPELLINGS, ids=ascii)
def test_no_spelling_of_a_private_address_is_connected_to(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    touched: list[Any] = []
    monkeypatch.setattr(socket.socket, "connect", lambda self, address: touched.append(address))
    with pytest.raises(Refused) as refused:
        fetch(url, max_bytes=1000, timeout_seconds=2, policy=Policy(resolve=resolve_like_programs))
    assert touched == []
    assert refused.value.message.endswith(".") and " " in refused.value.message


@pytest.mark.parametrize("url", address_spellings.REFUSED_URLS, ids=lambda url: ascii(url)[:60])
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
    for addresses in (["127.0.0.1", "93.184.216.34"], ["93.184.216.34", "127.0.0.1"]):
        with pytest.raises(Refused, match="not a public address"):
            fetching.check("https://example.com/", Policy(resolve=lambda host, port, addresses=addresses: addresses))


def test_the_operators_networks_may_be_fetched_from_and_no_others() -> None:
    network = (ipaddress.ip_network("10.2.0.0/16"),)
    inside = Policy(private=network, resolve=lambda host, port: ["10.2.3.4"])
    assert fetching.check("http://shop.internal:8080/feed.csv", inside).netloc == "shop.internal:8080"
    for address in ("10.3.0.1", "127.0.0.1", "169.254.169.254", "::ffff:10.2.3.4"):
        elsewhere = Policy(private=network, resolve=lambda host, port, address=address: [address])
        with pytest.raises(Refused, match="not a public address"):
            fetching.check("http://shop.internal/feed.csv", elsewhere)
    public = Policy(private=network, resolve=lambda host, port: ["93.184.216.34"])
    with pytest.raises(Refused, match="port 8080"):
        fetching.check("http://shop.example.com:8080/feed.csv", public)


# -- pinned ------------------------------------------------------------------------------------------------------------


def test_the_name_stays_in_the_host_header_while_the_checked_address_is_connected_to(server: AwkwardServer) -> None:
    server.pages["/feed.csv"] = lambda talk: talk.answer(CSV, content_type="text/csv")
    with fetch(server.url("/feed.csv", "shop.example.com"), max_bytes=1000, timeout_seconds=3, policy=OPEN) as fetched:
        assert fetched.data == CSV
    assert server.talks[0].headers["host"] == f"shop.example.com:{server.port}"


def test_a_name_that_changes_its_address_is_connected_to_where_it_was_checked(
    server: AwkwardServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.pages["/"] = lambda talk: talk.answer(CSV)
    answers = [[OUTSIDE], ["127.0.0.1"]]
    resolved_hosts: list[str] = []

    def rebinding(host: str, port: int) -> Sequence[str]:
        resolved_hosts.append(host)
        return answers[min(len(resolved_hosts), len(answers)) - 1]

    looked_up: list[Any] = []
    real = socket.getaddrinfo
    monkeypatch.setattr(socket, "getaddrinfo", lambda host, *a, **k: looked_up.append(host) or real(host, *a, **k))
    with serving("127.0.0.1", server.port) as inside:
        inside.pages["/"] = lambda talk: talk.answer(b"secret")
        url = server.url("/", "rebind.example.com")
        with fetch(url, max_bytes=1000, timeout_seconds=3, policy=open_policy(rebinding)) as fetched:
            assert fetched.data == CSV
        assert resolved_hosts == ["rebind.example.com"]
        assert "rebind.example.com" not in looked_up, "the name was resolved again below us"
        with pytest.raises(Refused, match="not a public address"):  # the second fetch sees the second answer
            fetch(url, max_bytes=1000, timeout_seconds=3, policy=open_policy(rebinding))
        assert inside.connections == 0


def test_a_redirect_does_not_let_a_name_change_either(server: AwkwardServer) -> None:
    """The same name is resolved again for the second request and then gives an internal address."""
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
    test_ended = threading.Event()

    def slow(host: str, port: int) -> Sequence[str]:
        test_ended.wait(60)
        return ["93.184.216.34"]

    started = time.monotonic()
    with pytest.raises(Refused, match="not found within") as refused:
        fetch("https://example.com/", max_bytes=9, timeout_seconds=0.3, policy=Policy(resolve=slow))
    assert time.monotonic() - started < 30
    test_ended.set()
    assert not refused.value.is_final


def test_proxies_of_the_environment_are_not_used(server: AwkwardServer, monkeypatch: pytest.MonkeyPatch) -> None:
    server.pages["/"] = lambda talk: talk.answer(CSV)
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    assert get(server, "/").data == CSV
