"""The scene of the destination "webhook": messages instead of files, counted by their ids."""

from __future__ import annotations

import json
from collections import Counter
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from tests.support.kill_scenes import Scene, Shown
from tests.support.receiver import new_secret, receiving


class WebhookScene(Scene):
    """A receiver keeps one message of each id. What it shows of a product are its approved images."""

    kind = "webhook"
    shows_all = False

    def __init__(self, stack: ExitStack, folder: Path) -> None:
        super().__init__(stack, folder)
        self.receiver = stack.enter_context(receiving())
        self.proxy = self.add_proxy(self.receiver.url)
        self.secret = new_secret()

    def settings(self) -> tuple[dict[str, Any], str]:
        return {"url": f"{self.proxy.url}/hook", "allow_private": True, "timeout_seconds": 1.0}, self.secret

    def add_product(self, key: str) -> None:
        self.receiver.requests.clear()

    def read_messages(self) -> dict[str, dict[str, Any]]:
        """Return the first message of each id."""
        messages: dict[str, dict[str, Any]] = {}
        for request in list(self.receiver.requests):
            messages.setdefault(request.headers["webhook-id"], json.loads(request.body))
        return messages

    def shown(self, key: str) -> Shown:
        shown: Shown = []
        for message in self.read_messages().values():
            if message["data"]["sku"] == key:
                is_approved = message["type"] == "asset.approved"
                shown = [(file["sha256"], "") for file in message["data"]["files"]] if is_approved else []
        return shown

    def stored(self) -> Counter[str]:
        return Counter()

    def count_messages(self, type_: str) -> int:
        return sum(message["type"] == type_ for message in self.read_messages().values())

    def expect_delivered(self, before: Shown, ours: Shown) -> Shown:
        return [(mark, "") for mark, _alt in ours]
