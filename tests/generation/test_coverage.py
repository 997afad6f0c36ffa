"""Test coverage: the images of each subject, what is missing, the rollout of a version, and the number of queries."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from campaigns.models import Campaign, Subject
from core.models import Brand, User
from generation.choices import AssetState
from generation.models import Asset, Cell, Run
from generation.selectors import coverage, gates, subjects
from generation.selectors.coverage import CoverageFilters
from review.models import Delivery
from tests.support import engines, factories

pytestmark = pytest.mark.django_db

assert engines.ReadyEngine.name == "ready"  # importing it registers the engine


@pytest.fixture
def campaign(brand: Brand) -> Campaign:
    """Four mugs; shop and thumb share an aspect, story has its own."""
    mugs = [factories.SubjectFactory(brand=brand, key=f"MUG-{n}", name=f"Mug {n}") for n in range(4)]
    made = factories.CampaignFactory(brand=brand, subjects=mugs)
    factories.OutputSpecFactory(campaign=made, slug="shop", width=600, height=600)
    factories.OutputSpecFactory(campaign=made, slug="thumb", width=200, height=200)
    factories.OutputSpecFactory(campaign=made, slug="story", width=900, height=1600)
    return made


@pytest.fixture
def run(campaign: Campaign) -> Run:
    return factories.RunFactory(campaign=campaign)


@pytest.fixture
def made(run: Run, campaign: Campaign) -> Callable[..., Asset]:
    """Return `made("MUG-0", "1:1", "approved")`, which adds an image to the run."""

    def make(key: str, aspect: str, state: str, *, run: Run = run, **fields: Any) -> Asset:
        subject = campaign.subjects.get(key=key)
        values = {"number": Cell.objects.count()}
        cell = factories.CellFactory(
            run=run, subject=subject, aspect=aspect, axis_values=values, values_key=str(values)
        )
        return factories.AssetFactory(cell=cell, state=state, **fields)

    return make


def test_every_spec_of_an_aspect_shares_its_image_and_the_best_one_counts(
    made: Callable[..., Asset], campaign: Campaign
) -> None:
    made("MUG-0", "1:1", AssetState.REJECTED)
    made("MUG-0", "1:1", AssetState.APPROVED)
    made("MUG-0", "9:16", AssetState.APPROVED)
    made("MUG-1", "1:1", AssetState.IN_REVIEW)
    made("MUG-2", "1:1", AssetState.FAILED)
    made("MUG-3", "1:1", AssetState.SUPERSEDED)
    seen = coverage.summary(campaign)
    assert (seen.subjects, seen.complete, seen.lacking, seen.missing) == (4, 1, 3, 5)
    assert seen.counts["shop"] == seen.counts["thumb"] == {"approved": 1, "in_review": 1, "failed": 1, "missing": 1}
    assert seen.counts["story"] == {"approved": 1, "missing": 3}
    assert seen.states["missing"] == 5


def test_sandbox_images_and_retired_subjects_do_not_count(made: Callable[..., Asset], campaign: Campaign) -> None:
    made("MUG-0", "1:1", AssetState.APPROVED, is_sandbox=True)
    Subject.objects.filter(key="MUG-3").update(is_active=False)
    seen = coverage.summary(campaign)
    assert (seen.subjects, seen.missing) == (3, 6)
    assert coverage.list_existing_images(campaign.pk) == frozenset()


def test_an_approved_image_that_a_destination_has_is_live(
    made: Callable[..., Asset], campaign: Campaign, manager: User
) -> None:
    asset = made("MUG-0", "1:1", AssetState.APPROVED)
    version = factories.AssetVersionFactory(asset=asset)
    Asset.objects.filter(pk=asset.pk).update(current_version=version)
    asset.refresh_from_db()
    delivery: Delivery = factories.DeliveryFactory(asset=asset, version=version, desired="present", observed="sending")
    assert coverage.summary(campaign).counts["shop"]["approved"] == 1
    Delivery.objects.filter(pk=delivery.pk).update(observed="present")
    assert coverage.summary(campaign).counts["shop"] == {"live": 1, "missing": 3}
    specs = list(campaign.output_specs.order_by("id"))
    row = coverage.load_rows(campaign, specs, [version.asset.subject])[0]
    assert row.states == {specs[0].pk: "live", specs[1].pk: "live", specs[2].pk: "missing"}
    assert row.version_id == version.pk


def test_images_that_exist_or_are_being_made_count_as_covered(made: Callable[..., Asset], campaign: Campaign) -> None:
    for key, state in (("MUG-0", "approved"), ("MUG-1", "making"), ("MUG-2", "rejected"), ("MUG-3", "stale")):
        made(key, "1:1", state)
    ids = dict(campaign.subjects.values_list("key", "pk"))
    assert coverage.list_existing_images(campaign.pk) == {(ids[f"MUG-{n}"], "1:1") for n in (0, 1, 3)}


def test_subjects_are_found_by_state_output_and_words(
    made: Callable[..., Asset], campaign: Campaign, manager: User
) -> None:
    made("MUG-0", "1:1", AssetState.APPROVED)
    made("MUG-0", "9:16", AssetState.APPROVED)
    made("MUG-1", "1:1", AssetState.APPROVED)
    specs = list(campaign.output_specs.order_by("id"))

    def keys(**filters: Any) -> list[str]:
        return [subject.key for subject in coverage.list_subjects(manager, campaign, specs, CoverageFilters(**filters))]

    assert keys(state="incomplete") == ["MUG-1", "MUG-2", "MUG-3"]
    assert keys(state="approved") == ["MUG-0", "MUG-1"]
    assert keys(state="approved", spec_id=specs[2].pk) == ["MUG-0"]
    assert keys(state="lacking", spec_id=specs[0].pk) == ["MUG-2", "MUG-3"]
    assert keys(words="mug 3") == ["MUG-3"]
    assert keys(kind="article") == []
    assert keys(state="no such state") == []


def test_another_brands_people_see_no_row(campaign: Campaign, other_brand: Brand, person: Callable[..., User]) -> None:
    stranger = person("lead", brand=other_brand)
    specs = list(campaign.output_specs.all())
    assert not coverage.list_subjects(stranger, campaign, specs, CoverageFilters())


# -- readiness and rollout -----------------------------------------------------------------------------------------


def test_readiness_names_the_attributes_that_the_prompt_asks_for_and_the_photo(campaign: Campaign) -> None:
    version = factories.PromptVersionFactory(
        template__brand=campaign.brand, text="{name} in {colour}, glazed {glaze}, on {backdrop}", needs={}
    )
    endpoint = factories.EndpointFactory(engine="packshot")
    mug, other = campaign.subjects.order_by("key")[:2]
    Subject.objects.filter(pk=mug.pk).update(attributes={"colour": "sage", "glaze": "matt"})
    factories.CutoutFactory(photo=factories.ReferencePhotoFactory(subject=mug), box=[0, 0, 1000, 1000])
    readiness = subjects.load_readiness(
        campaign.subjects.order_by("key"), campaign=campaign, version=version, endpoint=endpoint, specs=[]
    )
    assert readiness[mug.pk].is_ready
    assert readiness[other.pk].attributes == ("glaze",)
    assert readiness[other.pk].photos.state == "missing"
    assert len(readiness[other.pk].sentences) == 2
    without_photos = subjects.load_readiness(
        [other], campaign=campaign, version=version, endpoint=factories.EndpointFactory(engine="ready"), specs=[]
    )
    assert without_photos[other.pk].photos.is_ready


def test_the_ladder_counts_only_images_of_the_version(made: Callable[..., Asset], run: Run, manager: User) -> None:
    Campaign.objects.filter(pk=run.campaign_id).update(pilot_decisions=2, pilot_approval_percent=50)
    campaign = Campaign.objects.get(pk=run.campaign_id)
    assert gates.latest_version(manager, campaign) == run.prompt_version
    other = factories.RunFactory(campaign=campaign)
    made("MUG-0", "1:1", AssetState.APPROVED)
    made("MUG-1", "1:1", AssetState.APPROVED, run=other)
    seen = gates.load_rollout(campaign, run.prompt_version)
    assert (seen.steps["pilot"].approved, seen.pilot.decided, seen.now.stage) == (1, 1, "pilot")
    made("MUG-2", "1:1", AssetState.REJECTED)
    seen = gates.load_rollout(campaign, run.prompt_version)
    assert seen.pilot.is_open
    assert (seen.now.stage, seen.steps["pilot"].state) == ("full", "done")


# -- the page ------------------------------------------------------------------------------------------------------


def test_the_page_says_how_far_the_campaign_is_and_what_to_do(
    made: Callable[..., Asset], campaign: Campaign, manager: User, page_client: Callable[[User], Client]
) -> None:
    made("MUG-0", "1:1", AssetState.APPROVED)
    made("MUG-0", "9:16", AssetState.APPROVED)
    page = page_client(manager).get(f"/brands/{campaign.brand.slug}/campaigns/{campaign.slug}/").content.decode()
    assert "<b>1 of 4</b> products complete; 6 images of 3 products are missing" in page
    assert "Make what is missing" in page
    assert "2 of 10 decisions, 100 % approved; needs 80 %" in page
    assert f"?run={Run.objects.get().pk}&amp;state=approved" in page
    few = page_client(manager).get(f"/brands/{campaign.brand.slug}/campaigns/{campaign.slug}/?q=mug+2")
    assert [row.subject.key for row in few.context["rows"]] == ["MUG-2"]


def test_ten_times_as_many_subjects_and_runs_cost_no_more_queries(
    campaign: Campaign, manager: User, page_client: Callable[[User], Client]
) -> None:
    factories.RunFactory(campaign=campaign)
    address = f"/brands/{campaign.brand.slug}/campaigns/{campaign.slug}/"
    client = page_client(manager)
    client.get(address)

    def queries() -> int:
        with CaptureQueriesContext(connection) as captured:
            assert client.get(address).status_code == 200
        return len(captured)

    few = queries()
    campaign.subjects.add(*(factories.SubjectFactory(brand=campaign.brand) for _ in range(36)))
    for _ in range(9):
        factories.AssetFactory(cell__run=factories.RunFactory(campaign=campaign))
    assert queries() == few
