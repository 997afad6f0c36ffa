"""The guarded client: all requests and connections to an address that a person gave go through here.

Addresses are looked up once, and the checked IP is connected to. Sizes and times are bounded. Pure: no Django.
"""

from core.fetching.connections import connect
from core.fetching.fetcher import Answer, Fetched, fetch, post, request
from core.fetching.policy import PRIVATE, PUBLIC, Policy, Refused, is_public
from core.fetching.redaction import (
    redact_address,
    redact_json,
    redact_settings,
    redact_text,
    restore_redacted_addresses,
)
from core.fetching.urls import check, parse

__all__ = [
    "PRIVATE", "PUBLIC", "Answer", "Fetched", "Policy", "Refused", "check", "connect", "fetch", "is_public", "parse",
    "post", "redact_address", "redact_json", "redact_settings", "redact_text", "request",
    "restore_redacted_addresses",
]  # fmt: skip
