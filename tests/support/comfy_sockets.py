"""The websockets of the tests' ComfyUI server: one per client id, with the events of that client only."""

from __future__ import annotations

import json
import threading
from typing import Any

from websockets.http11 import Request as Handshake
from websockets.server import ServerProtocol

from tests.support.remote_server import Request


class Sockets:
    """Open sockets by client id; a second socket of the same id replaces the first."""

    def __init__(self) -> None:
        self._guard = threading.RLock()
        self._open: dict[str, tuple[Any, ServerProtocol]] = {}

    @property
    def clients(self) -> list[str]:
        with self._guard:
            return list(self._open)

    def take(self, request: Request, connection: Any) -> None:
        """Answer the handshake and stay until the client disconnects."""
        protocol = ServerProtocol()
        head = "".join(f"{name}: {value}\r\n" for name, value in request.headers.items())
        protocol.receive_data(f"GET {request.path} HTTP/1.1\r\n{head}\r\n".encode())
        handshake = next(event for event in protocol.events_received() if isinstance(event, Handshake))
        protocol.send_response(protocol.accept(handshake))
        client = request.query.get("clientId", "")
        with self._guard:
            self._open[client] = (connection, protocol)
            _flush(connection, protocol)
        self.send_event(client, "status", {"status": {"exec_info": {"queue_remaining": 0}}, "sid": client})
        self._listen(client, connection, protocol)

    def _listen(self, client: str, connection: Any, protocol: ServerProtocol) -> None:
        try:
            while data := connection.recv(4096):
                with self._guard:
                    protocol.receive_data(data)
                    protocol.events_received()
                    _flush(connection, protocol)
                if protocol.close_expected():
                    break
        except OSError:
            pass
        with self._guard:
            if self._open.get(client, (None,))[0] is connection:
                del self._open[client]

    def send_event(self, client: Any, event: str, data: dict[str, Any]) -> None:
        self.send_message(client, json.dumps({"type": event, "data": data}))

    def send_message(self, client: Any, message: str | bytes) -> None:
        """Send a message to one client's socket, if it has one; bytes go as a binary frame."""
        with self._guard:
            connection, protocol = self._open.get(str(client), (None, None))
            if connection is None or protocol is None:
                return
            try:
                if isinstance(message, bytes):
                    protocol.send_binary(message)
                else:
                    protocol.send_text(message.encode())
                _flush(connection, protocol)
            except OSError:
                self._open.pop(str(client), None)

    def close(self) -> None:
        """Cut every connection."""
        with self._guard:
            sockets, self._open = list(self._open.values()), {}
        for connection, _ in sockets:
            connection.shutdown(2)


def _flush(connection: Any, protocol: ServerProtocol) -> None:
    for piece in protocol.data_to_send():
        if piece:
            connection.sendall(piece)
