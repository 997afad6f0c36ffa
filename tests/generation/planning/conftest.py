"""Fixtures for planning: a campaign, a prompt version and an endpoint."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal

import pytest

from campaigns.models import Campaign, PromptVersion
from core.models import Brand, User
from generation.models import Asset, Cell, Endpoint, Job, JobSpec, Run
from tests.support import factories


@pytest.fixture
def campaign(brand: Brand) -> Campaign:
    """Return a campaign with three mugs and two output specs of one aspect."""
    mugs = [
        factories.SubjectFactory(brand=brand, key=f"MUG-{n}", name=f"Mug {n}", attributes={"colour": colour})
        for n, colour in enumerate(("sage", "clay", "teal"), start=1)
    ]
    made = factories.CampaignFactory(brand=brand, subjects=mugs)
    factories.OutputSpecFactory(campaign=made, slug="shop", width=600, height=600)
    factories.OutputSpecFactory(campaign=made, slug="thumb", width=200, height=200)
    return made


@pytest.fixture
def version(brand: Brand, manager: User) -> PromptVersion:
    return factories.PromptVersionFactory(
        template__brand=brand,
        text="{name} in {colour} on {backdrop}",
        axes={"backdrop": ["white", "clay"]},
        parameters={},
        needs={},
        created_by=manager,
    )


@pytest.fixture
def endpoint() -> Endpoint:
    return factories.EndpointFactory(engine="ready", price_per_image=Decimal("0.04"), seconds_per_image=2)


@pytest.fixture
def count_rows() -> Callable[[], tuple[int, ...]]:
    return lambda: tuple(model.objects.count() for model in (Run, Cell, Job, JobSpec, Asset))
