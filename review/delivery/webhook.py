"""A signed webhook as Standard Webhooks 1.0 defines it (https://www.standardwebhooks.com): files stay here,
news goes out.

Config: {"url": "https://…", "allow_private": false}. Secret: "whsec_" and base64 of 24 to 64 bytes. The body names
the files with their hashes and stable addresses; the receiver fetches them with a token of its own.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
import secrets
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from campaigns import fetching
from campaigns.fetching.fetcher import retry_after
from review.delivery.base import DeliveryError, Package, Receipt, register

TIMEOUT_SECONDS = 15.0
MAX_TIMEOUT_SECONDS = 60.0  # well below a delivery's lease: nobody may park a worker
PREFIX = "whsec_"


def new_secret() -> str:
    """A fresh signing secret."""
    return PREFIX + base64.b64encode(secrets.token_bytes(32)).decode()


def sign(secret: str, message_id: str, timestamp: int, body: bytes) -> str:
    """The `webhook-signature` header for one attempt."""
    signed = f"{message_id}.{timestamp}.".encode() + body
    digest = hmac.new(_key(secret), signed, hashlib.sha256).digest()
    return "v1," + base64.b64encode(digest).decode()


def is_signed(
    secret: str, headers: Mapping[str, str], body: bytes, *, now: float, tolerance_seconds: int = 300
) -> bool:
    """What a receiver does: True if the headers carry a fresh signature of exactly these bytes."""
    timestamp = headers.get("webhook-timestamp", "")
    if not timestamp.isdigit() or abs(now - int(timestamp)) > tolerance_seconds:
        return False
    wanted = sign(secret, headers.get("webhook-id", ""), int(timestamp), body)
    return any(hmac.compare_digest(wanted, one) for one in headers.get("webhook-signature", "").split(" "))


def _key(secret: str) -> bytes:
    try:
        return base64.b64decode(secret.removeprefix(PREFIX), validate=True)
    except binascii.Error:
        raise DeliveryError("The webhook's secret is not base64 after whsec_.", is_final=True) from None


@register("webhook")
class Webhook:
    """One endpoint of one receiver."""

    kind = "webhook"

    def __init__(self, config: Mapping[str, Any], secret: str) -> None:
        self.url = str(config.get("url", ""))
        self.allow_private = bool(config.get("allow_private"))
        self.timeout_seconds = min(float(config.get("timeout_seconds", TIMEOUT_SECONDS)), MAX_TIMEOUT_SECONDS)
        self.secret = secret

    def validate(self) -> list[str]:
        problems = []
        try:
            fetching.parse(self.url, self._policy())
        except fetching.Refused as refusal:
            problems.append(f"url: {refusal.message}")
        if not self.secret.startswith(PREFIX):
            problems.append("secret: expected whsec_ and base64 of 24 to 64 bytes.")
        else:
            try:
                if not 24 <= len(_key(self.secret)) <= 64:
                    problems.append("secret: expected 24 to 64 bytes after whsec_.")
            except DeliveryError as error:
                problems.append(f"secret: {error.message}")
        return problems

    def put(self, package: Package) -> Receipt:
        files = [
            {
                "spec": file.spec,
                "name": file.name,
                "url": file.url,
                "sha256": file.sha256,
                "bytes": file.bytes,
                "media_type": file.media_type,
                "width": file.width,
                "height": file.height,
            }
            for file in package.files
        ]
        data = _identity(package) | {"files": files, "lineage": dict(package.lineage)}
        status = self._send(package.event_id, "asset.approved", data)
        kept = [{"spec": file.spec, "name": file.name, "sha256": file.sha256} for file in package.files]
        return Receipt(files=kept, status_code=status, message=f"answered {status}")

    def remove(self, package: Package) -> Receipt:
        status = self._send(package.event_id, "asset.recalled", _identity(package))
        return Receipt(status_code=status, message=f"answered {status}")

    def _send(self, message_id: str, type_: str, data: Mapping[str, Any]) -> int:
        """POST one message; the status when it is 2xx. Raises DeliveryError otherwise."""
        timestamp = int(time.time())
        body = json.dumps(
            {"type": type_, "timestamp": datetime.fromtimestamp(timestamp, UTC).isoformat(), "data": data},
            sort_keys=True,
            ensure_ascii=False,
        ).encode()
        headers = {
            "content-type": "application/json",
            "user-agent": "Proofline-Webhooks/1",
            "webhook-id": message_id,
            "webhook-timestamp": str(timestamp),
            "webhook-signature": sign(self.secret, message_id, timestamp, body),
        }
        try:
            answer = fetching.post(
                self.url, body=body, headers=headers, timeout_seconds=self.timeout_seconds, policy=self._policy()
            )
        except fetching.Refused as refusal:
            raise DeliveryError(refusal.message, is_final=refusal.is_final) from None
        return _judge(self.url, answer.status, answer.headers)

    def _policy(self) -> fetching.Policy:
        if self.allow_private:
            return fetching.Policy(ports=None, private=fetching.ANYWHERE)
        return fetching.Policy(schemes=frozenset({"https"}), ports=None)


def _identity(package: Package) -> dict[str, Any]:
    return {
        "asset": package.asset_id,
        "sku": package.sku,
        "brand": package.brand,
        "campaign": package.campaign,
    }


def _judge(url: str, status: int, headers: Mapping[str, str]) -> int:
    if 200 <= status < 300:
        return status
    if status == 410:
        raise DeliveryError(
            f"{url} answered 410 Gone: it wants no more messages.", is_final=True, status_code=status, disables=True
        )
    if 300 <= status < 400:
        raise DeliveryError(
            f"{url} answered {status} (to {headers.get('location', 'nowhere')}); redirects are not followed: "
            "enter the final address.",
            status_code=status,
        )
    raise DeliveryError(
        f"{url} answered {status}.",
        status_code=status,
        retry_after_seconds=retry_after(headers.get("retry-after", "")),
    )
