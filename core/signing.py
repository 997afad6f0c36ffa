"""Signed messages by https://www.standardwebhooks.com 1.0. A secret: "whsec_" and base64 of 24 to 64 bytes.

The package standardwebhooks (1.1.0) is not used: it signs text only, and with another key than the sender believes if a
secret is not base64. Headers or bodies in another form than it expects end in ValueError, binascii.Error or
UnicodeDecodeError.
"""

from __future__ import annotations

import base64
import binascii
import hmac
import secrets
from collections.abc import Mapping

PREFIX = "whsec_"
TOLERANCE_SECONDS = 300


class BadSecret(ValueError):
    """The secret is not base64 after its prefix."""


def new_secret() -> str:
    """Return a random secret of 32 bytes."""
    return PREFIX + base64.b64encode(secrets.token_bytes(32)).decode()


def key_of(secret: str) -> bytes:
    """Return the key in a secret. Raises BadSecret."""
    try:
        return base64.b64decode(secret.removeprefix(PREFIX), validate=True)
    except binascii.Error:
        raise BadSecret("The webhook's secret is not base64 after whsec_.") from None


def sign(secret: str, message_id: str, timestamp: int, body: bytes) -> str:
    """Return the `webhook-signature` header for one attempt. Raises BadSecret."""
    signed = f"{message_id}.{timestamp}.".encode() + body
    return "v1," + base64.b64encode(hmac.digest(key_of(secret), signed, "sha256")).decode()


def is_signed(secret: str, headers: Mapping[str, str], body: bytes, *, now: float) -> bool:
    """Return True if the headers (lower case) have a recent signature of exactly these bytes. Raises BadSecret."""
    timestamp = headers.get("webhook-timestamp", "")
    is_number = timestamp.isascii() and timestamp.isdigit() and len(timestamp) < 20
    if not is_number or abs(now - int(timestamp)) > TOLERANCE_SECONDS:
        return False
    expected = sign(secret, headers.get("webhook-id", ""), int(timestamp), body).encode()
    signatures = headers.get("webhook-signature", "").encode("utf-8", "replace").split(b" ")
    return any(hmac.compare_digest(expected, signature) for signature in signatures)
