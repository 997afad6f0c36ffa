"""A small SMTP server on a local socket: it keeps mails, and refuses those that a test names."""

from __future__ import annotations

import socketserver
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from email import message_from_bytes, policy
from email.message import EmailMessage
from typing import Any


@dataclass
class Mailbox:
    """mails: (recipients, message). refusals: recipient -> the answer to its RCPT; `data_answer` to every message."""

    host: str = "127.0.0.1"
    port: int = 0
    mails: list[tuple[list[str], EmailMessage]] = field(default_factory=list)
    refusals: dict[str, str] = field(default_factory=dict)
    data_answer: str = "250 kept"
    sessions: int = 0


class _Session(socketserver.StreamRequestHandler):
    def handle(self) -> None:
        box: Mailbox = self.server.box  # type: ignore[attr-defined]
        box.sessions += 1
        recipients: list[str] = []
        self._reply("220 tests")
        while line := self.rfile.readline():
            verb = line[:4].upper().strip()
            if verb in {b"EHLO", b"HELO"}:
                self._reply("250 tests")
            elif verb == b"MAIL":
                recipients = []
                self._reply("250 ok")
            elif verb == b"RCPT":
                address = line.decode().split("<")[1].split(">")[0]
                recipients.append(address)
                self._reply(box.refusals.get(address, "250 ok"))
            elif verb == b"DATA":
                self._reply("354 go on")
                self._keep(box, recipients)
            elif verb == b"QUIT":
                self._reply("221 bye")
                return
            else:
                self._reply("250 ok")

    def _keep(self, box: Mailbox, recipients: list[str]) -> None:
        lines = []
        while (line := self.rfile.readline()) not in {b".\r\n", b""}:
            lines.append(line[1:] if line.startswith(b"..") else line)
        if box.data_answer.startswith("250"):
            message = message_from_bytes(b"".join(lines), policy=policy.default)
            assert isinstance(message, EmailMessage)
            box.mails.append((recipients, message))
        self._reply(box.data_answer)

    def _reply(self, words: str) -> None:
        self.wfile.write(words.encode() + b"\r\n")


class _Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True


@contextmanager
def mail_server() -> Iterator[Mailbox]:
    box = Mailbox()
    with _Server((box.host, 0), _Session) as server:
        server.box = box  # type: ignore[attr-defined]
        box.port = server.server_address[1]
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        thread.start()
        try:
            yield box
        finally:
            server.shutdown()
            thread.join()


def use(settings: Any, box: Mailbox) -> None:
    """Make Django send through this server, as EMAIL_URL=smtp://… would."""
    settings.EMAIL_BACKEND = "django.core.mail.backends.smtp.EmailBackend"
    settings.EMAIL_HOST, settings.EMAIL_PORT = box.host, box.port
    settings.EMAIL_HOST_USER = settings.EMAIL_HOST_PASSWORD = ""
    settings.EMAIL_USE_TLS = settings.EMAIL_USE_SSL = False
    settings.PROOFLINE = settings.PROOFLINE | {"mails_notices": True}
    settings.SITE_URL = "https://proofline.example.com"
