"""Signed webhooks as Standard Webhooks 1.0 defines them (https://www.standardwebhooks.com). No files are sent.

Secret: "whsec_" and base64 of 24 to 64 bytes. The body lists
the files with their hashes and stable URLs; the receiver downloads them with its own token.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from core import fetching, signing
from core.plugin_config import Config, setting
from review.delivery import http, signed_messages
from review.delivery.base import DeliveryError, Destination, Package, Receipt, Session

MAX_TIMEOUT_SECONDS = 60.0  # well below a delivery's lease, so that no receiver can block a worker


class WebhookConfig(Config):
    url: str = setting(
        "Address", needed="expected an https address, such as https://example.com/images.", example="https://…"
    )
    timeout_seconds: float = setting(
        "Timeout, s", f"At most {MAX_TIMEOUT_SECONDS:g}.", default=15.0, minimum=0.1, maximum=86_400
    )
    allow_private: bool = setting(
        "Allow private addresses", "If the operator allows them for this server.", default=False, is_advanced=True
    )


class Webhook(Destination):
    kind = "webhook"
    label = "Webhook"
    description = "A signed message with the addresses of the files to a system of yours, which fetches them."
    config = WebhookConfig
    credentials_hint = "whsec_ and base64 of 24 to 64 bytes; the receiver checks the signatures with it."

    def __init__(self, config: Mapping[str, Any], secret: str) -> None:
        given = WebhookConfig.read(config)
        self.url = given.url
        self.allow_private = given.allow_private
        self.timeout_seconds = min(given.timeout_seconds, MAX_TIMEOUT_SECONDS)
        self.secret = secret

    def validate(self) -> list[str]:
        problems = []
        try:
            fetching.parse(self.url, http.policy(allow_private=self.allow_private))
        except fetching.Refused as refusal:
            problems.append(f"url: {refusal.message}")
        try:
            if not self.secret.startswith(signing.PREFIX):
                problems.append("secret: expected whsec_ and base64 of 24 to 64 bytes.")
            elif not 24 <= len(signing.key_of(self.secret)) <= 64:
                problems.append("secret: expected 24 to 64 bytes after whsec_.")
        except signing.BadSecret as error:
            problems.append(f"secret: {error}")
        return problems

    def test_connection(self, session: Session) -> list[str]:
        """Send a signed message of the type "webhook.test", which names no image; receivers ignore unknown types."""
        try:
            self._send(
                f"msg_test_{uuid.uuid4().hex}",
                signed_messages.TEST,
                {"message": "A test of Proofline; nothing happened."},
            )
        except DeliveryError as error:
            if error.status_code in {401, 403}:
                return [f"{error.message} It does not accept the signature: compare its secret with this one."]
            return [error.message]
        return []

    def push(self, package: Package, session: Session) -> Receipt:
        names = ("spec", "name", "url", "sha256", "bytes", "media_type", "width", "height")
        files = [{name: getattr(file, name) for name in names} for file in package.files]
        data = package.asset_fields | {"files": files, "lineage": dict(package.lineage)}
        status = self._send(package.event_id, "asset.approved", data)
        return Receipt(files=package.delivered_files, status_code=status, message=f"answered {status}")

    def recall(self, package: Package, session: Session) -> Receipt:
        status = self._send(package.event_id, "asset.recalled", package.asset_fields)
        return Receipt(status_code=status, message=f"answered {status}")

    def _send(self, message_id: str, type_: str, data: Mapping[str, Any]) -> int:
        """POST one message and return the status if it is 2xx. Raises DeliveryError otherwise."""
        answer = signed_messages.send(
            self.url,
            signed_messages.encode(type_, datetime.now(UTC).replace(microsecond=0), data),
            message_id=message_id,
            secrets=[self.secret],
            timeout_seconds=self.timeout_seconds,
            allow_private=self.allow_private,
        )
        if error := signed_messages.find_error(self.url, answer):
            raise error
        return answer.status

    def plan(self, package: Package, session: Session) -> list[str]:
        return [f"Tell {fetching.redact_address(self.url)} that {package.sku} was approved."]
