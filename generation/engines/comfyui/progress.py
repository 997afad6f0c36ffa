"""The progress of our submissions at a ComfyUI server, received on its websocket: a hint that is kept in memory only.

Events go to the socket of the client that made the submission. A server or proxy may send none; the progress is (0, 0)
then. Product: websockets 17 (https://websockets.readthedocs.io/en/stable/reference/sync/client.html).
"""

from __future__ import annotations

import json
import threading
from collections import OrderedDict
from collections.abc import Mapping
from contextlib import suppress
from time import monotonic
from typing import Any, Final
from urllib.parse import urlsplit

from websockets.exceptions import WebSocketException
from websockets.sync.client import ClientConnection, connect

from generation.engines import service
from generation.engines.service import as_mapping, as_number

MAX_ENTRIES: Final = 2000
IDLE_SECONDS: Final = 60.0  # seconds without a submission or an event after which a socket is closed
RECONNECT_SECONDS: Final = 20.0
RECEIVE_SECONDS: Final = 2.0
MAX_BYTES: Final = 16 * 1024 * 1024
MAX_STEPS: Final = 1_000_000


class ProgressListener:
    """The newest (step, steps) per prompt id, of one client at several servers."""

    def __init__(self, client_id: str, *, headers: Mapping[str, str], ca: str) -> None:
        self.client_id = client_id
        self._headers = dict(headers)
        self._ca = ca
        self._guard = threading.Lock()
        self._progress_by_id: OrderedDict[str, tuple[int, int]] = OrderedDict()
        self._wanted_until: dict[str, float] = {}
        self._not_before: dict[str, float] = {}
        self._listening: set[str] = set()

    def watch(self, base_url: str) -> None:
        """Listen to this server for a while. Returns at once."""
        now = monotonic()
        with self._guard:
            self._wanted_until[base_url] = now + IDLE_SECONDS
            if base_url in self._listening or now < self._not_before.get(base_url, 0.0):
                return
            self._listening.add(base_url)
        threading.Thread(target=self._listen, args=(base_url,), name=f"hints of {base_url}", daemon=True).start()

    def get_progress(self, prompt_id: str) -> tuple[int, int]:
        with self._guard:
            return self._progress_by_id.get(prompt_id, (0, 0))

    def _listen(self, base_url: str) -> None:
        try:
            with self._connect(base_url) as socket:
                self._receive(socket, base_url)
        except (OSError, WebSocketException, ValueError):
            pass  # without a socket there are no hints, everything else works
        finally:
            with self._guard:
                self._listening.discard(base_url)
                self._not_before[base_url] = monotonic() + RECONNECT_SECONDS

    def _connect(self, base_url: str) -> ClientConnection:
        parts = urlsplit(base_url)
        is_safe = parts.scheme == "https"
        return connect(
            f"{'wss' if is_safe else 'ws'}://{parts.netloc}{parts.path.rstrip('/')}/ws?clientId={self.client_id}",
            additional_headers=self._headers,
            ssl=service.trust(self._ca) if is_safe else None,
            open_timeout=10,
            max_size=MAX_BYTES,
            user_agent_header=service.USER_AGENT,
        )

    def _receive(self, socket: ClientConnection, base_url: str) -> None:
        while monotonic() < self._wanted_until[base_url]:
            with suppress(TimeoutError, ValueError):
                message = socket.recv(timeout=RECEIVE_SECONDS)
                if isinstance(message, str):  # bytes are a preview image
                    self._record_progress(json.loads(message), base_url)

    def _record_progress(self, event: Any, base_url: str) -> None:
        kind, data = as_mapping(event).get("type"), as_mapping(as_mapping(event).get("data"))
        if not isinstance(data.get("prompt_id"), str):
            return
        progress = (0, 0)
        if kind == "progress":
            progress = _steps(data)
        elif kind == "progress_state":
            nodes = [as_mapping(node) for node in as_mapping(data.get("nodes")).values()]
            running = (_steps(node) for node in nodes if node.get("state") == "running")
            progress = max(running, key=lambda pair: pair[1], default=(0, 0))
        if progress[1] < 2:
            return  # most nodes count 1 of 1; only those that count steps are useful
        with self._guard:
            self._progress_by_id[data["prompt_id"]] = progress
            self._progress_by_id.move_to_end(data["prompt_id"])
            self._wanted_until[base_url] = monotonic() + IDLE_SECONDS
            while len(self._progress_by_id) > MAX_ENTRIES:
                self._progress_by_id.popitem(last=False)


def _steps(plain: Mapping[str, Any]) -> tuple[int, int]:
    value, most = as_number(plain.get("value")), as_number(plain.get("max"))
    if value is None or most is None or not 0 <= value <= most <= MAX_STEPS:  # false for nan too
        return (0, 0)
    return (int(value), int(most))
