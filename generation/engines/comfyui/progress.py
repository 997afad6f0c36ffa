"""The progress of our submissions at a ComfyUI server, received on its websocket: a hint that is kept in memory only.

Events go to the socket of the client that made the submission. A server or proxy may send none; the progress is (0, 0)
then. Product: websockets 17 (https://websockets.readthedocs.io/en/stable/reference/sync/client.html).
"""

from __future__ import annotations

import json
import ssl
import threading
from collections import OrderedDict
from collections.abc import Mapping
from time import monotonic
from typing import Any, Final
from urllib.parse import urlsplit

from websockets.exceptions import WebSocketException
from websockets.sync.client import ClientConnection, connect

MAX_ENTRIES: Final = 2000
IDLE_SECONDS: Final = 60.0
"""Seconds without a submission or an event after which a socket is closed."""
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
        threading.Thread(target=self._listen, args=(base_url,), name="comfyui-hints", daemon=True).start()

    def get_progress(self, prompt_id: str) -> tuple[int, int]:
        """Return the last (step, steps) received; (0, 0) if there was none."""
        with self._guard:
            return self._progress_by_id.get(prompt_id, (0, 0))

    def is_listening(self, base_url: str) -> bool:
        with self._guard:
            return base_url in self._listening

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
        trust = None
        if is_safe:
            trust = ssl.create_default_context()
            if self._ca:
                trust.load_verify_locations(self._ca)
        address = f"{'wss' if is_safe else 'ws'}://{parts.netloc}{parts.path.rstrip('/')}/ws?clientId={self.client_id}"
        return connect(
            address,
            additional_headers=self._headers,
            ssl=trust,
            open_timeout=10,
            max_size=MAX_BYTES,
            user_agent_header="Proofline/1",
        )

    def _receive(self, socket: ClientConnection, base_url: str) -> None:
        while monotonic() < self._wanted_until[base_url]:
            try:
                message = socket.recv(timeout=RECEIVE_SECONDS)
            except TimeoutError:
                continue
            if isinstance(message, bytes):
                continue  # a preview image
            try:
                self._record_progress(json.loads(message), base_url)
            except ValueError:
                continue

    def _record_progress(self, event: Any, base_url: str) -> None:
        """Record the progress in one event. Other events are ignored."""
        data = event.get("data") if isinstance(event, Mapping) else None
        if not isinstance(data, Mapping) or not isinstance(data.get("prompt_id"), str):
            return
        progress = (0, 0)
        if event.get("type") == "progress":
            progress = _steps(data)
        elif event.get("type") == "progress_state" and isinstance(data.get("nodes"), Mapping):
            running = [
                node for node in data["nodes"].values() if isinstance(node, Mapping) and node.get("state") == "running"
            ]
            progress = max((_steps(node) for node in running), key=lambda pair: pair[1], default=(0, 0))
        if progress[1] < 2:
            return  # most nodes count 1 of 1; only those that count steps are useful
        with self._guard:
            self._progress_by_id[data["prompt_id"]] = progress
            self._progress_by_id.move_to_end(data["prompt_id"])
            self._wanted_until[base_url] = monotonic() + IDLE_SECONDS
            while len(self._progress_by_id) > MAX_ENTRIES:
                self._progress_by_id.popitem(last=False)


def _steps(plain: Mapping[str, Any]) -> tuple[int, int]:
    value, most = plain.get("value"), plain.get("max")
    if not isinstance(value, int | float) or not isinstance(most, int | float):
        return (0, 0)
    if not 0 <= value <= most <= MAX_STEPS:  # false for nan too
        return (0, 0)
    return (int(value), int(most))
