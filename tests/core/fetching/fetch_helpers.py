"""Helpers that send requests to a test server, under a policy that allows it."""

from __future__ import annotations

import ipaddress
import time
from typing import Any

import pytest

from core import fetching
from core.fetching import Policy, Refused, fetch
from tests.support.awkward_server import AwkwardServer

OUTSIDE = "127.0.0.2"
"""Stands for the internet in tests with sockets: the one address that OPEN allows. 127.0.0.1 stays inside."""
CSV = b"sku,title\nMUG-1,Mug\n"


def open_policy(resolve: Any = None, **changed: Any) -> Policy:
    fields: dict[str, Any] = {"private": (ipaddress.IPv4Network(f"{OUTSIDE}/32"),), "idle_seconds": 2.0}
    return Policy(**(fields | changed), resolve=resolve or (lambda host, port: [OUTSIDE]))


OPEN = open_policy()


def get(server: AwkwardServer, path: str, *, policy: Policy = OPEN, **options: Any) -> fetching.Fetched:
    limits: dict[str, Any] = {"max_bytes": 100_000, "timeout_seconds": 3.0} | options
    return fetch(server.url(path), policy=policy, **limits)


def refused_in_time(server: AwkwardServer, path: str, *, within: float, match: str, **options: Any) -> Refused:
    started = time.monotonic()
    with pytest.raises(Refused, match=match) as refused:
        get(server, path, **options)
    assert time.monotonic() - started < within
    return refused.value
