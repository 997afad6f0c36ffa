"""Sends signed JSON messages as Standard Webhooks 1.0 defines them (https://www.standardwebhooks.com).

The destination `webhook` and the webhooks of a brand (review/services/webhook_messages.py) send with it.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

from core import fetching, signing
from core.fetching import Answer
from core.fetching.fetcher import retry_after
from review.delivery import http
from review.delivery.base import DeliveryError

TEST = "webhook.test"
"""The type of a message that names nothing that happened; receivers ignore types that they do not know."""


def encode(type_: str, moment: datetime, data: Mapping[str, Any]) -> bytes:
    """Return the body of a message. moment: when it happened."""
    return encode_payload({"type": type_, "timestamp": moment.astimezone(UTC).isoformat(), "data": data})


def encode_payload(payload: Mapping[str, Any]) -> bytes:
    """Return the same bytes for the same payload at each attempt."""
    return json.dumps(payload, sort_keys=True, ensure_ascii=False).encode()


def send(
    url: str,
    body: bytes,
    *,
    message_id: str,
    secrets: Iterable[str],
    timeout_seconds: float,
    allow_private: bool,
) -> Answer:
    """POST one message and return the answer, whatever its status; redirects are not followed.

    secrets: each signs, so that a receiver can change from one to the next. Raises DeliveryError without an answer.
    """
    timestamp = int(time.time())
    try:
        signatures = [signing.sign(secret, message_id, timestamp, body) for secret in secrets]
    except signing.BadSecret as error:
        raise DeliveryError(str(error), is_final=True) from None
    headers = {
        "content-type": "application/json",
        "user-agent": "Proofline-Webhooks/1",
        "webhook-id": message_id,
        "webhook-timestamp": str(timestamp),
        "webhook-signature": " ".join(signatures),
    }
    policy = http.policy(allow_private=allow_private)
    try:
        return fetching.post(url, body=body, headers=headers, timeout_seconds=timeout_seconds, policy=policy)
    except fetching.Refused as refusal:
        raise DeliveryError(refusal.message, is_final=refusal.is_final) from None


def find_error(url: str, answer: Answer) -> DeliveryError | None:
    """Return why a message with this answer counts as not received; None for a 2xx."""
    status, where = answer.status, fetching.redact_address(url)
    if 200 <= status < 300:
        return None
    if status == 410:
        message = f"{where} answered 410 Gone: it wants no more messages."
        return DeliveryError(message, is_final=True, status_code=status, disables=True)
    if 300 <= status < 400:
        elsewhere = fetching.redact_address(answer.headers.get("location", "nowhere"))
        message = f"{where} answered {status} (to {elsewhere}); redirects are not followed: enter the final address."
        return DeliveryError(message, status_code=status)
    wait = retry_after(answer.headers.get("retry-after", ""))
    return DeliveryError(f"{where} answered {status}.", status_code=status, retry_after_seconds=wait)
