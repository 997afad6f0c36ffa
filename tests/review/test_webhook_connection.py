"""Tests of the connection test of webhooks: a signed message that names no image, and answers in words."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any

import pytest

from core.signing import is_signed
from review.delivery import base
from tests.support.receiver import Answer, Receiver, new_secret, receiving

NO_SESSION: Any = None
SECRET = new_secret()


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as running:
        yield running


def ask(receiver: Receiver, status: int = 200, **headers: str) -> list[str]:
    receiver.answers = [Answer(status, headers)]
    config = {"url": receiver.url, "allow_private": True, "timeout_seconds": 2}
    return base.build("webhook", config, SECRET).test_connection(NO_SESSION)


def test_a_signed_test_message_is_sent(receiver: Receiver) -> None:
    assert ask(receiver) == [] and ask(receiver, 204) == []
    first, second = receiver.requests
    assert is_signed(SECRET, first.headers, first.body, now=time.time())
    message = json.loads(first.body)
    assert message["type"] == "webhook.test" and set(message["data"]) == {"message"}
    assert first.headers["webhook-id"] != second.headers["webhook-id"]


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (401, "It does not accept the signature"),
        (403, "It does not accept the signature"),
        (404, "answered 404"),
        (410, "it wants no more messages"),
        (500, "answered 500"),
    ],
)
def test_a_receiver_that_refuses_is_said(receiver: Receiver, status: int, words: str) -> None:
    [sentence] = ask(receiver, status)
    assert words in sentence


def test_a_redirect_and_a_receiver_that_is_away_are_said(receiver: Receiver) -> None:
    [sentence] = ask(receiver, 301, location="https://example.com/elsewhere")
    assert "enter the final address" in sentence
    config = {"url": "http://127.0.0.1:9/hook", "allow_private": True}
    [sentence] = base.build("webhook", config, SECRET).test_connection(NO_SESSION)
    assert "nothing answers at its port" in sentence
