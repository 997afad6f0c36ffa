"""Encryption of stored secrets: API keys and passwords are stored encrypted, and decrypted only where they are used.

It is Fernet of the package cryptography (https://cryptography.io/en/latest/fernet/): AES-128-CBC with an HMAC. The keys
are PROOFLINE_SECRET_KEYS (the first encrypts, all decrypt), or else Django's SECRET_KEY and its fallbacks.
"""

from __future__ import annotations

import base64
import hashlib
from functools import lru_cache
from typing import Any

from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from django.conf import settings


class Unreadable(Exception):
    """None of the keys can decrypt a stored secret; it must be entered again."""


def encrypt(text: str) -> str:
    """Return the encrypted form of `text`; "" stays ""."""
    return _fernet(*_keys()).encrypt(text.encode()).decode() if text else ""


def decrypt(token: str) -> str:
    """Return the decrypted text. Raises Unreadable."""
    if not token:
        return ""
    try:
        return _fernet(*_keys()).decrypt(token.encode()).decode()
    except InvalidToken:
        raise Unreadable(
            "The stored secret cannot be read with the keys of this installation; enter it again, or put the key that "
            "it was stored with behind the first one in PROOFLINE_SECRET_KEYS."
        ) from None


def encrypted_property(column: str) -> Any:
    """Return a model property that keeps its text encrypted in `column`. Reading it may raise Unreadable."""

    def read(instance: Any) -> str:
        return decrypt(getattr(instance, column))

    def write(instance: Any, text: str) -> None:
        setattr(instance, column, encrypt(text))

    return property(read, write, doc=f"The text in `{column}`, decrypted at each reading.")


def _keys() -> tuple[str, ...]:
    return tuple(settings.PROOFLINE["secret_keys"]) or (settings.SECRET_KEY, *settings.SECRET_KEY_FALLBACKS)


@lru_cache(maxsize=8)
def _fernet(*keys: str) -> MultiFernet:
    """Return a Fernet for these keys. It needs 32 bytes, so each key, of any length, is hashed."""
    digests = (hashlib.sha256(b"proofline secrets\0" + key.encode()).digest() for key in keys)
    return MultiFernet([Fernet(base64.urlsafe_b64encode(digest)) for digest in digests])
