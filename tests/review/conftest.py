"""Fixtures of several modules: a webhook and its receiver; the Wagtail site, made once, and the proxy before it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from core.models import Brand, User
from review.models import WebhookEndpoint
from tests.support import troubled_proxy, wagtail_server
from tests.support.receiver import Receiver, receiving
from tests.support.troubled_proxy import TroubledProxy
from tests.support.wagtail_server import WagtailServer
from tests.support.webhooks import create_endpoint


@pytest.fixture
def receiver(settings: Any, clean_redis: Any) -> Iterator[Receiver]:
    settings.PROOFLINE = settings.PROOFLINE | {"allow_private_webhooks": True}
    with receiving() as running_receiver:
        yield running_receiver


@pytest.fixture
def endpoint(brand: Brand, lead: User, receiver: Receiver) -> WebhookEndpoint:
    """Return a webhook that sends every event to the receiver."""
    return create_endpoint(brand, lead, receiver)


@pytest.fixture(scope="session")
def running_wagtail(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WagtailServer]:
    with wagtail_server.serving(tmp_path_factory.mktemp("wagtail")) as running:
        yield running


@pytest.fixture
def wagtail(running_wagtail: WagtailServer, settings: Any) -> WagtailServer:
    """Return the site without images."""
    settings.PROOFLINE = settings.PROOFLINE | {"allow_private_webhooks": True}
    running_wagtail.clear()
    return running_wagtail


@pytest.fixture
def proxy(wagtail: WagtailServer) -> Iterator[TroubledProxy]:
    with troubled_proxy.serving(wagtail.url) as running:
        yield running
