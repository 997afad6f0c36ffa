"""Tests of how the guarded fetcher reads responses, and of what it posts."""

from __future__ import annotations

import io

import pytest

from core import fetching
from core.fetching import Refused
from core.fetching.bodies import sniff
from core.fetching.fetcher import retry_after
from tests.core.fetching.fetch_helpers import CSV, OPEN, get, refused_in_time
from tests.support.awkward_server import AwkwardServer, Talk, send_forever

# -- kinds, statuses, nothing new --------------------------------------------------------------------------------------


def test_a_sign_in_page_in_place_of_a_photo_is_recognised_by_its_bytes(server: AwkwardServer) -> None:
    page = b"\n<!-- hello --><!DOCTYPE html><html><body>Please sign in</body></html>"
    server.pages["/photo.jpg"] = lambda talk: talk.answer(page, content_type="image/jpeg")
    with pytest.raises(Refused, match=r"is a web page; expected an image\."):
        get(server, "/photo.jpg", accept=["image/"])


def test_a_kind_is_refused_before_the_rest_is_read(server: AwkwardServer) -> None:
    def long(talk: Talk) -> None:
        talk.send(b"HTTP/1.1 200 OK\r\n\r\n<html>" + b"a" * 4096)
        talk.server.is_closing.wait(60)

    server.pages["/"] = long
    refused_in_time(server, "/", within=30, match="web page", accept=["image/"])


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
def test_kinds_are_recognised_by_their_first_bytes(head: bytes, kind: str) -> None:
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


@pytest.mark.parametrize("length", ["²", "9" * 5000, "9" * 30])
def test_an_announced_length_that_is_no_number_of_bytes_is_refused(server: AwkwardServer, length: str) -> None:
    server.pages["/"] = lambda talk: talk.send(f"HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\nsku".encode())
    with pytest.raises(Refused):
        get(server, "/")


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
    with get(server, "/", max_bytes=20_000_000, timeout_seconds=10) as fetched:
        assert fetched.file is not None and not isinstance(getattr(fetched.file, "_file", None), io.BytesIO)
        assert (fetched.size, fetched.sha256) == (len(body), hashlib.sha256(body).hexdigest())


@pytest.mark.parametrize(("value", "seconds"), [("7", 7), ("999999999999", 86400), ("", None), ("soon", None),
                                                ("Sun, 06 Nov 1994 08:49:37 GMT", 0), ("²", None)])  # fmt: skip
def test_retry_after_is_a_number_or_a_date_and_at_most_a_day(value: str, seconds: float | None) -> None:
    assert retry_after(value) == seconds


# -- posting -----------------------------------------------------------------------------------------------------------


def test_a_message_is_posted_to_the_checked_address_and_its_answer_read_to_a_limit(server: AwkwardServer) -> None:
    def endless(talk: Talk) -> None:
        talk.send(b"HTTP/1.1 202 Accepted\r\nX-Word: yes\r\n\r\n")
        send_forever(talk, b"a" * 65536)

    server.pages["/hook"] = endless
    answer = fetching.post(server.url("/hook", "shop.example.com"), body=b"{}", headers={"X-A": "b"},
                           timeout_seconds=3, policy=OPEN)  # fmt: skip
    assert (answer.status, answer.headers["x-word"]) == (202, "yes")
    assert server.talks[0].headers["content-length"] == "2"


def test_a_post_does_not_follow_redirects(server: AwkwardServer) -> None:
    server.pages["/"] = lambda talk: talk.answer(b"", "302 Found", location="/other")
    assert fetching.post(server.url("/"), body=b"", headers={}, timeout_seconds=3, policy=OPEN).status == 302
    assert server.paths == ["/"]
