"""The rules of an installation: which IP addresses are public, the limits of a fetch, and its refusals.

The lists follow the IANA special-purpose registries (RFC 6890 and its successors). They are here because Python's own
list of global addresses differs between versions.
"""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from core.fetching.redaction import redact_text

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
Address = ipaddress.IPv4Address | ipaddress.IPv6Address

_REFUSED_V4 = tuple(
    ipaddress.IPv4Network(text)
    for text in (
        "0.0.0.0/8",  # this network
        "10.0.0.0/8",
        "100.64.0.0/10",  # carrier-grade NAT
        "127.0.0.0/8",
        "169.254.0.0/16",  # link-local: cloud metadata
        "172.16.0.0/12",
        "192.0.0.0/24",  # protocol assignments
        "192.0.2.0/24",  # documentation
        "192.31.196.0/24",  # AS112
        "192.52.193.0/24",  # AMT
        "192.88.99.0/24",  # 6to4 relays
        "192.168.0.0/16",
        "192.175.48.0/24",  # AS112
        "168.63.129.16/32",  # Azure's host, by a public-looking address
        "198.18.0.0/15",  # benchmarks
        "198.51.100.0/24",  # documentation
        "203.0.113.0/24",  # documentation
        "224.0.0.0/4",  # multicast
        "240.0.0.0/4",  # reserved, and broadcast
    )
)
_GLOBAL_V6 = ipaddress.IPv6Network("2000::/3")
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
_REFUSED_V6 = tuple(
    ipaddress.IPv6Network(text)
    for text in (
        "2001::/23",  # protocol assignments: Teredo, benchmarks, ORCHID
        "2001:db8::/32",  # documentation
        "2002::/16",  # 6to4: an IPv4 address in disguise
        "2620:4f:8000::/48",  # AS112
        "3ffe::/16",  # the returned 6bone
        "3fff::/20",  # documentation
    )
)
_ISATAP = (0x00005EFE, 0x02005EFE)  # third quarter of an address whose last one is an IPv4 address (RFC 5214)

PRIVATE: tuple[Network, ...] = (
    *(ipaddress.IPv4Network(text) for text in ("10.0.0.0/8", "127.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16")),
    *ipaddress.IPv4Network("100.64.0.0/10").address_exclude(ipaddress.IPv4Network("100.100.100.200/32")),
    ipaddress.IPv6Network("::1/128"),
    *ipaddress.IPv6Network("fc00::/7").address_exclude(ipaddress.IPv6Network("fd00:ec2::/32")),
)
"""Networks of machines and companies, without the addresses at which clouds give a machine the keys of its role."""


def is_public(address: str) -> bool:
    """Return True for an address of the public internet; False also for a text that is none or has a zone."""
    parsed = _parsed(address)
    if parsed is None:
        return False
    if isinstance(parsed, ipaddress.IPv4Address):
        return not any(parsed in network for network in _REFUSED_V4)
    is_nat64 = parsed in _NAT64  # IPv4 for networks without IPv4: as public as the address inside
    if not is_nat64 and (parsed not in _GLOBAL_V6 or any(parsed in network for network in _REFUSED_V6)):
        return False
    if is_nat64 or int(parsed) >> 32 & 0xFFFFFFFF in _ISATAP:
        return is_public(str(ipaddress.IPv4Address(int(parsed) & 0xFFFFFFFF)))
    return True


def is_within(address: str, networks: Iterable[Network]) -> bool:
    """Return True if the address is in one of the networks, which an operator has allowed."""
    parsed = _parsed(address)
    return parsed is not None and any(parsed in network for network in networks)


def _parsed(address: str) -> Address | None:
    """Return the address; None for a text that is none or has a zone."""
    try:
        return None if "%" in address else ipaddress.ip_address(address)
    except ValueError:
        return None


class Refused(Exception):
    """An address that is not fetched, or an answer that is not accepted.

    message: a sentence for a person, without logins and queries of addresses. is_final: a retry is useless.
    is_unsent: the other side got no byte of the request.
    """

    def __init__(
        self,
        message: str,
        *,
        is_final: bool = True,
        status_code: int | None = None,
        retry_after_seconds: float | None = None,
        is_unsent: bool = True,
    ) -> None:
        self.message = redact_text(message)
        super().__init__(self.message)
        self.is_final = is_final
        self.status_code = status_code
        self.retry_after_seconds = retry_after_seconds
        self.is_unsent = is_unsent


Resolver = Callable[[str, int], Sequence[str]]
"""Returns all addresses of a name (host, port), as text, best first. Raises OSError."""


def resolve_by_system(host: str, port: int) -> Sequence[str]:
    entries = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(entry[4][0]) for entry in entries))


@dataclass(frozen=True)
class Policy:
    """The rules of an installation. ports None: any. private: the operator's networks, for any port and local names."""

    schemes: frozenset[str] = frozenset({"http", "https"})
    ports: frozenset[int] | None = frozenset({80, 443})
    private: tuple[Network, ...] = ()
    connect_seconds: float = 10.0
    idle_seconds: float = 15.0
    resolve: Resolver = resolve_by_system


PUBLIC = Policy()
