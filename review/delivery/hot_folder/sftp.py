"""Hot folders on SFTP servers: the storage and the destination; connections are in ssh.py.

A file is written under a name in ARRIVALS first. A plain rename puts a new file in its place, because it never replaces
one; `posix-rename@openssh.com` replaces sidecars and manifests at once, where the server has it.
"""

from __future__ import annotations

import contextlib
import hashlib
import re
import stat
import threading
import time
import uuid
from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import field_validator

from core.plugin_config import Config, Whole, setting
from review.delivery.base import DeliveryError, Package, Receipt, Session
from review.delivery.hot_folder import places, ssh, ssh_keys
from review.delivery.hot_folder.base import HotFolder
from review.delivery.hot_folder.cdn import Cdn, ServedConfig
from review.delivery.hot_folder.places import ARRIVALS
from review.delivery.hot_folder.sidecars import Labels
from review.delivery.http import MAX_IMAGE_BYTES

_ARRIVING = re.compile(r"([0-9a-f]{8,12})-[0-9a-f]{32}")
"""The name of a file that arrives: when it began, in seconds since 1970 by our clock, and a random number."""


class SftpStorage:
    """A folder of an SFTP server. Each thread has a connection of its own, for a call or for a block of `connected`."""

    def __init__(self, server: ssh.Server, folder: str) -> None:
        self.server, self.folder = server, folder
        self._of_thread = threading.local()

    @contextlib.contextmanager
    def connected(self) -> Iterator[ssh.Connection]:
        """Yield a connection, which is kept until the outermost block ends."""
        if connection := getattr(self._of_thread, "connection", None):
            yield connection
            return
        with ssh.connected(self.server) as connection:
            self._of_thread.connection = connection
            try:
                yield connection
            finally:
                self._of_thread.connection = None

    def validate(self) -> list[str]:
        return self.server.validate()

    def list_shortages(self) -> list[str]:
        return []

    def read(self, path: str) -> bytes | None:
        full = self._full(path)
        with self.connected() as connection, contextlib.suppress(FileNotFoundError), connection.step(f"read {full}"):
            return _download(connection, full)
        return None

    def find(self, path: str) -> str | None:
        content = self.read(path)
        return None if content is None else hashlib.sha256(content).hexdigest()

    def create(self, path: str, content: bytes, labels: Labels) -> bool:
        full = self._full(path)
        with self._uploaded(full, content) as (connection, temporary), connection.step(f"write {full}"):
            if _exists(connection, full):
                return False
            try:
                connection.client.rename(temporary, full)
            except OSError:
                if connection.is_open and _exists(connection, full):
                    return False
                raise
        return True

    def label(self, path: str, labels: Labels) -> None:
        return

    def write(self, path: str, content: bytes, media_type: str) -> None:
        full = self._full(path)
        with self._uploaded(full, content) as (connection, temporary), connection.step(f"write {full}"):
            try:
                connection.client.posix_rename(temporary, full)
            except OSError:
                if not connection.is_open:
                    raise
                _replace(connection, temporary, full)

    def delete(self, path: str) -> None:
        full = self._full(path)
        with self.connected() as connection:
            self._clean_arrivals(connection)
            with contextlib.suppress(FileNotFoundError), connection.step(f"delete {full}"):
                connection.client.remove(full)

    # -- inside --------------------------------------------------------------------------------------------------------

    def _full(self, path: str) -> str:
        return f"{self.folder.rstrip('/')}/{path}" if self.folder else path

    @contextlib.contextmanager
    def _uploaded(self, full: str, content: bytes) -> Iterator[tuple[ssh.Connection, str]]:
        """Yield (connection, path of a file with this content in ARRIVALS); afterwards delete what is still there."""
        temporary = self._full(f"{ARRIVALS}/{int(time.time()):08x}-{uuid.uuid4().hex}")
        with self.connected() as connection:
            self._clean_arrivals(connection)
            try:
                with connection.step(f"write {full}"):
                    for path in (temporary, full):
                        _ensure_folder(connection, path.rpartition("/")[0])
                    _upload(connection, temporary, content)
                yield connection, temporary
            except FileNotFoundError:
                raise DeliveryError(f"{full} cannot be written: somebody else deletes files in {ARRIVALS}.") from None
            finally:
                if connection.is_open:
                    with contextlib.suppress(FileNotFoundError, DeliveryError), connection.step(f"delete {temporary}"):
                        connection.client.remove(temporary)

    def _clean_arrivals(self, connection: ssh.Connection) -> None:
        """Delete the files of workers that died long ago, once for each connection."""
        folder = self._full(ARRIVALS)
        if folder in connection.folders:
            return
        with contextlib.suppress(FileNotFoundError), connection.step(f"list {folder}"):
            for name in connection.client.listdir(folder):
                match = _ARRIVING.fullmatch(name)
                if match and int(match[1], 16) <= time.time() - places.ARRIVAL_SECONDS:
                    with contextlib.suppress(FileNotFoundError):
                        connection.client.remove(f"{folder}/{name}")
            connection.folders.add(folder)


def _download(connection: ssh.Connection, path: str) -> bytes:
    with connection.client.open(path, "rb") as file:
        size = file.stat().st_size or 0
        if size > MAX_IMAGE_BYTES:
            raise DeliveryError(
                f"{path} has more than {MAX_IMAGE_BYTES:,} bytes; it is no file of ours.", is_final=True
            )
        return bytes(file.read(size))


def _upload(connection: ssh.Connection, path: str, content: bytes) -> None:
    """Write a file; the server's answers to its pieces are read at the end. Raises OSError for a failed one."""
    file = connection.client.open(path, "wb")
    file.set_pipelined(True)
    try:
        file.write(content[:-1])
        file.set_pipelined(False)
        file.write(content[-1:])  # it waits for the answers to all pieces
    except BaseException:
        file.set_pipelined(False)  # else closing it, or forgetting it, waits for the rest of the answers
        raise
    file.close()
    if (size := connection.client.stat(path).st_size) != len(content):
        raise OSError(f"{size:,} of {len(content):,} bytes")


def _exists(connection: ssh.Connection, path: str) -> bool:
    try:
        connection.client.stat(path)
    except FileNotFoundError:
        return False
    return True


def _replace(connection: ssh.Connection, temporary: str, path: str) -> None:
    """Put a file in the place of another one, on a server that cannot do it at once."""
    with contextlib.suppress(FileNotFoundError):
        connection.client.remove(path)
    connection.client.rename(temporary, path)


def _ensure_folder(connection: ssh.Connection, path: str) -> None:
    """Make a folder and those above it; another worker may do so at the same time."""
    if not path or path in connection.folders:
        return
    if not _is_folder(connection, path):
        _ensure_folder(connection, path.rpartition("/")[0])
        try:
            connection.client.mkdir(path)
        except OSError:
            if not connection.is_open or not _is_folder(connection, path):
                raise
    connection.folders.add(path)


def _is_folder(connection: ssh.Connection, path: str) -> bool:
    try:
        return stat.S_ISDIR(connection.client.stat(path).st_mode or 0)
    except FileNotFoundError:
        return False


class SftpPlace(Config):
    host: str = setting("Server", needed="Give the name of the server.", example="files.example.com")
    port: Whole = setting("Port", default=22, minimum=1, maximum=65535)
    user: str = setting("User", needed="Give the name of the user.", example="proofline")
    folder: str = setting(
        "Folder on the server", "Empty: the one in which a sign-in begins. It is made if it is not there.",
        default="", example="/incoming/images",
    )  # fmt: skip
    host_keys: list[str] = setting(
        "Host keys",
        "The server’s public keys or their fingerprints, one a line. The connection test shows the one that the server "
        "has; compare it with what its administrator gives you.",
        default=[],
        default_text="none: no connection is made",
        example="ssh-ed25519 AAAAC3Nza…\nSHA256:uNiVztks…",
    )

    @field_validator("folder")
    @classmethod
    def _ensure_folder(cls, folder: str) -> str:
        if not folder.isprintable() or ".." in folder.split("/"):
            raise ValueError(f"{folder!r} is no folder: write it without “..” and without line ends.")
        return folder

    @field_validator("host_keys")
    @classmethod
    def _ensure_host_keys(cls, lines: list[str]) -> list[str]:
        for line in lines:
            ssh_keys.HostKey.read(line)
        return lines


class SftpConfig(ServedConfig, SftpPlace):
    """The place comes first in the form."""

    allow_private: bool = setting(
        "Allow private addresses",
        "Of server, files and purge, if the operator allows them for this installation.",
        default=False,
        is_advanced=True,
    )


class Sftp(HotFolder):
    """A folder of an SFTP server, such as the one of OpenSSH. One connection is made for each delivery."""

    kind = "sftp"
    label = "SFTP server"
    description = "Files in a folder of a server that you reach by SFTP, such as that of an agency or a shop system."
    config = SftpConfig
    receiver_settings = ("host", "port", "host_keys", "purge_url", "public_url")
    credentials_hint = (
        "The user’s password, or a private key without passphrase. For the purge of a cache: a space, and its secret."
    )
    storage: SftpStorage

    def __init__(self, config: Mapping[str, Any], secret: str) -> None:
        given = SftpConfig.read(config)
        secret, purge = split_secret(secret, has_purge="{secret}" in given.purge_header)
        keys = tuple(ssh_keys.HostKey.read(line) for line in given.host_keys)
        server = ssh.Server(given.host, given.port, given.user, secret, keys, given.allow_private)
        super().__init__(SftpStorage(server, given.folder), Cdn(given, purge))

    def test_connection(self, session: Session) -> list[str]:
        try:
            with self.storage.connected():
                return super().test_connection(session)
        except DeliveryError as error:
            return [error.message]

    def plan(self, package: Package, session: Session) -> list[str]:
        with self.storage.connected():
            return super().plan(package, session)

    def push(self, package: Package, session: Session) -> Receipt:
        with self.storage.connected():
            return super().push(package, session)

    def recall(self, package: Package, session: Session) -> Receipt:
        with self.storage.connected():
            return super().recall(package, session)


def split_secret(secret: str, *, has_purge: bool) -> tuple[str, str]:
    """Return (password or private key, secret of the purge). Without a purge that needs one, all of it is the first."""
    if not has_purge:
        return secret, ""
    key, end, after = secret.rpartition("PRIVATE KEY-----")
    if end:
        return key + end, after.strip()
    password, _space, purge = secret.rpartition(" ")
    return (password, purge) if password else (secret, "")
