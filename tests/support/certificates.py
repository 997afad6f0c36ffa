"""Certificates for signing as an authority issues them, with roots and keys of their own."""

from __future__ import annotations

from dataclasses import dataclass

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from generation.provenance.signers import _certificate


@dataclass(frozen=True)
class Issued:
    """chain: the certificate of the signer. key: its own. root: the certificate of the authority. All are PEM."""

    chain: str
    key: str
    root: str

    @property
    def settings(self) -> dict[str, str]:
        """Return the values of settings.PROVENANCE with which it signs; its root is not among those trusted."""
        return {"certificate": self.chain, "key": self.key, "anchors": ""}


def issue(name: str = "Acme GmbH") -> Issued:
    root_key, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    root = _certificate("Authority root", root_key, "Authority root", root_key, is_root=True)
    leaf = _certificate(name, key, "Authority root", root_key, is_root=False)
    pem = serialization.Encoding.PEM
    plain = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()).decode()
    return Issued(leaf.public_bytes(pem).decode(), plain, root.public_bytes(pem).decode())
