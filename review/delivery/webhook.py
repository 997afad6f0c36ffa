"""Signed webhooks as Standard Webhooks 1.0 defines them (https://www.standardwebhooks.com). No files are sent.

Secret: "whsec_" and base64 of 24 to 64 bytes. The body lists
the files with their hashes and stable URLs; the receiver downloads them with its own token.
"""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from core import fetching, signing
from core.fetching.fetcher import retry_after
from core.plugin_config import Config, setting
from review.delivery import http
from review.delivery.base import DeliveryError, Destination, Package, Receipt, Session

TEST = "webhook.test"
MAX_TIMEOUT_SECONDS = 60.0  # well below a delivery's lease, so that no receiver can block a worker


class WebhookConfig(Config):
    url: str = setting(
        "Address", needed="expected an https address, such as https://example.com/images.", example="https://…"
    )
    timeout_seconds: float = setting(
        "Timeout, s", f"At most {MAX_TIMEOUT_SECONDS:g}.", default=15.0, minimum=0.1, maximum=86_400
    )
    allow_private: bool = setting(
        "Private addresses, too", "If the operator allows them for this server.", default=False
    )


class Webhook(Destination):
    kind = "webhook"
    label = "Webhook"
    config = WebhookConfig
    credentials_hint = "whsec_ and base64 of 24 to 64 bytes; the receiver checks the signatures with it."

    def __init__(self, config: Mapping[str, Any], secret: str) -> None:
        given = WebhookConfig.read(config)
        self.url = given.url
        self.policy = http.policy(allow_private=given.allow_private)
        self.timeout_seconds = min(given.timeout_seconds, MAX_TIMEOUT_SECONDS)
        self.secret = secret

    def validate(self) -> list[str]:
        problems = []
        try:
            fetching.parse(self.url, self.policy)
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
            self._send(f"msg_test_{uuid.uuid4().hex}", TEST, {"message": "A test of Proofline; nothing happened."})
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
        timestamp = int(time.time())
        message = {"type": type_, "timestamp": datetime.fromtimestamp(timestamp, UTC).isoformat(), "data": data}
        body = json.dumps(message, sort_keys=True, ensure_ascii=False).encode()
        headers = {
            "content-type": "application/json",
            "user-agent": "Proofline-Webhooks/1",
            "webhook-id": message_id,
            "webhook-timestamp": str(timestamp),
            "webhook-signature": self._signature(message_id, timestamp, body),
        }
        try:
            answer = fetching.post(
                self.url, body=body, headers=headers, timeout_seconds=self.timeout_seconds, policy=self.policy
            )
        except fetching.Refused as refusal:
            raise DeliveryError(refusal.message, is_final=refusal.is_final) from None
        return _check_answer(fetching.redact_address(self.url), answer.status, answer.headers)

    def _signature(self, message_id: str, timestamp: int, body: bytes) -> str:
        try:
            return signing.sign(self.secret, message_id, timestamp, body)
        except signing.BadSecret as error:
            raise DeliveryError(str(error), is_final=True) from None

    def plan(self, package: Package, session: Session) -> list[str]:
        return [f"Tell {fetching.redact_address(self.url)} that {package.sku} was approved."]


def _check_answer(url: str, status: int, headers: Mapping[str, str]) -> int:
    if 200 <= status < 300:
        return status
    if status == 410:
        message = f"{url} answered 410 Gone: it wants no more messages."
        raise DeliveryError(message, is_final=True, status_code=status, disables=True)
    if 300 <= status < 400:
        elsewhere = fetching.redact_address(headers.get("location", "nowhere"))
        message = f"{url} answered {status} (to {elsewhere}); redirects are not followed: enter the final address."
        raise DeliveryError(message, status_code=status)
    raise DeliveryError(
        f"{url} answered {status}.", status_code=status, retry_after_seconds=retry_after(headers.get("retry-after", ""))
    )
