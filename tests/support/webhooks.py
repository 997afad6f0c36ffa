"""Webhooks for tests: one that gets every event, feeds that cause messages, and the sending of what is due."""

from __future__ import annotations

import io
import json
from typing import Any

from django.utils import timezone

from campaigns.models import FeedImport
from campaigns.services import imports
from core.models import Brand, User
from review.choices import WebhookEvent
from review.models import WebhookEndpoint, WebhookMessage
from review.services import webhook_messages, webhooks
from tests.support.receiver import ReceivedRequest, Receiver

EVERY_EVENT = list(WebhookEvent.values)


def create_endpoint(brand: Brand, by: User, receiver: Receiver) -> WebhookEndpoint:
    return webhooks.create(brand=brand, by=by, name="Shop", url=receiver.url, events=EVERY_EVENT)


def import_feed(brand: Brand, by: User, text: str = "sku,name\nM-1,Mug\n") -> FeedImport:
    return imports.import_feed(brand=brand, file=io.BytesIO(text.encode()), file_name="feed.csv", by=by)


def send_all() -> int:
    """Send what is due; return how many attempts that took."""
    count = 0
    while webhook_messages.send_next():
        count += 1
    return count


def make_due() -> None:
    WebhookMessage.objects.filter(due_at__isnull=False).update(due_at=timezone.now())


def read(request: ReceivedRequest) -> tuple[str, dict[str, Any]]:
    """Return type and data of a message."""
    message = json.loads(request.body)
    assert set(message) == {"type", "timestamp", "data"}
    return message["type"], message["data"]
