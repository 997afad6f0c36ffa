"""Tests of the guarded fetcher's limits on time and size."""

from __future__ import annotations

import gzip
import zlib

import pytest

from core.fetching import Refused
from tests.core.fetching.fetch_helpers import CSV, get, open_policy, refused_in_time
from tests.support.awkward_server import AwkwardServer, Talk, send_forever

# -- time --------------------------------------------------------------------------------------------------------------


def test_a_server_that_says_nothing_is_given_up(server: AwkwardServer) -> None:
    server.pages["/"] = lambda talk: talk.server.is_closing.wait(60)
    refusal = refused_in_time(server, "/", within=30, match="No answer within 0.5 s after its last byte",
                       policy=open_policy(idle_seconds=0.5))  # fmt: skip
    assert not refusal.is_final


def test_headers_that_drip_do_not_outlast_the_deadline(server: AwkwardServer) -> None:
    server.pages["/"] = lambda talk: talk.drip(b"HTTP/1.1 200 OK\r\nX-A: " + b"a" * 1000, 0.05)
    refused_in_time(server, "/", within=30, match="No answer within 1 s", timeout_seconds=1.0)


def test_a_body_that_drips_does_not_outlast_the_deadline(server: AwkwardServer) -> None:
    def drip(talk: Talk) -> None:
        talk.send(b"HTTP/1.1 200 OK\r\nContent-Length: 5000\r\n\r\n")
        talk.drip(b"a" * 5000, 0.05)

    server.pages["/"] = drip
    refused_in_time(server, "/", within=30, match="No answer within 1 s", timeout_seconds=1.0)


def test_endless_interim_answers_end(server: AwkwardServer) -> None:
    server.pages["/"] = lambda talk: send_forever(talk, b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n")
    refused_in_time(server, "/", within=30, match="limit", timeout_seconds=2.0)


# -- size --------------------------------------------------------------------------------------------------------------


def test_an_endless_body_ends_at_the_limit(server: AwkwardServer) -> None:
    def endless(talk: Talk) -> None:
        talk.send(b"HTTP/1.1 200 OK\r\n\r\n")
        send_forever(talk, b"a" * 65536)

    server.pages["/"] = endless
    assert refused_in_time(server, "/", within=30, match="more than 100,000 bytes").is_final


def test_an_endless_chunked_body_ends_at_the_limit(server: AwkwardServer) -> None:
    def endless(talk: Talk) -> None:
        talk.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        send_forever(talk, b"1\r\na\r\n" * 1000)

    server.pages["/"] = endless
    refused_in_time(server, "/", within=30, match="more than 20,000 bytes", max_bytes=20_000, timeout_seconds=6.0)


def test_endless_headers_end(server: AwkwardServer) -> None:
    def endless(talk: Talk) -> None:
        talk.send(b"HTTP/1.1 200 OK\r\n")
        send_forever(talk, b"X-Header: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\r\n")

    server.pages["/"] = endless
    refused_in_time(server, "/", within=30, match="limit|proper HTTP")


def test_an_announced_size_beyond_the_limit_is_not_read(server: AwkwardServer) -> None:
    server.pages["/"] = lambda talk: talk.answer(b"a" * 100_001)
    with pytest.raises(Refused, match="announces 100,001 bytes"):
        get(server, "/")


def test_a_body_of_exactly_the_limit_is_taken(server: AwkwardServer) -> None:
    server.pages["/"] = lambda talk: talk.answer(b"a" * 100_000)
    assert get(server, "/").size == 100_000


@pytest.mark.parametrize("encoding", ["gzip", "deflate"])
def test_a_bomb_is_not_unpacked_beyond_the_limit(server: AwkwardServer, encoding: str) -> None:
    """64 MB of zeros are packed into 64 KB."""
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
        with get(server, path) as fetched:
            assert fetched.data == CSV, path
            assert fetched.content_type == "text/plain"
    assert server.talks[0].headers["accept-encoding"] == "gzip"


PACKED = gzip.compress(CSV, mtime=0)  # with a time, the ids of the parametrized tests would differ between processes


@pytest.mark.parametrize(
    ("body", "encoding", "sentence"),
    [
        (PACKED[:-9], "gzip", "ends early"),
        (CSV, "gzip", "cannot be unpacked"),
        (CSV, "br", "expected gzip"),
        (gzip.compress(PACKED, mtime=0), "gzip, gzip", "expected gzip"),
    ],
)
def test_broken_and_unknown_packing_is_refused(
    server: AwkwardServer, body: bytes, encoding: str, sentence: str
) -> None:
    server.pages["/"] = lambda talk: talk.answer(body, content_encoding=encoding)
    with pytest.raises(Refused, match=sentence):
        get(server, "/")


@pytest.mark.parametrize(
    "response",
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
def test_answers_that_lie_or_break_off_are_refused_in_words(server: AwkwardServer, response: bytes) -> None:
    server.pages["/"] = lambda talk: talk.send(response)
    with pytest.raises(Refused) as refused:
        get(server, "/")
    assert refused.value.message.startswith(server.url("/"))
    assert not refused.value.is_final


def test_what_follows_an_announced_body_is_left_alone(server: AwkwardServer) -> None:
    server.pages["/"] = lambda talk: talk.send(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nshortHTTP/1.1 200 OK\r\n")
    assert get(server, "/").data == b"short"
