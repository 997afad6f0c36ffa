"""Connections for other protocols than HTTP, to checked IP addresses only."""

from __future__ import annotations

import socket

from core.fetching.exchange import MAX_ADDRESSES_TRIED, Deadline, describe_error
from core.fetching.policy import Policy, Refused
from core.fetching.urls import parse, resolve


def connect(url: str, *, policy: Policy, timeout_seconds: float) -> socket.socket:
    """Connect to an address such as sftp://files.example.com:22. Raises Refused, as `request` does.

    Its name is looked up once, and only the IP addresses that were checked are connected to.
    """
    target, deadline = parse(url, policy), Deadline(timeout_seconds)
    error: OSError = TimeoutError()
    for address in resolve(target, policy, seconds=deadline.remaining())[:MAX_ADDRESSES_TRIED]:
        if deadline.is_over:
            break
        try:
            return socket.create_connection((address, target.port), deadline.remaining(policy.connect_seconds))
        except OSError as failure:
            error = failure
    raise Refused(f"{target.host} cannot be connected to: {describe_error(error)}.", is_final=False)
