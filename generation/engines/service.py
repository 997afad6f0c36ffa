"""The HTTP client for a service that makes images: one per endpoint, with an error kind for every failure.

The most important distinction is between a call that never arrived (TRANSIENT, may be sent again) and a submission
whose answer was lost (UNCERTAIN, may have been taken and paid for). On httpx 0.28 (https://www.python-httpx.org/exceptions/).
"""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from functools import cache
from time import monotonic, time
from typing import Any, Protocol
from urllib.parse import urljoin, urlsplit

import httpx

from core import fetching
from core.fetching.exchange import describe_error
from generation.engines.base import EngineError, ErrorKind, Pixels
from generation.finishing.decode import Undecodable, decode

USER_AGENT = "Proofline/1"
MAX_BYTES = 100 * 1024 * 1024
MAX_RESPONSE_SECONDS = 120.0
MAX_RETRY_AFTER_SECONDS = 3600.0
KEEPALIVE_SECONDS = 4.0
"""Servers close connections that are idle for five seconds or more; a submission at that moment would be uncertain."""
_TRANSPORT_HEADERS = frozenset({"content-encoding", "content-length", "transfer-encoding"})
_UNSENT_ERRORS = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout, httpx.UnsupportedProtocol)


class SendHook(Protocol):
    """A hook that delays a submission until it may be sent, and learns that it was sent."""

    def wait_until_allowed(self) -> None:
        """Wait until it may be sent. Raises EngineError if it may no longer be sent."""

    def record_sent(self) -> None: ...


send_hook: ContextVar[SendHook | None] = ContextVar("send_hook", default=None)
"""The hook for this thread's next submission. It is called once there is a connection, because making one may take
longer than everything else."""


def _trace(event: str, info: Mapping[str, Any]) -> None:
    if (current := send_hook.get()) is not None:
        if event.endswith("send_request_headers.started"):
            current.wait_until_allowed()
        elif event.endswith("send_request_body.complete"):
            current.record_sent()


@dataclass(frozen=True)
class OutputHosts:
    """Other hosts than the service's own from which its images may be fetched. public: names such as
    "replicate.delivery", which also allow "*.replicate.delivery". private: hosts that may be in a private network, such
    as "minio:9000" and "10.0.0.5"; without a port, the scheme's usual one."""

    public: tuple[str, ...] = ()
    private: frozenset[str] = frozenset()

    def is_private(self, scheme: str, host: str, port: int | None) -> bool:
        """Return whether an address of this scheme, host and port is at one of the private hosts."""
        usual = {"http": 80, "https": 443}.get(scheme)
        named = {with_port(host, usual if port is None else port)}
        if port in (None, usual):
            named.add(with_port(host, None))
        return usual is not None and not named.isdisjoint(self.private)

    def is_public(self, host: str) -> bool:
        """Return whether this is one of the public hosts, or below one of them."""
        return any(host == domain or host.endswith(f".{domain}") for domain in self.public)


class Service:
    """One service at a base address, which may have a path. Safe to use from many threads.

    headers go with every call and are for credentials. ca: a file of certificates to trust beside the system's.
    output_hosts: other hosts that its images may come from. Public ones are fetched by
    core.fetching, which refuses private addresses; those in a private network directly. Neither gets the headers.
    """

    def __init__(
        self,
        base_url: str,
        *,
        headers: Mapping[str, str] | None = None,
        timeout_seconds: float = 30.0,
        ca: str = "",
        output_hosts: OutputHosts = OutputHosts(),
    ) -> None:
        parts = urlsplit(base_url)
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            raise ValueError(
                f"{fetching.redact_address(base_url)!r} is no address of a service; expected something like https://host:8188."
            )
        self.base_url = base_url.rstrip("/") + "/"
        self.host = parts.netloc.rpartition("@")[2]
        self._output_hosts = output_hosts
        options: dict[str, Any] = {
            "timeout": httpx.Timeout(timeout_seconds, connect=10.0),
            "verify": trust(ca) if ca else _system_trust(),
            "follow_redirects": False,
            "limits": httpx.Limits(
                max_connections=200, max_keepalive_connections=50, keepalive_expiry=KEEPALIVE_SECONDS
            ),
        }
        self._client = httpx.Client(headers={"User-Agent": USER_AGENT, **(headers or {})}, **options)
        # Other hosts must not get the credentials.
        self._client_without_credentials = httpx.Client(headers={"User-Agent": USER_AGENT}, **options)

    def address(self, path: str) -> str:
        return urljoin(self.base_url, path.lstrip("/"))

    def request(self, method: str, path: str, **options: Any) -> httpx.Response:
        """Make a call that may be repeated. Returns any status; raises EngineError (TRANSIENT) without an answer."""
        try:
            return self._read_response(method, self.address(path), **options)
        except httpx.HTTPError as error:
            message = f"{self.host} did not answer: {describe_error(error)}."
            is_unsent = isinstance(error, _UNSENT_ERRORS)
            raise EngineError(ErrorKind.TRANSIENT, message, log=repr(error), is_unsent=is_unsent) from error

    def submit(self, method: str, path: str, **options: Any) -> httpx.Response:
        """Make a call that starts work at the service, when this thread's `send_hook` allows it. Returns any status.
        Without an answer it raises EngineError: TRANSIENT if the call cannot have arrived, UNCERTAIN if it may have."""
        extensions = {"trace": _trace} if send_hook.get() else {}
        try:
            return self._read_response(method, self.address(path), extensions=extensions, **options)
        except _UNSENT_ERRORS as error:
            message = f"{self.host} cannot be reached: {describe_error(error)}."
            raise EngineError(ErrorKind.TRANSIENT, message, log=repr(error), is_unsent=True) from error
        except httpx.HTTPError as error:
            message = f"{self.host} was sent the submission and did not answer: {describe_error(error)}."
            raise EngineError(ErrorKind.UNCERTAIN, message) from error

    def download(self, url: str) -> bytes:
        """Return an image's bytes from the service's own host or one of its output hosts. Raises EngineError. A
        relative address is the service's own."""
        url, client = self._resolve_address(url)
        if client is not None:
            return self._download_from(url, client)
        try:
            with fetching.fetch(
                url, accept=("image/",), max_bytes=MAX_BYTES, timeout_seconds=MAX_RESPONSE_SECONDS
            ) as fetched:
                return fetched.data
        except fetching.Refused as error:
            kind = ErrorKind.INPUT if error.is_final else ErrorKind.TRANSIENT
            kind = ErrorKind.LOST if error.status_code in {404, 410} else kind
            message = f"The image could not be fetched: {error.message}"
            if kind == ErrorKind.INPUT and _is_refused_address(url):
                kind = ErrorKind.ENDPOINT
                message += ' A host in a private network is named with its port in "output_hosts": "minio:9000".'
            raise EngineError(kind, message) from error

    def _resolve_address(self, url: str) -> tuple[str, httpx.Client | None]:
        """Return the whole address and the client to fetch it with; None if core.fetching fetches it. Raises
        EngineError of kind ENDPOINT for a host that the endpoint does not name, INPUT for an invalid address."""
        try:
            url = urljoin(self.base_url, url)
            parts = urlsplit(url)
            host, port = parts.hostname or "", parts.port
        except ValueError as error:
            message = f"{self.host} gave an address for the image that cannot be read: {error}."
            raise EngineError(ErrorKind.INPUT, message) from error
        if parts.netloc.rpartition("@")[2] == self.host and parts.scheme == urlsplit(self.base_url).scheme:
            return url, self._client
        if self._output_hosts.is_private(parts.scheme, host, port):
            return url, self._client_without_credentials
        if self._output_hosts.is_public(host):
            return url, None
        named = with_port(host, port)
        message = (
            f"The image lies at {named}, and this endpoint may not fetch from there. If it should, its operator adds "
            f"“{named}” to its output_hosts (“Images may come from”)."
        )
        raise EngineError(ErrorKind.ENDPOINT, message)

    def _read_response(self, method: str, url: str, **options: Any) -> httpx.Response:
        """Return the answer with all of its body. Raises httpx.ReadError if it exceeds a total time or size, because
        the client's timeout only limits the wait for each piece."""
        with self._client.stream(method, url, **options) as response:
            until, data = monotonic() + MAX_RESPONSE_SECONDS, bytearray()
            for piece in response.iter_bytes():
                data += piece
                if len(data) > MAX_BYTES:
                    raise httpx.ReadError(f"its answer is over {MAX_BYTES >> 20} MB")
                if monotonic() > until:
                    raise httpx.ReadError(f"its answer had no end after {MAX_RESPONSE_SECONDS:g} s")
        headers = [(name, value) for name, value in response.headers.items() if name not in _TRANSPORT_HEADERS]
        return httpx.Response(response.status_code, headers=headers, content=bytes(data), request=response.request)

    def _download_from(self, url: str, client: httpx.Client) -> bytes:
        until, host = monotonic() + MAX_RESPONSE_SECONDS, urlsplit(url).netloc.rpartition("@")[2]
        try:
            with client.stream("GET", url) as response:
                if response.status_code in {404, 410}:
                    message = f"{host} no longer has the image (HTTP {response.status_code})."
                    raise EngineError(ErrorKind.LOST, message)
                if response.status_code != 200:
                    response.read()
                    raise refusal(response, host)
                data = bytearray()
                for piece in response.iter_bytes():
                    data += piece
                    if len(data) > MAX_BYTES:
                        raise EngineError(ErrorKind.INPUT, f"The image is over {MAX_BYTES >> 20} MB; not taken.")
                    if monotonic() > until:
                        message = f"{host} sent its image for over {MAX_RESPONSE_SECONDS:g} s without coming to an end."
                        raise EngineError(ErrorKind.TRANSIENT, message)
                return bytes(data)
        except httpx.HTTPError as error:
            raise EngineError(ErrorKind.TRANSIENT, f"{host} broke off: {describe_error(error)}.") from error


def refusal(response: httpx.Response, name: str, *, words: str = "", is_submission: bool = False) -> EngineError:
    """Return the error for an answer without success, by its status alone. words: the service's own message, if known.

    is_submission: it answers a submission, so a gateway's "no answer from behind" is UNCERTAIN.
    """
    status = response.status_code
    text = response.text[:300].strip()
    is_page = "html" in response.headers.get("content-type", "") or text.startswith("<")  # a proxy's, of no use here
    reason = words or ("" if is_page else text) or response.reason_phrase or "no reason given"
    message, log = f"{name}: {reason} (HTTP {status})", response.text[:4000]
    if status == 429:
        return EngineError(ErrorKind.RATE, message, retry_after_seconds=retry_after(response), log=log)
    if status in {401, 402, 403}:
        return EngineError(ErrorKind.QUOTA, message, log=log)
    if status in {502, 504} and is_submission:
        return EngineError(ErrorKind.UNCERTAIN, message, log=log)
    if status >= 500 or status in {408, 409, 425}:
        return EngineError(ErrorKind.TRANSIENT, message, retry_after_seconds=retry_after(response), log=log)
    return EngineError(ErrorKind.INPUT, message, log=log)


def retry_after(response: httpx.Response) -> float | None:
    """Return the seconds that `retry-after-ms` or `Retry-After` (seconds or a date) ask for; None without them."""
    for name, per_second in (("retry-after-ms", 1000), ("retry-after", 1)):
        text = response.headers.get(name, "")
        if text.replace(".", "", 1).isdecimal():
            return min(float(text) / per_second, MAX_RETRY_AFTER_SECONDS)
    try:
        return min(max(parsedate_to_datetime(text).timestamp() - time(), 0.0), MAX_RETRY_AFTER_SECONDS)
    except ValueError:
        return None


def parse_json(response: httpx.Response, name: str) -> Any:
    """Return the answer's JSON. Raises EngineError (TRANSIENT) for anything else: a proxy's page, a cut-off answer."""
    try:
        return response.json()
    except ValueError as error:
        message = f"{name} answered something that is no JSON (HTTP {response.status_code})."
        raise EngineError(ErrorKind.TRANSIENT, message, log=response.text[:4000]) from error


def as_mapping(value: Any) -> Mapping[str, Any]:
    """Return parsed JSON if it is an object, else {}."""
    return value if isinstance(value, Mapping) else {}


def as_list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def as_number(value: Any) -> float | None:
    return value if isinstance(value, int | float) and not isinstance(value, bool) else None


def json_object(response: httpx.Response) -> Mapping[str, Any]:
    """Return the object in an answer; {} if it is anything else."""
    try:
        return as_mapping(response.json())
    except ValueError:
        return {}


def pixels_of(data: bytes) -> Pixels:
    """Decode a fetched image: height × width × 3|4, sRGB. Raises EngineError (TRANSIENT): it may be cut off."""
    try:
        return decode(data)
    except Undecodable as error:
        raise EngineError(ErrorKind.TRANSIENT, f"What came back is no usable image: {error}") from error


def _is_refused_address(url: str) -> bool:
    """Return whether core.fetching refuses the address itself, and not the content."""
    try:
        fetching.check(url)
    except fetching.Refused as error:
        return error.is_final
    return False


@cache
def _system_trust() -> ssl.SSLContext:
    """Return the system's trusted certificates. Cached: reading takes 50 ms, and pages build many engines."""
    return httpx.create_ssl_context()


def trust(ca: str) -> ssl.SSLContext:
    """Return the system's trusted certificates, and those in the file `ca` if one is given."""
    context = ssl.create_default_context()
    if ca:
        context.load_verify_locations(ca)
    return context


def read_output_hosts(entries: Any) -> OutputHosts:
    """Read an endpoint's setting. Raises ValueError with a sentence if it is no list of hosts."""
    if not isinstance(entries, list | tuple):
        raise ValueError('"output_hosts" is a list, such as ["replicate.delivery"].')
    hosts = [_host_and_port(entry) for entry in entries]
    return OutputHosts(
        tuple(host for host, port in hosts if not _may_be_private(host, port)),
        frozenset(with_port(host, port) for host, port in hosts if _may_be_private(host, port)),
    )


def may_be_private(entry: str) -> bool:
    """Return whether an entry may lead into a private network, so that only the operator may write it. Such an entry
    has a port, is an IP address, or is a name without a dot."""
    try:
        return _may_be_private(*_host_and_port(entry))
    except ValueError:
        return True


def with_port(host: str, port: int | None) -> str:
    """Return the host in the form of an address: "minio:9000", "[fd00::5]:9000", or without a port."""
    host = f"[{host}]" if ":" in host else host
    return host if port is None else f"{host}:{port}"


def _may_be_private(host: str, port: int | None) -> bool:
    return port is not None or "." not in host or ":" in host or host.rpartition(".")[2].isdigit()


def _host_and_port(entry: Any) -> tuple[str, int | None]:
    text = str(entry).strip()
    try:
        parts = urlsplit(f"//{text}")
        host, port = parts.hostname or "", parts.port
    except ValueError:
        host, port = "", None
    if not host or parts.netloc != text or "@" in text or any(letter.isspace() for letter in text):
        raise ValueError(f'"output_hosts" names {text[:100]!r}; write hosts such as "cdn.example" or "minio:9000".')
    return host, port
