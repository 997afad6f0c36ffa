"""A server that does whatever a test wants."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.awkward_server import AwkwardServer, serving
from tests.fetching.asking import OUTSIDE


@pytest.fixture
def server() -> Iterator[AwkwardServer]:
    with serving(OUTSIDE) as one:
        yield one
