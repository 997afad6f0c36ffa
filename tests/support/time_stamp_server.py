"""A time stamp authority on a real socket (RFC 3161 over HTTP), whose answers `openssl ts` makes with a key of its own.

It can answer wrongly, late, a byte at a time or not at all, and be stopped.
"""

from __future__ import annotations

import contextlib
import shutil
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

CONFIG = """
[tsa]
default_tsa = tsa_config
[tsa_config]
serial = {folder}/serial
default_policy = 1.3.6.1.4.1.99999.1
digests = sha256, sha384, sha512
signer_digest = sha256
accuracy = secs:1
ordering = no
tsa_name = no
ess_cert_id_chain = no
ess_cert_id_alg = sha256
"""


@dataclass
class TimeStampServer:
    """root: PEM of the authority's root. requests: their bodies. spoil: makes the answer instead, if it is set."""

    folder: Path
    root: str
    url: str = ""
    requests: list[bytes] = field(default_factory=list)
    spoil: Callable[[BaseHTTPRequestHandler], None] | None = None

    def reply(self, query: bytes) -> bytes:
        """Return the response to a query, in DER."""
        with tempfile.TemporaryDirectory(dir=self.folder) as folder:
            asked = Path(folder) / "query.tsq"
            asked.write_bytes(query)
            command = ["openssl", "ts", "-reply", "-config", self.folder / "tsa.cnf", "-section", "tsa_config"]
            command += ["-queryfile", asked, "-signer", self.folder / "tsa.pem", "-inkey", self.folder / "tsa.key"]
            command += ["-chain", self.folder / "root.pem"]
            return subprocess.run(command, capture_output=True, check=True).stdout


class _Handler(BaseHTTPRequestHandler):
    authority: TimeStampServer

    def do_POST(self) -> None:
        query = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.authority.requests.append(query)
        if self.authority.spoil is not None:
            with contextlib.suppress(OSError):
                self.authority.spoil(self)
            return
        answer(self, self.authority.reply(query))

    def log_message(self, *_: Any) -> None:
        return


def answer(handler: BaseHTTPRequestHandler, body: bytes, status: int = 200) -> None:
    handler.send_response(status)
    handler.send_header("Content-Type", "application/timestamp-reply" if status == 200 else "text/plain")
    handler.send_header("Content-Length", str(len(body)))
    handler.end_headers()
    handler.wfile.write(body)


def say_nothing(handler: BaseHTTPRequestHandler) -> None:
    time.sleep(90)


def trickle(handler: BaseHTTPRequestHandler) -> None:
    handler.send_response(200)
    handler.send_header("Content-Length", "10000")
    handler.end_headers()
    for _ in range(900):
        handler.wfile.write(b"\x30")
        handler.wfile.flush()
        time.sleep(0.1)


@contextlib.contextmanager
def serving(folder: Path) -> Iterator[TimeStampServer]:
    """Serve on a port of 127.0.0.1 until the block ends; skip the test where openssl is missing."""
    if not shutil.which("openssl"):
        pytest.skip("openssl, which makes the time stamps, is not here")
    folder.mkdir(parents=True, exist_ok=True)
    authority = TimeStampServer(folder, _make(folder))
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"authority": authority}))
    server.daemon_threads = True
    authority.url = f"http://127.0.0.1:{server.server_address[1]}/tsa"
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield authority
    finally:
        server.shutdown()
        server.server_close()
        thread.join(5)


def _make(folder: Path) -> str:
    """Write the keys and certificates of an authority; return its root as PEM."""
    root_key, key = (rsa.generate_private_key(65537, 2048) for _ in range(2))
    root = _certificate("Time stamps for tests (root)", root_key, None, root_key)
    leaf = _certificate("Time stamps for tests", key, root, root_key)
    plain = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    (folder / "tsa.key").write_bytes(key.private_bytes(*plain))
    (folder / "tsa.pem").write_bytes(leaf.public_bytes(serialization.Encoding.PEM))
    (folder / "root.pem").write_bytes(root.public_bytes(serialization.Encoding.PEM))
    (folder / "tsa.cnf").write_text(CONFIG.format(folder=folder))
    (folder / "serial").write_text("01\n")
    return (folder / "root.pem").read_text()


def _certificate(
    name: str, key: rsa.RSAPrivateKey, issuer: x509.Certificate | None, issuer_key: rsa.RSAPrivateKey
) -> x509.Certificate:
    now, is_root = datetime.now(UTC), issuer is None
    subject = x509.Name(
        [x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Proofline"), x509.NameAttribute(NameOID.COMMON_NAME, name)]
    )
    usage = dict.fromkeys(
        ("key_encipherment", "data_encipherment", "key_agreement", "encipher_only", "decipher_only"), False
    )
    usage |= {
        "digital_signature": not is_root,
        "content_commitment": False,
        "key_cert_sign": is_root,
        "crl_sign": is_root,
    }
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer.subject if issuer else subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=30))
        .add_extension(x509.BasicConstraints(ca=is_root, path_length=None), critical=True)
        .add_extension(x509.KeyUsage(**usage), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key()), critical=False)
    )
    if not is_root:
        builder = builder.add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.TIME_STAMPING]), critical=True)
    return builder.sign(issuer_key, hashes.SHA256())
