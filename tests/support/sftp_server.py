"""An SFTP server over a real socket (SFTP version 3 as OpenSSH's server speaks it), with the faults of real ones.

It can refuse a sign-in, show another host key, cut the connection before or after a change or in the middle of a file,
be slow or full, forbid changes, and lack posix-rename. As with OpenSSH, a plain rename never replaces a file. Where the
`sftp-server` of OpenSSH is installed, it can serve the files instead, without faults.
"""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cache
from io import StringIO
from pathlib import Path
from typing import Any

import paramiko
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ed25519
from paramiko import sftp

from review.delivery.hot_folder.ssh_keys import HostKey
from tests.support.faulty_proxy import SLOW, Proxy

USER = "proofline"
PASSWORD = "correct horse battery"
CUT_BEFORE, CUT_AFTER, CUT_MIDDLE, FULL = "cut before", "cut after", "cut in the middle of a file", "full"
FAULTS = (CUT_BEFORE, CUT_AFTER, CUT_MIDDLE, FULL, SLOW)
_FOLDERS = "/usr/lib/openssh:/usr/libexec/openssh:/usr/lib/ssh"
OPENSSH = os.environ.get("SFTP_SERVER") or shutil.which("sftp-server", path=_FOLDERS) or ""
"""The program `sftp-server` of OpenSSH; "" if it is not here."""
_CHANGES = frozenset({"open to write", "rename", "posix_rename", "remove", "mkdir"})


@cache
def private_key(name: str) -> str:
    """Return a private key as OpenSSH writes it; another one for each name."""
    key = ed25519.Ed25519PrivateKey.generate()
    plain = (serialization.PrivateFormat.OpenSSH, serialization.NoEncryption())
    return key.private_bytes(serialization.Encoding.PEM, *plain).decode()


def _load(pem: str) -> paramiko.PKey:
    return paramiko.Ed25519Key.from_private_key(StringIO(pem))


@dataclass
class SftpServer:
    """top: the folder that it serves. faults: what goes wrong with which request; it counts them, as a proxy does.

    passwords, keys: by user. means: how users may sign in. host_keys: that it shows. denied: names of requests, such as
    "mkdir". requests: those that were made. connections: open. spoken: answers instead of it. program: serves
    the files instead.
    """

    top: Path
    faults: Proxy
    port: int = 0
    passwords: dict[str, str] = field(default_factory=lambda: {USER: PASSWORD})
    keys: dict[str, str] = field(default_factory=dict)
    means: str = "password,publickey"
    host_keys: list[paramiko.PKey] = field(default_factory=list)
    denied: set[str] = field(default_factory=set)
    lacks_posix_rename: bool = False
    requests: list[str] = field(default_factory=list)
    sign_ins: list[str] = field(default_factory=list)
    connections: set[socket.socket] = field(default_factory=set)
    spoken: Callable[[socket.socket], None] | None = None
    program: str = ""

    @property
    def host_key(self) -> str:
        """Return the first host key as a .pub file has it."""
        return f"{self.host_keys[0].get_name()} {self.host_keys[0].get_base64()}"

    @property
    def fingerprint(self) -> str:
        return HostKey.read(self.host_key).fingerprint

    def change_host_key(self, name: str) -> None:
        self.host_keys[:] = [_load(private_key(name))]

    def config(self, **config: Any) -> dict[str, Any]:
        """Return the settings of a destination on this server."""
        settings = {"host": "127.0.0.1", "port": self.port, "user": USER, "host_keys": [self.host_key]}
        return {**settings, "allow_private": True, **config}

    def fail_next(self, *faults: str) -> None:
        """Spoil the next requests; "" for one that is not spoilt."""
        for number, fault in enumerate(faults, 1):
            if fault:
                self.faults.spoil(number, fault)


class _SignIn(paramiko.ServerInterface):
    def __init__(self, server: SftpServer) -> None:
        self.server = server

    def get_allowed_auths(self, username: str) -> str:
        return self.server.means

    def check_auth_password(self, username: str, password: str) -> int:
        self.server.sign_ins.append(f"password of {username}")
        return self._answer("password", self.server.passwords.get(username) == password)

    def check_auth_publickey(self, username: str, key: paramiko.PKey) -> int:
        self.server.sign_ins.append(f"key of {username}")
        known = self.server.keys.get(username)
        return self._answer("publickey", known is not None and _load(known) == key)

    def check_channel_request(self, kind: str, chanid: int) -> int:
        return paramiko.OPEN_SUCCEEDED

    def _answer(self, means: str, is_right: bool) -> int:
        is_right = is_right and means in self.server.means
        return paramiko.AUTH_SUCCESSFUL if is_right else paramiko.AUTH_FAILED


class _File(paramiko.SFTPHandle):
    """An open file. cut: called with the first piece that is written, if the connection is to be cut there."""

    def __init__(self, file: Any, fault: str, cut: Callable[[], None]) -> None:
        super().__init__()
        self.file, self.fault, self.cut = file, fault, cut

    def read(self, offset: int, length: int) -> bytes:
        return os.pread(self.file.fileno(), length, offset)

    def write(self, offset: int, data: bytes) -> int:
        if self.fault == FULL:
            return sftp.SFTP_FAILURE
        if self.fault == CUT_MIDDLE:
            data = data[: len(data) // 2]
        os.pwrite(self.file.fileno(), data, offset)
        if self.fault == CUT_MIDDLE:
            self.cut()
        return sftp.SFTP_OK

    def stat(self) -> paramiko.SFTPAttributes:
        return paramiko.SFTPAttributes.from_stat(os.fstat(self.file.fileno()))

    def close(self) -> None:
        self.file.close()


class _Files(paramiko.SFTPServerInterface):
    def __init__(self, sign_in: _SignIn, connection: socket.socket, *_: Any, **__: Any) -> None:
        self.server, self.connection = sign_in.server, connection

    def open(self, path: str, flags: int, attr: Any) -> Any:
        is_written = bool(flags & (os.O_WRONLY | os.O_RDWR))
        return self._do("open to write" if is_written else "open", lambda fault: self._open(path, flags, fault), path)

    def list_folder(self, path: str) -> Any:
        return self._do("list", lambda _fault: self._list(path), path)

    def stat(self, path: str) -> Any:
        return self._do("stat", lambda _fault: self._stat(path), path)

    lstat = stat

    def remove(self, path: str) -> int:
        return self._do("remove", lambda _fault: os.remove(self._full(path)), path)

    def rename(self, oldpath: str, newpath: str) -> int:
        return self._do("rename", lambda _fault: self._rename(oldpath, newpath), newpath)

    def posix_rename(self, oldpath: str, newpath: str) -> int:
        if self.server.lacks_posix_rename:
            self.server.requests.append("posix_rename")
            return sftp.SFTP_OP_UNSUPPORTED
        return self._do("posix_rename", lambda _fault: os.replace(self._full(oldpath), self._full(newpath)), newpath)

    def mkdir(self, path: str, attr: Any) -> int:
        return self._do("mkdir", lambda _fault: os.mkdir(self._full(path)), path)

    # -- inside --------------------------------------------------------------------------------------------------------

    def _do(self, name: str, act: Callable[[str], Any], path: str) -> Any:
        """Return the answer to a request, or the code of its error; spoil it if that was asked for."""
        server, proxy = self.server, self.server.faults
        server.requests.append(name)
        if name in server.denied:
            return sftp.SFTP_PERMISSION_DENIED
        fault = proxy.next_fault()
        if fault == CUT_BEFORE or (fault == CUT_MIDDLE and name != "open to write"):
            self._cut()
            return sftp.SFTP_FAILURE
        if fault == FULL and name in _CHANGES and name != "open to write":
            return sftp.SFTP_FAILURE
        try:
            answer = act(fault)
        except OSError as error:
            answer = self._code(error)
        if fault == CUT_AFTER:
            self._cut()
        elif fault == SLOW:
            time.sleep(proxy.slow_seconds)
        return sftp.SFTP_OK if answer is None else answer

    def _open(self, path: str, flags: int, fault: str) -> _File:
        handle = os.open(self._full(path), flags & ~os.O_APPEND, 0o644)
        is_written = bool(flags & (os.O_WRONLY | os.O_RDWR))
        return _File(os.fdopen(handle, "r+b" if is_written else "rb", buffering=0), fault, self._cut)

    def _list(self, path: str) -> list[paramiko.SFTPAttributes]:
        return [self._stat(f"{path}/{name}", name) for name in os.listdir(self._full(path))]

    def _stat(self, path: str, name: str = "") -> paramiko.SFTPAttributes:
        return paramiko.SFTPAttributes.from_stat(os.stat(self._full(path)), name or None)

    def _rename(self, old: str, new: str) -> None:
        os.link(self._full(old), self._full(new))  # as OpenSSH does, so that nothing is replaced
        os.unlink(self._full(old))

    def _full(self, path: str) -> Path:
        return self.server.top / os.path.normpath(f"/{path}").lstrip("/")

    def _code(self, error: OSError) -> int:
        codes = {errno.ENOENT: sftp.SFTP_NO_SUCH_FILE, errno.EACCES: sftp.SFTP_PERMISSION_DENIED}
        return codes.get(error.errno or 0, sftp.SFTP_FAILURE)

    def _cut(self) -> None:
        with contextlib.suppress(OSError):
            self.connection.shutdown(socket.SHUT_RDWR)


class _Program(paramiko.SubsystemHandler):
    """Serves the files by a program that speaks SFTP with its standard input and output."""

    def __init__(self, channel: Any, name: str, sign_in: _SignIn) -> None:
        super().__init__(channel, name, sign_in)
        self.server = sign_in.server

    def start_subsystem(self, name: str, transport: Any, channel: Any) -> None:
        command = [self.server.program, "-e", "-d", str(self.server.top)]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0) as process:
            answers = threading.Thread(target=self._pass_answers, args=(process, channel), daemon=True)
            answers.start()
            with contextlib.suppress(OSError):
                while data := channel.recv(65536):
                    process.stdin.write(data)  # type: ignore[union-attr]
            process.stdin.close()  # type: ignore[union-attr]
            answers.join(5)

    def _pass_answers(self, process: Any, channel: Any) -> None:
        with contextlib.suppress(OSError):
            while data := process.stdout.read(32768):
                channel.sendall(data)


def _serve(server: SftpServer, connection: socket.socket) -> None:
    if server.spoken is not None:
        with contextlib.closing(connection), contextlib.suppress(OSError):
            server.spoken(connection)
        return
    transport = paramiko.Transport(connection)
    for key in server.host_keys:
        transport.add_server_key(key)
    if server.program:
        transport.set_subsystem_handler("sftp", _Program)
    else:
        transport.set_subsystem_handler("sftp", paramiko.SFTPServer, _Files, connection)
    with contextlib.suppress(paramiko.SSHException, EOFError, OSError):
        transport.start_server(server=_SignIn(server))
        transport.join()
    transport.close()
    server.connections.discard(connection)


def _accept(server: SftpServer, listener: socket.socket) -> None:
    while True:
        try:
            connection, _address = listener.accept()
        except OSError:
            return
        server.connections.add(connection)
        threading.Thread(target=_serve, args=(server, connection), daemon=True).start()


@contextlib.contextmanager
def serving(top: Path, program: str = "") -> Iterator[SftpServer]:
    """Serve a folder on a port of 127.0.0.1 until the block ends."""
    top.mkdir(parents=True, exist_ok=True)
    server = SftpServer(top, Proxy("", url="sftp"), program=program)
    server.change_host_key("first")
    listener = socket.create_server(("127.0.0.1", 0))
    server.port = listener.getsockname()[1]
    thread = threading.Thread(target=_accept, args=(server, listener), daemon=True)
    thread.start()
    try:
        yield server
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join(5)
        for connection in list(server.connections):
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
