"""Describes failed connections in plain words, without error numbers or the texts of a TLS library."""

from __future__ import annotations

import errno
import socket
import ssl
from collections.abc import Iterator

import httpcore
import httpx

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
