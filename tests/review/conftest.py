"""The Wagtail site of these tests, which is made once for all of them, and the proxy before it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.support import troubled_proxy, wagtail_server
from tests.support.troubled_proxy import TroubledProxy
from tests.support.wagtail_server import WagtailServer


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
