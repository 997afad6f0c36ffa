"""Test docs/webhooks.md: its receiver accepts what is sent and refuses forgeries; its tables are complete."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import pytest
from django.utils import timezone

from review.choices import MessageState, WebhookEvent
from review.selectors.webhooks import EXPLANATIONS
from review.services import webhook_messages, webhooks
from tests.support import factories
from tests.support.processes import wait_until

PAGE = Path(__file__).resolve().parents[2] / "docs/webhooks.md"


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def is_open(port: int) -> bool:
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0


def test_every_event_is_documented_and_explained() -> None:
    documented = re.findall(r"^\| `([a-z]+\.[a-z]+)` \|", PAGE.read_text(), re.M)
    assert documented == WebhookEvent.values == [str(event) for event in EXPLANATIONS]


@pytest.mark.django_db(transaction=True)
def test_the_documented_receiver_checks_real_messages(brand: Any, lead: Any, settings: Any, tmp_path: Path) -> None:
    settings.PROOFLINE = settings.PROOFLINE | {"allow_private_webhooks": True}
    [code] = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.S)
    assert len([line for line in code.splitlines() if line.strip()]) <= 15
    port = free_port()
    url = f"http://127.0.0.1:{port}/in"
    endpoint = webhooks.create(brand=brand, by=lead, name="Receiver", url=url, events=["run.finished"])
    environment = {**os.environ, "PORT": str(port), "WEBHOOK_SECRET": endpoint.secret}
    receiver = subprocess.Popen(
        [sys.executable, "-c", code], env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    try:
        wait_until(lambda: is_open(port), seconds=30, what="the receiver listens")
        message = factories.WebhookMessageFactory(endpoint=endpoint, type="run.finished", due_at=timezone.now())
        assert webhook_messages.send_next()
        webhooks.rotate_secret(endpoint_id=endpoint.pk, by=lead)
        assert webhook_messages.send_test(endpoint_id=endpoint.pk, by=lead).state == MessageState.DELIVERED
        headers = {"webhook-id": "evt_1", "webhook-timestamp": "1", "webhook-signature": "v1,AAAA"}
        assert httpx.post(url, content=b"{}", headers=headers).status_code == 401
        webhooks.rotate_secret(endpoint_id=endpoint.pk, by=lead)
        refused = webhook_messages.send_test(endpoint_id=endpoint.pk, by=lead)
        assert refused.attempt_rows.get().status_code == 401, "neither secret is the receiver's any more"
    finally:
        receiver.kill()
        printed = receiver.communicate()[0].splitlines()
    assert printed[0] == f"{message.event_id} run.finished"
    assert [line.split()[1] for line in printed] == ["run.finished", "webhook.test"]
