"""The fetching policy of this installation, read from its settings. Fetching itself is in core/fetching."""

from __future__ import annotations

import ipaddress

from django.conf import settings

from core.fetching import Policy


def fetch_policy() -> Policy:
    """Return the policy: public addresses on ports 80, 443 and the operator's ports, and the operator's networks."""
    options = settings.PROOFLINE
    return Policy(
        ports=frozenset({80, 443, *options["source_ports"]}),
        private=tuple(ipaddress.ip_network(text) for text in options["private_sources"]),
    )


def user_agent() -> str:
    return f"Proofline/1 (+{settings.SITE_URL})"
