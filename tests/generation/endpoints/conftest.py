"""Fixtures: an endpoint at a service with a secret, a run on it, and the people who may change them."""

from __future__ import annotations

import pytest
from django.utils import timezone

from core.models import Brand, User
from generation.models import Endpoint, Run, Worker
from generation.services.endpoints import editing
from tests.generation.endpoints.endpoint_helpers import MODEL, SECRET
from tests.support import factories


@pytest.fixture
def operator(db: None) -> User:
    return factories.UserFactory(is_superuser=True)


@pytest.fixture
def worker(db: None) -> Worker:
    now = timezone.now()
    return Worker.objects.create(
        name="all", lanes=["cloud", "cpu", "gpu"], host="h", pid=1, started_at=now, seen_at=now
    )


@pytest.fixture
def brand_endpoint(brand: Brand, operator: User, worker: Worker) -> Endpoint:
    """The brand's own endpoint at a service, with a secret."""
    return editing.create(
        brand=brand, by=operator, slug="overflow", name="Overflow", engine="replicate", lane="cloud",
        config={"model": MODEL}, secret=SECRET, licence_note="Apache 2.0", prices={"image": "0.003"},
    )  # fmt: skip


@pytest.fixture
def run(brand: Brand, brand_endpoint: Endpoint) -> Run:
    return factories.RunFactory(campaign__brand=brand, endpoint=brand_endpoint, name="Spring")
