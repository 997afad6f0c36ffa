"""One request on one connection, to checked IP addresses, within a total time and a total size.

Reading always ends: each read waits at most until the deadline, and all bytes are counted, also those of headers. TLS
and the Host header use the name, so certificates are checked against it."""

from __future__ import annotations

import errno
import os
import socket
import ssl
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import lru_cache
from typing import Any

import httpcore
import httpx

from core.fetching.policy import Policy, Refused
from core.fetching.urls import Target, resolve

_BY_NUMBER = {
    errno.ECONNREFUSED: "nothing answers at its port",
    errno.ECONNRESET: "it broke the connection off",
    errno.EPIPE: "it broke the connection off",
    errno.ECONNABORTED: "it broke the connection off",
    errno.ETIMEDOUT: "it did not answer in time",
    errno.ENETUNREACH: "there is no way to its network from here",
    errno.EHOSTUNREACH: "there is no way to it from here",
    errno.ENETDOWN: "the network is down here",
    errno.EMFILE: "this machine has too many connections open",
}
_BY_CERTIFICATE_FAULT = {
    9: "its certificate is not valid yet",
    10: "its certificate has expired",
    18: "its certificate is signed by itself and not trusted here",
    19: "its certificate is signed by an authority that is not trusted here",
    20: "its certificate is signed by an authority that is not trusted here",
    62: "its certificate is for another name",
    64: "its certificate is for another address",
}
_TIMEOUTS = (TimeoutError, httpx.TimeoutException, httpcore.TimeoutException)
_BROKEN_OFF = (httpx.RemoteProtocolError, httpcore.RemoteProtocolError, ConnectionError, EOFError)
_OTHER = "the connection failed"


def describe_error(error: BaseException) -> str:
    """Return a clause such as "its name is not known" for an error of sockets, TLS or HTTP; the text of any other."""
    causes = list(_causes(error))
    for cause in causes:
        if isinstance(cause, ssl.SSLCertVerificationError):
            return _BY_CERTIFICATE_FAULT.get(cause.verify_code, "its certificate is not trusted here")
        if isinstance(cause, ssl.SSLError):
            return "no encrypted connection could be made; does it speak https at this port?"
        if isinstance(cause, socket.gaierror):
            return "its name is not known"
    for cause in causes:
        if isinstance(cause, OSError) and cause.errno in _BY_NUMBER:
            return _BY_NUMBER[cause.errno]
    if any(isinstance(cause, _TIMEOUTS) for cause in causes):
        return "it did not answer in time"
    if any(isinstance(cause, _BROKEN_OFF) for cause in causes):
        return "it broke the connection off"
    is_ours = len(causes) == 1 and not isinstance(error, OSError) and "[" not in str(error)
    return str(error).rstrip(".") or _OTHER if is_ours else _OTHER


def _causes(error: BaseException) -> Iterator[BaseException]:
    """Yield the exception and its causes: httpx and httpcore wrap the exceptions of the system."""
    seen: set[int] = set()
    following: BaseException | None = error
    while following is not None and id(following) not in seen:
        seen.add(id(following))
        yield following
        following = following.__cause__ or following.__context__


MAX_ADDRESSES_TRIED = 3
HEADER_BYTES = 256 * 1024  # of a response besides its body: status, headers, chunk sizes; TLS is not counted


class Deadline:
    """A fixed end time, which small steps of progress cannot postpone."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self._end = time.monotonic() + seconds

    def remaining(self, at_most: float | None = None) -> float:
        """Return the seconds that are left, never negative, at most `at_most`."""
        remaining = max(0.0, self._end - time.monotonic())
        return remaining if at_most is None else min(remaining, at_most)

    @property
    def is_over(self) -> bool:
        return time.monotonic() >= self._end


class _ResponseTooLarge(httpcore.NetworkError):
    """More bytes arrived than the response may have."""


class _LimitedStream(httpcore.NetworkStream):
    """A connection whose waits end at the deadline and whose bytes are counted."""

    def __init__(self, inner: httpcore.NetworkStream, deadline: Deadline, max_bytes: int, idle_seconds: float) -> None:
        self.inner, self.deadline, self.left, self.idle_seconds = inner, deadline, max_bytes, idle_seconds

    def _wait(self) -> float:
        if self.deadline.is_over:
            raise httpcore.ReadTimeout("the time is over")
        return self.deadline.remaining(self.idle_seconds)

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        data = self.inner.read(max_bytes, self._wait())
        self.left -= len(data)
        if self.left < 0:
            raise _ResponseTooLarge("too many bytes")
        return data

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self.inner.write(buffer, self._wait())

    def close(self) -> None:
        self.inner.close()

    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.NetworkStream:
        secured = self.inner.start_tls(ssl_context, server_hostname, self._wait())
        return _LimitedStream(secured, self.deadline, self.left, self.idle_seconds)

    def get_extra_info(self, info: str) -> Any:
        return self.inner.get_extra_info(info)


class _PinnedBackend(httpcore.SyncBackend):
    """Connects only to the given addresses, whatever the requested name is."""

    def __init__(self, addresses: Sequence[str], deadline: Deadline, max_bytes: int, policy: Policy) -> None:
        self.addresses, self.deadline, self.max_bytes, self.policy = addresses, deadline, max_bytes, policy

    def connect_tcp(self, host: str, port: int, *_: Any, **__: Any) -> httpcore.NetworkStream:
        last: Exception = httpcore.ConnectError("no address")
        for address in self.addresses[:MAX_ADDRESSES_TRIED]:
            if self.deadline.is_over:
                raise httpcore.ConnectTimeout("the time is over")
            try:
                stream = super().connect_tcp(address, port, self.deadline.remaining(self.policy.connect_seconds))
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
                last = error
                continue
            return _LimitedStream(stream, self.deadline, self.max_bytes, self.policy.idle_seconds)
        raise last


@contextmanager
def exchange(
    method: str,
    target: Target,
    *,
    policy: Policy,
    deadline: Deadline,
    max_bytes: int,
    headers: Mapping[str, str],
    body: bytes = b"",
) -> Iterator[httpcore.Response]:
    """Send one request and yield its response, body unread; raises Refused for any failure, also while reading.

    max_bytes: of the body as it is sent. Redirects are not followed; proxies and cookies are not used.
    """
    sent = {"Host": target.netloc, "Connection": "close", **headers}
    addresses = resolve(target, policy, seconds=deadline.remaining())
    backend = _PinnedBackend(addresses, deadline, max_bytes + HEADER_BYTES, policy)
    pool = httpcore.ConnectionPool(
        ssl_context=_ssl_context(os.environ.get("SSL_CERT_FILE", ""), os.environ.get("SSL_CERT_DIR", "")),
        max_connections=1,
        max_keepalive_connections=0,
        network_backend=backend,
    )
    url = httpcore.URL(
        scheme=target.scheme.encode(), host=target.host.encode(), port=target.port, target=target.path.encode()
    )
    try:
        with pool, pool.stream(method, url, headers=list(sent.items()), content=body) as answer:
            yield answer
    except _ResponseTooLarge:
        message = f"{target.redacted} sent more than {max_bytes:,} bytes; that is the limit."
        raise Refused(message, is_unsent=False) from None
    except httpcore.ConnectTimeout:
        raise Refused(f"{target.host} cannot be connected to within the time allowed.", is_final=False) from None
    except httpcore.TimeoutException:
        waited = f"{deadline.seconds:g} s" if deadline.is_over else f"{policy.idle_seconds:g} s after its last byte"
        raise Refused(f"No answer within {waited} from {target.redacted}.", is_final=False, is_unsent=False) from None
    except httpcore.ConnectError as error:
        raise Refused(f"{target.host} cannot be connected to: {describe_error(error)}.", is_final=False) from None
    except httpcore.ProtocolError as error:
        message = f"{target.redacted} ended early or does not speak proper HTTP: {describe_error(error)}."
        raise Refused(message, is_final=False, is_unsent=False) from None
    except httpcore.NetworkError as error:
        message = f"{target.redacted} broke off: {describe_error(error)}."
        raise Refused(message, is_final=False, is_unsent=False) from None


def headers_of(answer: httpcore.Response) -> dict[str, str]:
    """Return the headers by lower-case name; the first one wins."""
    headers: dict[str, str] = {}
    for name, value in answer.headers:
        try:
            text = value.decode("utf-8")
        except UnicodeDecodeError:
            text = value.decode("latin-1")
        headers.setdefault(name.decode("ascii", "replace").lower(), text)
    return headers


@lru_cache(maxsize=4)
def _ssl_context(certificate_file: str, certificate_folder: str) -> ssl.SSLContext:
    """Return the trusted certificate authorities: certifi's, or those of the environment. Loading them is slow."""
    return httpx.create_ssl_context()
