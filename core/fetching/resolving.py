"""Looks a name up once and checks all its addresses."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence

from core.fetching.addresses import is_public, is_within
from core.fetching.policy import PUBLIC, Policy, Refused
from core.fetching.urls import Target, parse

LOOKUP_SECONDS = 10.0


def check(url: str, policy: Policy = PUBLIC) -> Target:
    """Check an address without fetching it. Raises Refused if it would not be fetched now."""
    target = parse(url, policy)
    resolve(target, policy, seconds=LOOKUP_SECONDS)
    return target


def resolve(target: Target, policy: Policy, *, seconds: float) -> Sequence[str]:
    """Look a target up once and return its IP addresses, all allowed. Connect only to these.

    Raises Refused if any of them is not public: a name with public and private addresses is suspicious.
    """
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
