"""The keys of SSH: those that servers show, as people write them, and private keys of users."""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
import struct
from dataclasses import dataclass
from io import StringIO
from itertools import pairwise

import paramiko
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

_FINGERPRINT = re.compile(r"SHA256:([A-Za-z0-9+/]{43})=?")
_OLD_FINGERPRINT = re.compile(r"(MD5:)?([0-9a-fA-F]{2}:){15}[0-9a-fA-F]{2}")
_KEY_TYPE = re.compile(r"(ssh|ecdsa|sk-ssh|sk-ecdsa)-[a-z0-9@.-]+")
_PRIVATE_KEY = re.compile(r"\s*(-----BEGIN ([A-Z ]*)PRIVATE KEY-----)(.*?)(-----END \2PRIVATE KEY-----)\s*", re.DOTALL)


@dataclass(frozen=True)
class HostKey:
    """A key by which a server is known. fingerprint: as "SHA256:…". kind: such as "ssh-ed25519"; "" if not known."""

    fingerprint: str
    kind: str = ""

    @classmethod
    def read(cls, line: str) -> HostKey:
        """Return the key of a line as ssh-keyscan, ssh-keygen -l or a .pub file has it. Raises ValueError."""
        words = line.split()
        for kind, encoded in pairwise(words):
            if _KEY_TYPE.fullmatch(kind):
                return cls(fingerprint_of(_decode_key(kind, encoded)), kind)
        for word in words:
            if match := _FINGERPRINT.fullmatch(word):
                return cls(f"SHA256:{match[1]}")
        if any(_OLD_FINGERPRINT.fullmatch(word) for word in words):
            raise ValueError(f"{line[:100]!r} is an MD5 fingerprint, which is not safe; give the one of SHA256.")
        raise ValueError(f"{line[:100]!r} is no public key such as “ssh-ed25519 AAAA…”, and no fingerprint “SHA256:…”.")


def _decode_key(kind: str, encoded: str) -> bytes:
    """Return the bytes of a public key. Raises ValueError if it is cut off or of another kind."""
    name = kind.encode()
    try:
        key = base64.b64decode(encoded, validate=True)
    except binascii.Error:
        key = b""
    if not key.startswith(struct.pack(">I", len(name)) + name):
        raise ValueError(f"“{kind} {encoded[:20]}…” is not a whole public key; copy its line again.")
    return key


def fingerprint_of(key: bytes) -> str:
    return "SHA256:" + base64.b64encode(hashlib.sha256(key).digest()).decode().rstrip("=")


def read_private_key(text: str) -> paramiko.PKey:
    """Return a private key of OpenSSH or PEM, also if its line ends are lost. Raises ValueError, as a sentence."""
    match = _PRIVATE_KEY.fullmatch(text)
    if match is None:
        raise ValueError("the private key is not whole; copy it with its first and its last line.")
    if "ENCRYPTED" in match[0]:
        raise ValueError("the private key has a passphrase; enter a key without one. It is kept encrypted here.")
    body = "".join(match[3].split())
    lines = [match[1], *(body[start : start + 64] for start in range(0, len(body), 64)), match[4], ""]
    data = "\n".join(lines).encode()
    load = serialization.load_ssh_private_key if "OPENSSH" in match[1] else serialization.load_pem_private_key
    try:
        key = load(data, None)
    except TypeError:
        raise ValueError(
            "the private key has a passphrase; enter a key without one. It is kept encrypted here."
        ) from None
    except (ValueError, UnsupportedAlgorithm):
        raise ValueError("the private key cannot be read; enter it as OpenSSH or PEM writes it.") from None
    kinds: list[tuple[type, type[paramiko.PKey]]] = [
        (ed25519.Ed25519PrivateKey, paramiko.Ed25519Key),
        (ec.EllipticCurvePrivateKey, paramiko.ECDSAKey),
        (rsa.RSAPrivateKey, paramiko.RSAKey),
    ]
    for kind, reader in kinds:
        if isinstance(key, kind):
            plain = (serialization.PrivateFormat.OpenSSH, serialization.NoEncryption())
            return reader.from_private_key(StringIO(key.private_bytes(serialization.Encoding.PEM, *plain).decode()))
    raise ValueError("the private key is of a kind that is not used any more; make one of Ed25519, ECDSA or RSA.")
