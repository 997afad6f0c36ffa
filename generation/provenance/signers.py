"""The signer of Content Credentials: a certificate with its key, or a function that has a key management service sign.

Without a certificate a self-made one is used, which says so in its name and which nobody but this installation trusts.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path
from typing import Final

from c2pa import C2paSignerInfo, C2paSigningAlg, Signer
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

SELF_MADE: Final = "Proofline self-made certificate, for development"
_DAYS: Final = 3650
_RENEW_DAYS: Final = 30


@dataclass(frozen=True)
class Identity:
    """A signer of manifests.

    certificates: PEM, the signer's first, then its issuers. key: PEM (PKCS 8), unless `sign` signs. algorithm: a name
    of C2PA, such as "es256". time_stamp_url: an RFC 3161 authority, or "". anchors: PEM of the roots that are trusted
    when a file is verified.
    """

    certificates: str
    key: str = ""
    sign: Callable[[bytes], bytes] | None = None
    algorithm: str = "es256"
    time_stamp_url: str = ""
    anchors: str = ""

    @property
    def fingerprint(self) -> str:
        """Return what tells this signer from another one."""
        return sha256(f"{self.algorithm}\n{self.time_stamp_url}\n{self.certificates}".encode()).hexdigest()

    @property
    def is_self_made(self) -> bool:
        return self.name == SELF_MADE

    @property
    def name(self) -> str:
        """Return the common name in the signer's certificate, or else its whole subject."""
        subject = self._chain()[0].subject
        names = [str(name.value) for name in subject.get_attributes_for_oid(NameOID.COMMON_NAME)]
        return names[0] if names else subject.rfc4514_string()

    @property
    def ends_at(self) -> datetime:
        """Return when the first certificate of the chain ends; the signer cannot sign afterwards."""
        return min(certificate.not_valid_after_utc for certificate in self._chain())

    @property
    def is_anchored(self) -> bool:
        """Return whether the chain leads to one of `anchors`."""
        anchors = x509.load_pem_x509_certificates(self.anchors.encode()) if self.anchors.strip() else []
        chain = self._chain()
        for certificate, issuer in zip(chain, [*chain[1:], None], strict=True):
            if any(certificate == anchor or _is_issued_by(certificate, anchor) for anchor in anchors):
                return True
            if issuer is None or not _is_issued_by(certificate, issuer):
                return False
        return False

    def _chain(self) -> list[x509.Certificate]:
        return x509.load_pem_x509_certificates(self.certificates.encode())

    def trusting(self, anchors: str) -> Identity:
        """Return this identity with other roots trusted beside its own."""
        return replace(self, anchors=f"{self.anchors}\n{anchors}")

    def without_time_stamp(self) -> Identity:
        return replace(self, time_stamp_url="")

    def open(self) -> Signer:
        """Return a signer of c2pa, which is used once. Raises C2paError if certificate and key are of no use."""
        if self.sign is not None:
            algorithm = C2paSigningAlg[self.algorithm.upper()]
            return Signer.from_callback(self.sign, algorithm, self.certificates, self.time_stamp_url or None)
        values = [self.algorithm, self.certificates, self.key, self.time_stamp_url or None]
        return Signer.from_info(C2paSignerInfo(*[value.encode() if value else None for value in values]))


def _is_issued_by(certificate: x509.Certificate, issuer: x509.Certificate) -> bool:
    try:
        certificate.verify_directly_issued_by(issuer)
    except (ValueError, TypeError, InvalidSignature):
        return False
    return True


def self_made(folder: Path) -> Identity:
    """Return the self-made identity of this installation, which is made at first use and before it expires.

    folder: where its files are kept; only their owner may read them.
    """
    chain_path, key_path = folder / "self-made.pem", folder / "self-made.key"
    if not _is_usable(chain_path, key_path):
        _make(chain_path, key_path)
    chain = chain_path.read_text()
    root = chain[chain.rindex("-----BEGIN CERTIFICATE") :]
    return Identity(chain, key_path.read_text(), anchors=root)


def _is_usable(chain_path: Path, key_path: Path) -> bool:
    try:
        certificate = x509.load_pem_x509_certificate(chain_path.read_bytes())
        key = serialization.load_pem_private_key(key_path.read_bytes(), None)
    except (OSError, ValueError):
        return False
    is_fresh = certificate.not_valid_after_utc - datetime.now(UTC) > timedelta(days=_RENEW_DAYS)
    return is_fresh and key.public_key() == certificate.public_key()


def _make(chain_path: Path, key_path: Path) -> None:
    """Write a chain of a root and a certificate for signing. Of several processes at once, one has both its files."""
    root_key, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    root = _certificate(f"{SELF_MADE} (root)", root_key, f"{SELF_MADE} (root)", root_key, is_root=True)
    leaf = _certificate(SELF_MADE, key, f"{SELF_MADE} (root)", root_key, is_root=False)
    chain = b"".join(one.public_bytes(serialization.Encoding.PEM) for one in (leaf, root))
    plain = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    chain_path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    _write_privately(key_path, key.private_bytes(*plain))
    _write_privately(chain_path, chain)


def _write_privately(path: Path, content: bytes) -> None:
    draft = path.with_suffix(f".{os.getpid()}.draft")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with open(descriptor, "wb") as file:
        file.write(content)
    draft.replace(path)


def _certificate(
    name: str, key: ec.EllipticCurvePrivateKey, issuer: str, issuer_key: ec.EllipticCurvePrivateKey, *, is_root: bool
) -> x509.Certificate:
    """Return a certificate as C2PA wants it: key usage and extended key usage are checked by every reader."""
    now = datetime.now(UTC)
    usage = dict.fromkeys(
        ("content_commitment", "key_encipherment", "data_encipherment", "key_agreement", "encipher_only",
         "decipher_only"), False,
    )  # fmt: skip
    usage |= {"digital_signature": not is_root, "key_cert_sign": is_root, "crl_sign": is_root}
    builder = (
        x509.CertificateBuilder()
        .subject_name(_name(name))
        .issuer_name(_name(issuer))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=_DAYS))
        .add_extension(x509.BasicConstraints(ca=is_root, path_length=None), critical=True)
        .add_extension(x509.KeyUsage(**usage), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key()), critical=False)
    )
    if not is_root:
        builder = builder.add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.EMAIL_PROTECTION]), critical=True)
    return builder.sign(issuer_key, hashes.SHA256())


def _name(text: str) -> x509.Name:
    organisation = x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Proofline (self-made)")
    return x509.Name([organisation, x509.NameAttribute(NameOID.COMMON_NAME, text)])
