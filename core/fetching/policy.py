"""The limits of a fetch, its refusals, and the resolver that turns names into addresses."""

from __future__ import annotations

import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from core.fetching.addresses import Network
from core.fetching.redaction import redact_text


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
    """Resolve a name as this machine does."""
    entries = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(entry[4][0]) for entry in entries))


@dataclass(frozen=True)
class Policy:
    """The rules of an installation. ports None: any port.

    private: the operator's own networks, for any port; with them, names that are not public ("shop.internal") count.
    """

    schemes: frozenset[str] = frozenset({"http", "https"})
    ports: frozenset[int] | None = frozenset({80, 443})
    private: tuple[Network, ...] = ()
    connect_seconds: float = 10.0
    idle_seconds: float = 15.0
    resolve: Resolver = resolve_by_system


PUBLIC = Policy()
