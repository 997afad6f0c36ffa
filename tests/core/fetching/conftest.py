"""Fixture: a test server whose behaviour each test defines."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.core.fetching.fetch_helpers import OUTSIDE
from tests.support.awkward_server import AwkwardServer, serving


@pytest.fixture
def server() -> Iterator[AwkwardServer]:
    with serving(OUTSIDE) as running_server:
        yield running_server
