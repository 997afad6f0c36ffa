"""Test the visible label of output specs: the page, the API and the mistakes that they name."""

from __future__ import annotations

from typing import Any

import pytest

from campaigns.models import Campaign
from campaigns.services import campaigns
from campaigns.services.campaigns import SpecInput
from campaigns.visible_labels import Label
from core.errors import Conflict, Invalid
from tests.support import factories

pytestmark = pytest.mark.django_db

MISTAKES: list[tuple[dict[str, Any], str, str]] = [
    ({"label_text": "Généré par IA"}, "label_text", "font has no é"),
    ({"label_text": "A" * 41}, "label_text", "at most 40"),
    ({"label_text": " AI"}, "label_text", "without space around"),
    ({"label_text": "W" * 40, "label_percent": 15}, "label_text", "does not fit into 600 × 600 px"),
    ({"label_text": "AI", "label_percent": 2}, "label_percent", "give at least 3 percent"),
    ({"label_text": "AI", "label_percent": 16}, "label_percent", "2 to 15"),
    ({"label_text": "AI", "label_corner": "middle"}, "label_corner", "Known are bottom-right"),
]


@pytest.fixture
def campaign(brand: Any, manager: Any) -> Campaign:
    made: Campaign = factories.CampaignFactory(brand=brand, owner=manager)
    return made


def address(campaign: Campaign) -> str:
    return f"/brands/{campaign.brand.slug}/campaigns/{campaign.slug}/specs/"


def typed(**changes: Any) -> dict[str, Any]:
    fields = {"slug": "shop", "width": 600, "height": 600, "image_format": "jpeg", "name_pattern": "{sku}"}
    return {**fields, "label_corner": "bottom-right", "label_percent": 4, **changes}


def test_a_spec_with_a_label_is_made_on_its_page_and_shown(campaign: Campaign, manager: Any, page_client: Any) -> None:
    client = page_client(manager)
    form = typed(label_text="AI-generated", label_corner="top-left", label_percent=5)
    assert client.post(address(campaign), form).status_code == 302
    assert campaign.output_specs.get().label == Label("AI-generated", "top-left", 5)
    page = client.get(address(campaign)).content.decode()
    assert "Label “AI-generated”, top left, 5 %" in page
    assert "Article 50 of the EU AI Act" in page


def test_a_spec_has_no_label_unless_it_is_asked_for(campaign: Campaign, manager: Any, page_client: Any) -> None:
    without = {name: value for name, value in typed().items() if not name.startswith("label")}
    assert page_client(manager).post(address(campaign), without).status_code == 302
    spec = campaign.output_specs.get()
    assert (spec.label, spec.label_corner, spec.label_percent) == (None, "bottom-right", 4)


@pytest.mark.parametrize(("fields", "name", "sentence"), MISTAKES)
def test_mistakes_are_named_with_their_field(
    fields: dict[str, Any], name: str, sentence: str, campaign: Campaign, manager: Any
) -> None:
    with pytest.raises(Invalid) as refusal:
        campaigns.set_output_specs(campaign_id=campaign.pk, specs=[SpecInput("shop", 600, 600, **fields)], by=manager)
    [problem] = refusal.value.problems
    assert problem.pointer == f"specs/0/{name}" and sentence in problem.message


def test_the_page_says_a_mistake_at_its_field_and_keeps_what_was_typed(
    campaign: Campaign, manager: Any, page_client: Any
) -> None:
    answer = page_client(manager).post(address(campaign), typed(label_text="Généré par IA"))
    assert answer.status_code == 200
    assert "font has no é" in " ".join(answer.context["form"].errors["label_text"])
    assert "Généré par IA" in answer.content.decode()


@pytest.mark.parametrize("size", [{"width": -5}, {"height": 0}, {"width": "wide"}, {"width": 10**8, "height": 10**8}])
def test_a_mistake_in_the_size_is_not_said_of_the_label(
    size: dict[str, Any], campaign: Campaign, manager: Any, page_client: Any
) -> None:
    answer = page_client(manager).post(address(campaign), typed(label_text="AI-generated", **size))
    assert set(answer.context["form"].errors) == set(size)


def test_the_api_takes_and_gives_labels(brand: Any, manager: Any, api_client: Any) -> None:
    spec = typed(label_text="Made with AI", label_percent=6)
    body = {"brand": brand.slug, "slug": "autumn", "name": "Autumn", "output_specs": [spec]}
    answer = api_client(manager).post("/api/v1/campaigns/", body, format="json")
    assert answer.status_code == 201
    [given] = answer.json()["output_specs"]
    assert (given["label_text"], given["label_corner"], given["label_percent"]) == ("Made with AI", "bottom-right", 6)
    refused = api_client(manager).post(
        "/api/v1/campaigns/",
        {**body, "slug": "winter", "output_specs": [typed(label_text="人工智能")]},
        format="json",
    )
    assert refused.status_code in {400, 422}
    assert any("font has no" in str(problem) for problem in refused.json()["errors"])


def test_a_label_cannot_change_once_files_have_it(campaign: Campaign, manager: Any) -> None:
    spec = factories.OutputSpecFactory(campaign=campaign, slug="shop", label_text="AI-generated")
    asset = factories.AssetFactory(campaign=campaign)
    factories.RenditionFactory(version__asset=asset, output_spec=spec)
    changed = SpecInput(**{**SpecInput.of(spec).__dict__, "label_text": ""})
    with pytest.raises(Conflict, match="Files were already made"):
        campaigns.set_output_specs(campaign_id=campaign.pk, specs=[changed], by=manager)
