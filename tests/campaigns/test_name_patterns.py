"""Tests that the form and the API refuse an invalid file name pattern at once, not when a run is planned."""

from __future__ import annotations

from typing import Any

import pytest

from campaigns.models import Campaign, OutputSpec
from campaigns.services import campaigns
from campaigns.services.campaigns import SpecInput
from tests.support import factories

pytestmark = pytest.mark.django_db

BAD = {
    "{sku}_{price}": "no {price}",
    "{sku": "not closed or not opened",
    "{brand}_{date}": "same name",
    "{sku:>8}": "take no format",
    "/{sku}": "stay inside its folder",
    "{sku}/../x": "stay inside its folder",
    "{}_{sku}": "no {{}}",
}


@pytest.fixture
def campaign(brand: Any, manager: Any) -> Campaign:
    made: Campaign = factories.CampaignFactory(brand=brand, owner=manager)
    return made


def spec(pattern: str, slug: str = "shop") -> dict[str, Any]:
    return {"slug": slug, "width": 600, "height": 600, "name_pattern": pattern}


@pytest.mark.parametrize("pattern", BAD)
def test_the_form_refuses_a_bad_name_pattern_at_its_field(
    pattern: str, campaign: Campaign, manager: Any, page_client: Any
) -> None:
    form = {**spec(pattern), "image_format": "jpeg", "asset_type": "packshot"}
    answer = page_client(manager).post(f"/brands/{campaign.brand.slug}/campaigns/{campaign.slug}/specs/", form)
    assert answer.status_code == 200
    assert BAD[pattern] in " ".join(answer.context["form"].errors["name_pattern"])
    assert not campaign.output_specs.exists()


@pytest.mark.parametrize("pattern", BAD)
def test_the_api_refuses_a_bad_name_pattern_with_its_place(
    pattern: str, brand: Any, manager: Any, api_client: Any
) -> None:
    body = {
        "brand": brand.slug,
        "slug": "autumn",
        "name": "Autumn",
        "output_specs": [spec("{sku}", "a"), spec(pattern)],
    }
    answer = api_client(manager).post("/api/v1/campaigns/", body, format="json")
    assert answer.status_code == 422
    [error] = [problem for problem in answer.json()["errors"] if problem["pointer"] == "/specs/1/name_pattern"][:1]
    assert BAD[pattern] in error["detail"] and error["value"] == pattern
    assert not Campaign.objects.filter(slug="autumn").exists()


def test_a_bad_pattern_from_before_can_be_removed_one_by_one(campaign: Campaign, manager: Any) -> None:
    for slug in ("old", "older"):
        OutputSpec.objects.create(campaign=campaign, **spec("{price}", slug))
    old = campaign.output_specs.get(slug="old")
    kept = SpecInput.of(old)
    campaigns.set_output_specs(campaign_id=campaign.pk, specs=[kept], by=manager)
    campaigns.set_output_specs(campaign_id=campaign.pk, specs=[SpecInput("new", 600, 600)], by=manager)
    assert [output_spec.slug for output_spec in campaign.output_specs.all()] == ["new"]


def test_the_spec_form_shows_all_mistakes_at_once(campaign: Campaign, manager: Any, page_client: Any) -> None:
    form = {"slug": "shop", "width": "9", "height": "600", "image_format": "jpeg", "background": "red"}
    answer = page_client(manager).post(
        f"/brands/{campaign.brand.slug}/campaigns/{campaign.slug}/specs/", form | {"name_pattern": "{nothing}"}
    )
    assert set(answer.context["form"].errors) == {"width", "background", "name_pattern"}
