"""An endpoint's "output_hosts": other hosts than the service's own from which its images may be fetched."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit


@dataclass(frozen=True)
class OutputHosts:
    """Allowed hosts. public: names such as "replicate.delivery", which also allow "*.replicate.delivery". private:
    hosts that may be in a private network, such as "minio:9000" and "10.0.0.5"; without a port, the scheme's usual
    one."""

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


def read(entries: Any) -> OutputHosts:
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
