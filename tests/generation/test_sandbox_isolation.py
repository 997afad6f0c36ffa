"""Test that finished studio images stay out of review, library, coverage and delivery."""

from __future__ import annotations

from typing import Any

import pytest

from core.choices import Lane
from core.models import Brand, Event, User
from core.services import audit
from generation.choices import AssetState, JobState
from generation.engines import base as engines
from generation.models import Asset, AssetVersion, Job
from generation.selectors import coverage
from generation.services import studio
from generation.services.images import assets
from generation.services.images.assets import NewVersion
from review.models import Delivery, ReviewTask
from review.selectors import changes, library, usable_assets
from tests.generation.test_studio import Painter, wish
from tests.support import factories

pytestmark = pytest.mark.django_db


@pytest.fixture
def finished_asset(brand: Brand, designer: User) -> Asset:
    """Return a studio image of a product, finished by the usual services, in a brand that delivers."""
    engines.ENGINES.register("painter", engines.EnginePlugin("painter", Painter))
    endpoint = factories.EndpointFactory(engine="painter", lane=Lane.CPU)
    factories.DestinationFactory(brand=brand)
    product = factories.ReferencePhotoFactory(subject__brand=brand).subject
    run = studio.start(brand=brand, wish=wish(subject=product), endpoint=endpoint, by=designer)
    job = Job.objects.select_related("cell").get(run=run)
    asset = assets.lock(Asset.objects.get(cell=job.cell).pk)
    master = factories.MasterFactory(brand=brand)
    assets.add_version(asset, NewVersion(round=1, candidate=1, master=master, job_id=job.pk))
    Job.objects.filter(pk=job.pk).update(status=JobState.SUCCEEDED)
    assets.settle_round(asset, label="worker")
    asset.refresh_from_db()
    return asset


def test_the_image_is_there_and_its_end_was_recorded(finished_asset: Asset) -> None:
    """Check the condition of the tests below: the image was finished like any other."""
    assert (finished_asset.state, finished_asset.is_sandbox) == (AssetState.IN_REVIEW, True)
    assert AssetVersion.objects.filter(asset=finished_asset).count() == 1
    assert Event.objects.filter(type="generation.version.ready", object_id=finished_asset.pk).exists()


def test_a_sandbox_image_creates_no_review_task(finished_asset: Asset, reviewer: User, api_client: Any) -> None:
    assert not ReviewTask.objects.exists()
    assert api_client(reviewer).get("/api/v1/tasks/").json()["results"] == []


def test_a_sandbox_image_is_neither_in_the_library_nor_in_the_api(
    finished_asset: Asset, brand: Brand, designer: User, api_client: Any
) -> None:
    assert not library.matching_assets(user=designer, brand=brand, filters=library.Filters()).exists()
    assert api_client(designer).get("/api/v1/assets/").json()["results"] == []


def test_a_sandbox_image_counts_for_no_campaign(finished_asset: Asset, brand: Brand) -> None:
    campaign = factories.CampaignFactory(brand=brand, subjects=[finished_asset.subject])
    factories.OutputSpecFactory(campaign=campaign, width=512, height=640)
    assert coverage.list_existing_images(campaign.pk) == frozenset()
    assert coverage.list_existing_images(finished_asset.campaign_id) == frozenset()


def test_a_sandbox_image_can_be_neither_pulled_nor_delivered(
    finished_asset: Asset, brand: Brand, integrator: User, designer: User
) -> None:
    audit.seal()
    entries, _ = changes.changes(user=integrator, brand=brand)
    assert entries == []
    assert not usable_assets.find(user=integrator, brand=brand).exists()
    assert not Delivery.objects.exists()
