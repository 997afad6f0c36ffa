"""Parses an address strictly and checks all its IP addresses. What programs could read differently is refused."""

from __future__ import annotations

import ipaddress
import re
import threading
import time
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import quote

import idna

from core.fetching.policy import PUBLIC, Address, Policy, Refused, is_public, is_within
from core.fetching.redaction import redact_address

MAX_CHARACTERS = 2000
DEFAULT_PORTS = {"http": 80, "https": 443, "sftp": 22}

_PARTS = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://([^/?#]*)([^?#]*)(\?[^#]*)?(?:#.*)?", re.DOTALL)
_LABEL = re.compile(r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?")
_NUMBER = re.compile(r"0x[0-9a-f]*|[0-9]+")
_STRAY_PERCENT = re.compile(r"%(?![0-9A-Fa-f]{2})")
_NOT_PUBLIC_NAMES = frozenset(
    {"localhost", "localdomain", "local", "internal", "intranet", "private", "corp", "home", "lan", "invalid", "test",
     "onion", "alt"}
)  # fmt: skip
_NOT_PUBLIC_ENDS = (".home.arpa", ".in-addr.arpa", ".ip6.arpa")


@dataclass(frozen=True)
class Target:
    """A parsed address. host: lower-case ASCII. literal: the IP address if the host is one. path: with the query."""

    scheme: str
    host: str
    port: int
    path: str
    literal: str = ""

    @property
    def netloc(self) -> str:
        """Return the value of the Host header."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == DEFAULT_PORTS[self.scheme] else f"{host}:{self.port}"

    @property
    def url(self) -> str:
        return f"{self.scheme}://{self.netloc}{self.path}"

    @property
    def redacted(self) -> str:
        """Return the address as people may see it, without its query."""
        return redact_address(self.url)


def parse(url: str, policy: Policy = PUBLIC) -> Target:
    """Parse an address. Raises Refused, also for a private IP address; for names that lead to one, `resolve` does."""
    shown = redact_address(url)
    shown = shown if len(shown) <= 200 else shown[:200] + "…"
    if len(url) > MAX_CHARACTERS:
        raise Refused(f"The address has {len(url)} characters; expected at most {MAX_CHARACTERS}.")
    if odd := next((each for each in url if _is_odd(each)), None):
        name = f"{unicodedata.name(odd, 'control character').lower()} (U+{ord(odd):04X})"
        raise Refused(f"The address {shown!r} holds the character {name}, which no address may hold.")
    parts = _PARTS.fullmatch(url)
    if parts is None:
        raise Refused(f"{shown!r} is no address; expected one that begins with https://.")
    scheme, authority, path, query = parts[1].lower(), parts[2], parts[3], parts[4] or ""
    if scheme not in policy.schemes or scheme not in DEFAULT_PORTS:
        expected = " or ".join(sorted(policy.schemes, reverse=True))
        raise Refused(f"{shown!r} begins with {scheme}://; expected an {expected} address.")
    written, port = _authority(authority, shown, scheme)
    host, literal = _host(written, shown, policy)
    if policy.ports is not None and port not in policy.ports and not policy.private:
        allowed = ", ".join(str(each) for each in sorted(policy.ports))
        raise Refused(f"{shown!r} names port {port}; only {allowed} are allowed.")
    return Target(scheme, host, port, _encoded(path or "/") + _encoded(query), literal)


def _is_odd(character: str) -> bool:
    """Return True for control and format characters, unusual blanks, lone surrogates, and what some read as a slash."""
    return character == "\\" or (character != " " and unicodedata.category(character)[0] in "CZ")


def _authority(authority: str, shown: str, scheme: str) -> tuple[str, int]:
    """Return (host as written, port)."""
    if "@" in authority:
        raise Refused(f"{shown!r} carries a user name or password before its host; leave them out.")
    if "%" in authority:
        raise Refused(f"The host in {shown!r} is percent-encoded or names a zone; write it plainly.")
    match = re.fullmatch(r"(\[[^\[\]]*\]|[^:\[\]]*)(?::(.*))?", authority)
    if match is None:
        raise Refused(f"The host in {shown!r} cannot be read; an IPv6 address stands in brackets.")
    if not match[1]:
        raise Refused(f"{shown!r} names no host.")
    if match[2] is None:
        return match[1], DEFAULT_PORTS[scheme]
    if not re.fullmatch(r"[1-9][0-9]{0,4}", match[2]) or int(match[2]) > 65535:
        raise Refused(f"The port in {shown!r} is no number from 1 to 65535.")
    return match[1], int(match[2])


def _host(written: str, shown: str, policy: Policy) -> tuple[str, str]:
    """Return (host in ASCII, the host again if it is an IP address, else "")."""
    if written.startswith("["):
        return _literal(ipaddress.IPv6Address, written[1:-1], "no IPv6 address", shown, policy)
    host = _ascii(written, shown)
    if host.endswith("."):
        raise Refused(f"The host in {shown!r} ends with a dot; write it without.")
    labels = host.split(".")
    if _NUMBER.fullmatch(labels[-1]):
        # No name ends in a number, but some programs read such hosts as IPv4: 127.1, 0x7f000001, 017700000001 …
        mistake = "a number in an unusual form; write an IPv4 address as four decimal numbers"
        return _literal(ipaddress.IPv4Address, host, mistake, shown, policy)
    if len(host) > 253 or not all(_LABEL.fullmatch(label) for label in labels):
        raise Refused(f"The host {written!r} is no host name.")
    is_local = len(labels) == 1 or labels[-1] in _NOT_PUBLIC_NAMES or f".{host}".endswith(_NOT_PUBLIC_ENDS)
    if is_local and not policy.private:
        raise Refused(f"The host {host} is not a public name; only public addresses are fetched.")
    return host, ""


def _ascii(written: str, shown: str) -> str:
    """Return a name in lower-case ASCII; international names by IDNA 2008, without mapping look-alike letters."""
    if written.isascii():
        if " " in written:
            raise Refused(f"The host in {shown!r} holds a blank.")
        return written.lower()
    try:
        if any(dot in written for dot in "\u3002\uff0e\uff61"):
            raise idna.IDNAError("its dots are not plain ones")
        return idna.encode(written.lower(), strict=True).decode("ascii")
    except (idna.IDNAError, UnicodeError) as error:
        raise Refused(f"The host in {shown!r} is no international host name: {error}.") from None


def _literal(kind: type[Address], text: str, mistake: str, shown: str, policy: Policy) -> tuple[str, str]:
    try:
        address = str(kind(text))
    except ValueError:
        raise Refused(f"The host in {shown!r} is {mistake}.") from None
    if not is_public(address) and not is_within(address, policy.private):
        raise Refused(f"{shown!r} leads to {address}, which is not a public address; only public ones are fetched.")
    return address, address


def _encoded(text: str) -> str:
    """Return a path or query as it is sent: encoded parts stay, non-ASCII is encoded as UTF-8."""
    return quote(_STRAY_PERCENT.sub("%25", text), safe="%/?:@!$&'()*+,;=~[]|")


LOOKUP_SECONDS = 10.0


def check(url: str, policy: Policy = PUBLIC) -> Target:
    """Check an address without fetching it. Raises Refused if it would not be fetched now."""
    target = parse(url, policy)
    resolve(target, policy, seconds=LOOKUP_SECONDS)
    return target


def resolve(target: Target, policy: Policy, *, seconds: float) -> Sequence[str]:
    """Look a target up once; return its IP addresses. Connect only to these. Raises Refused unless all are allowed."""
    ip_addresses = [target.literal] if target.literal else _resolve_with_timeout(target, policy, seconds)
    for address in ip_addresses:
        if is_within(address, policy.private):
            continue
        if not is_public(address):
            raise Refused(
                f"{target.host} leads to {address}, which is not a public address; only public ones are fetched."
            )
        if policy.ports is not None and target.port not in policy.ports:
            allowed = ", ".join(str(port) for port in sorted(policy.ports))
            raise Refused(f"{target.redacted} names port {target.port}; only {allowed} are allowed.")
    return ip_addresses


def _resolve_with_timeout(target: Target, policy: Policy, seconds: float) -> list[str]:
    """Look a name up in a separate thread, because the system's resolver has no time limit."""
    outcome: list[list[str] | Exception] = []

    def look_up() -> None:
        try:
            outcome.append([str(address) for address in policy.resolve(target.host, target.port)])
        except (OSError, UnicodeError) as error:
            outcome.append(error)

    thread = threading.Thread(target=look_up, name="resolve", daemon=True)
    started = time.monotonic()
    thread.start()
    thread.join(max(0.0, min(seconds, LOOKUP_SECONDS)))
    if not outcome:
        waited = time.monotonic() - started
        raise Refused(f"The host {target.host} was not found within {waited:.0f} s.", is_final=False)
    if isinstance(outcome[0], Exception):
        raise Refused(f"The host {target.host} cannot be found.", is_final=False)
    if not outcome[0]:
        raise Refused(f"The host {target.host} has no address.", is_final=False)
    return outcome[0]
