"""Connections to SFTP servers: host keys that people confirmed, the sign-in, limits of time and size, errors in words.

The protocols are those of OpenSSH: RFC 4251 to 4254, and SFTP version 3 (draft-ietf-secsh-filexfer-02).
"""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import paramiko

from core import fetching
from review.delivery import http
from review.delivery.base import DeliveryError
from review.delivery.hot_folder.ssh_keys import HostKey, fingerprint_of, read_private_key

CONNECT_SECONDS = 30.0
"""For the connection, the keys and the sign-in."""
STEP_SECONDS = 60.0
"""For one file that is read or written, and for one other change."""
MAX_SHOWN = 200
_BROKEN = (OSError, EOFError, paramiko.SSHException, paramiko.SFTPError, ValueError, struct.error)
"""Errors that paramiko raises if the server ends the connection, refuses, or does not keep to the protocol."""


@dataclass(frozen=True)
class Server:
    """A server and how to sign in. secret: a password, or a private key as PEM. host_keys: those that may be shown."""

    host: str
    port: int
    user: str
    secret: str
    host_keys: Sequence[HostKey] = ()
    allow_private: bool = False

    @property
    def address(self) -> str:
        host = f"[{self.host}]" if ":" in self.host and not self.host.startswith("[") else self.host
        return f"sftp://{host}:{self.port}"

    @property
    def policy(self) -> fetching.Policy:
        return replace(http.policy(allow_private=self.allow_private), schemes=frozenset({"sftp"}))

    @property
    def has_key(self) -> bool:
        return "PRIVATE KEY-----" in self.secret

    def validate(self) -> list[str]:
        """Return what is wrong with address and secret, as sentences."""
        problems = []
        try:
            fetching.parse(self.address, self.policy)
        except fetching.Refused as refusal:
            problems.append(f"host: {refusal.message}")
        if not self.secret:
            problems.append("secret: expected a password or a private key.")
        elif self.has_key:
            try:
                read_private_key(self.secret)
            except ValueError as error:
                problems.append(f"secret: {error}")
        return problems

    def hide(self, text: str) -> str:
        """Return what the server said, short, and without the password."""
        plain = "".join(letter for letter in text if letter.isprintable()).strip()
        return (plain.replace(self.secret, "…") if self.secret else plain)[:MAX_SHOWN]


class _BoundedSocket(socket.socket):
    """A socket from which only so many bytes are read in one step, however many a server sends."""

    left = http.MAX_ANSWER_BYTES

    def recv(self, bufsize: int, flags: int = 0, /) -> bytes:
        data = super().recv(bufsize, flags)
        self.left -= len(data)
        return data if self.left >= 0 else b""


class Connection:
    """A connection to a server, signed in. client: for use inside `step` only. folders: those known to be there."""

    client: paramiko.SFTPClient

    def __init__(self, server: Server) -> None:
        self.server = server
        self.folders: set[str] = set()
        try:
            inner = fetching.connect(server.address, policy=server.policy, timeout_seconds=CONNECT_SECONDS)
        except fetching.Refused as refusal:
            raise DeliveryError(refusal.message, is_final=refusal.is_final) from None
        self._socket = _BoundedSocket(fileno=inner.detach())
        self._transport = paramiko.Transport(self._socket)

    @property
    def is_open(self) -> bool:
        return self._transport.is_active()

    def close(self) -> None:
        self._transport.close()
        self._socket.close()

    def open(self) -> None:
        """Ensure that the server is the right one, then sign in. Raises DeliveryError."""
        with self.step("sign in", CONNECT_SECONDS):
            self._negotiate()
            self._ensure_known()
            self._sign_in()
            channel = self._transport.open_session(timeout=CONNECT_SECONDS)
            channel.settimeout(STEP_SECONDS)
            channel.invoke_subsystem("sftp")
            self.client = paramiko.SFTPClient(channel)

    @contextlib.contextmanager
    def step(self, action: str, seconds: float | None = None) -> Iterator[None]:
        """Bound the time and the bytes of a block, and raise DeliveryError for what goes wrong in it.

        action: what is done, as "write mug.jpg". Only FileNotFoundError is not changed.
        """
        self._socket.left = http.MAX_IMAGE_BYTES + http.MAX_ANSWER_BYTES
        limit, is_over = STEP_SECONDS if seconds is None else seconds, threading.Event()
        timer = threading.Timer(limit, self._end, [is_over])
        timer.daemon = True
        timer.start()
        try:
            yield
        except FileNotFoundError:
            raise
        except PermissionError:
            message = (
                f"{self.server.host} does not allow “{self.server.user}” to {action}: give this account the right."
            )
            raise DeliveryError(message, is_final=True) from None
        except _BROKEN as error:
            has_waited = is_over.is_set() or isinstance(error, TimeoutError)
            raise self._describe(error, action, limit if has_waited else 0.0) from None
        finally:
            timer.cancel()

    # -- inside --------------------------------------------------------------------------------------------------------

    def _end(self, is_over: threading.Event) -> None:
        is_over.set()
        self._transport.close()

    def _negotiate(self) -> None:
        """Agree on keys; of the server's host keys, one of a kind that people confirmed is asked for first."""
        options = self._transport.get_security_options()
        kinds = {kind for key in self.server.host_keys for kind in _signatures(key.kind)}
        options.key_types = sorted(options.key_types, key=lambda kind: kind not in kinds)
        self._transport.banner_timeout = CONNECT_SECONDS
        self._transport.start_client(timeout=CONNECT_SECONDS)
        if not self._transport.initial_kex_done:  # it returns as if all were well when its time is over
            raise TimeoutError

    def _ensure_known(self) -> None:
        key = self._transport.get_remote_server_key()
        fingerprint, known = fingerprint_of(key.asbytes()), {key.fingerprint for key in self.server.host_keys}
        if fingerprint in known:
            return
        shown = f"{fingerprint} ({key.get_name()})"
        if known:
            raise DeliveryError(
                f"{self.server.host} shows the host key {shown}, which is none of those in “Host keys”; nothing was "
                "sent. If its administrator confirms that it was changed, enter the new one, together with the secret.",
                is_final=True,
            )
        raise DeliveryError(
            f"{self.server.host} shows the host key {shown}, which nobody has confirmed; nothing was sent. Compare it "
            "with the one that its administrator gives you, and enter it in “Host keys”, together with the secret.",
            is_final=True,
        )

    def _sign_in(self) -> None:
        server, transport = self.server, self._transport
        transport.auth_timeout = CONNECT_SECONDS
        means = "private key" if server.has_key else "password"
        try:
            if server.has_key:
                more = transport.auth_publickey(server.user, read_private_key(server.secret))
            else:
                more = transport.auth_password(server.user, server.secret)
        except paramiko.BadAuthenticationType as error:
            allowed = server.hide(", ".join(error.allowed_types))
            message = f"{server.host} does not let “{server.user}” sign in with a {means}, only with: {allowed}."
            raise DeliveryError(message, is_final=True) from None
        except paramiko.AuthenticationException:
            if not transport.is_active():
                raise
            message = f"{server.host} does not accept the user “{server.user}” with this {means}: correct one of them."
            raise DeliveryError(message, is_final=True) from None
        if more:
            wanted = server.hide(", ".join(more))
            message = f"{server.host} wants more than a {means} ({wanted}), which is not supported."
            raise DeliveryError(message, is_final=True)

    def _describe(self, error: Exception, action: str, waited: float) -> DeliveryError:
        """Return an error in words. waited: the seconds after which the connection was given up, or 0."""
        host, words = self.server.host, self.server.hide(str(error)).rstrip(".")
        if waited:
            return DeliveryError(f"{host} did not answer within {waited:g} s, on the way to {action}.")
        if self._socket.left < 0:
            return DeliveryError(f"{host} sent too many bytes, on the way to {action}.", is_final=True)
        if isinstance(error, paramiko.IncompatiblePeer):
            return DeliveryError(f"{host} speaks no encryption that is safe today: {words}.", is_final=True)
        if not self.is_open:
            return DeliveryError(
                f"{host} broke the connection off, on the way to {action}; {words or 'without a word'}."
            )
        return DeliveryError(f"{host} refuses to {action}: it says “{words}”, as servers do if their disk is full.")


def _signatures(kind: str) -> list[str]:
    """Return the names of the signatures of a kind of host key, as they are negotiated."""
    return ["rsa-sha2-512", "rsa-sha2-256", "ssh-rsa"] if kind == "ssh-rsa" else [kind]


@contextlib.contextmanager
def connected(server: Server) -> Iterator[Connection]:
    """Yield a connection that is signed in, and close it. Raises DeliveryError."""
    connection = Connection(server)
    try:
        connection.open()
        yield connection
    finally:
        connection.close()
