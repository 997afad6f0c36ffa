"""Test where a scene is chosen: by image in the prompt editor and beside a run's axes, by name in a revision."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.test import Client

from campaigns.models import Campaign, PromptVersion
from core.models import Brand, User
from generation.models import Asset, Endpoint, JobSpec
from generation.services.planning import plans
from generation.services.planning.plan_requests import PlanArguments
from tests.generation.test_scenes import create_next_version, image, with_mugs
from tests.support import factories

pytestmark = pytest.mark.django_db


@pytest.fixture
def endpoint() -> Endpoint:
    return factories.EndpointFactory(engine="packshot", name="Packshot studio")


@pytest.fixture
def campaign(brand: Brand, endpoint: Endpoint) -> Campaign:
    return with_mugs(brand, 2)


@pytest.fixture
def version(brand: Brand, designer: User) -> PromptVersion:
    return factories.PromptVersionFactory(
        template__brand=brand, text="", axes={}, parameters={"light": "left"}, needs={"engine": "packshot"},
        created_by=designer,
    )  # fmt: skip


@pytest.fixture
def editor(page_client: Callable[[User], Client], designer: User, version: PromptVersion, campaign: Campaign):
    """Return `editor`: `editor(verb="preview/", scene="…")` posts the form; without fields it gets the page."""
    client = page_client(designer)

    def ask(verb: str = "", base: PromptVersion = version, **fields: str) -> Any:
        address = f"/brands/{base.template.brand.slug}/prompts/{base.template.slug}/{verb}"
        if not fields:
            return client.get(address)
        plain = {
            "base": base.number, "text": "", "engine": "packshot", "candidates": 1, "seed_strategy": "per_subject",
            "seed": 0, "on_fail": "flag", "control_light": "left",
        }  # fmt: skip
        return client.post(address, {**plain, **fields})

    return ask


def newest(version: PromptVersion) -> PromptVersion:
    return PromptVersion.objects.filter(template=version.template).order_by("-number")[0]


def test_the_editor_offers_the_brands_scenes_as_images(brand: Brand, other_brand: Brand, editor: Any) -> None:
    marble = image(brand)
    image(other_brand, "their-wall")
    image(brand, "beach", state="in_review")
    page = editor().content.decode()
    assert f"/files/master/{marble.master_id}/" in page and 'name="control_scene" value="marble-table"' in page
    assert "An empty marble table" in page and "their" not in page.split("scene-label")[1][:3000]
    assert "Without an approved image yet" in page and "An empty beach" in page


def test_without_scenes_the_editor_says_how_to_get_one(
    brand: Brand, editor: Any, page_client: Callable[[User], Client], lead: User, version: PromptVersion
) -> None:
    page = editor().content.decode()
    assert "No scene yet." in page and "A campaign manager adds a concept" in page
    address = f"/brands/{brand.slug}/prompts/{version.template.slug}/"
    assert "products/new/?kind=concept" in page_client(lead).get(address).content.decode()
    image(brand, state="in_review")
    page = editor().content.decode()
    assert "Make an image of one and approve it." in page and "An empty marble table" in page


def test_many_concepts_without_an_image_are_shown_as_three_names_and_a_number(brand: Brand, editor: Any) -> None:
    for name in ("attic", "beach", "cellar", "dune", "eaves"):
        image(brand, name, state="in_review")
    page = editor().content.decode()
    assert "An empty cellar" in page and "An empty dune" not in page
    assert "and " in page and ">2 more</a>" in page and "products/?kind=concept" in page


def test_a_chosen_scene_is_saved_and_shown_again(brand: Brand, editor: Any, version: PromptVersion) -> None:
    image(brand)
    assert editor(control_scene="marble-table").status_code == 302
    made = newest(version)
    assert made.parameters == {"light": "left", "scene": "marble-table"}
    assert 'value="marble-table" checked' in editor(base=made).content.decode()
    assert editor(base=made, control_scene="").status_code == 302
    assert newest(version).parameters == {"light": "left"}


def test_a_placeholder_names_the_scene_of_each_product(brand: Brand, editor: Any, version: PromptVersion) -> None:
    image(brand)
    assert editor(control_scene="marble-table", scene_from="{room}").status_code == 302
    made = newest(version)
    assert made.parameters["scene"] == "{room}"
    page = editor(base=made).content.decode()
    assert 'name="scene_from" value="{room}"' in page and 'value="marble-table" checked' not in page
    wrong = editor(scene_from="{room")
    assert wrong.status_code == 422 and newest(version).pk == made.pk


def test_the_preview_says_what_is_wrong_with_the_scenes_that_are_named(brand: Brand, editor: Any) -> None:
    waiting = image(brand, state="in_review")
    page = editor("preview/", control_scene="marble-table").content.decode()
    assert "no approved image yet" in page and f"/products/{waiting.asset.subject_id}/" in page
    assert "no concept of this key" in editor("preview/", axes="scene: attic").content.decode()
    image(brand)
    page = editor("preview/", control_scene="marble-table").content.decode()
    assert "no approved image" not in page and "not seen before a scene" not in page
    page = editor("preview/", control_scene="marble-table", axes="backdrop: white, clay").content.decode()
    assert "backdrop is not seen before a scene" in page


def test_a_new_run_offers_scenes_for_its_axes_and_leads_to_what_is_missing(
    brand: Brand, campaign: Campaign, version: PromptVersion, endpoint: Endpoint, manager: User,
    page_client: Callable[[User], Client],
) -> None:  # fmt: skip
    client = page_client(manager)
    address = f"/brands/{brand.slug}/campaigns/{campaign.slug}/runs/"
    assert "approve an image of a concept" in client.get(f"{address}new/?prompt={version.pk}").content.decode()
    shown, waiting = image(brand), image(brand, "beach", state="in_review")
    page = client.get(f"{address}new/?prompt={version.pk}").content.decode()
    assert f"/files/master/{shown.master_id}/" in page and 'data-axis="scene" data-value="marble-table"' in page
    form = {
        "prompt": version.pk, "endpoint": endpoint.pk, "stage": "pilot", "shape": "matrix", "pick": "all",
        "sample": "0", "axes_shown": "1", "axis": "scene", "values": "marble-table, beach, attic",
    }  # fmt: skip
    page = client.post(f"{address}preview/", form).content.decode()
    assert "4 images are left out" in page and "2 products: MUG-1, MUG-2" in page
    assert f'href="/brands/{brand.slug}/products/{waiting.asset.subject_id}/">Open the concept' in page
    assert "?kind=concept" in page and "scene: marble-table" in page
    planned = client.post(f"{address}new/", form)
    assert planned.status_code == 302
    assert "has no approved image yet" in client.get(planned["Location"]).content.decode()


def test_the_pages_of_an_image_name_its_scene_and_offer_others(
    brand: Brand, campaign: Campaign, version: PromptVersion, endpoint: Endpoint, manager: User,
    page_client: Callable[[User], Client],
) -> None:  # fmt: skip
    shown = image(brand)
    image(brand, "oak-table")
    before = create_next_version(version, parameters={"scene": "marble-table"})
    run = plans.plan(
        PlanArguments(campaign=campaign, prompt_version=before, endpoint=endpoint, stage="pilot", by=manager)
    )
    spec = JobSpec.objects.filter(job__run=run).order_by("job").first()
    made = factories.AssetVersionFactory(asset=Asset.objects.get(cell_id=spec.cell_id), job_id=spec.job_id)
    Asset.objects.filter(pk=made.asset_id).update(current_version=made, state="in_review")
    factories.ReviewTaskFactory(asset=made.asset, escalated_to=manager)
    page = page_client(manager).get(f"/brands/{brand.slug}/assets/{made.asset_id}/").content.decode()
    assert f"/assets/{shown.asset_id}/?version={shown.pk}" in page and "Before the scene" in page
    assert "&quot;concept&quot;: &quot;marble-table&quot;" in page
    assert '<option value="marble-table" selected>' in page and '<option value="oak-table">' in page
    Asset.objects.filter(pk=shown.asset_id).update(state="revoked")
    page = page_client(manager).get(f"/brands/{brand.slug}/assets/{made.asset_id}/").content.decode()
    assert '<option value="marble-table" selected>marble-table, as it is' in page
