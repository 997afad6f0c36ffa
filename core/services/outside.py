"""The fetching policy of this installation, read from its settings. Fetching itself is in core/fetching."""

from __future__ import annotations

import ipaddress

from django.conf import settings

from core.fetching import Policy

AGENT = "Proofline/1 (+{site})"


def policy() -> Policy:
    """Public addresses on the ports 80 and 443 and those that the operator adds; of private ones, his networks'."""
    given = settings.PROOFLINE
    return Policy(
        ports=frozenset({80, 443, *given["source_ports"]}),
        private=tuple(ipaddress.ip_network(text) for text in given["private_sources"]),
    )


def agent() -> str:
    """Return the User-Agent that other people's servers see."""
    return AGENT.format(site=settings.SITE_URL)
