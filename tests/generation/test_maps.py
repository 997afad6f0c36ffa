"""Test control maps: how a prompt names one, which photo planning takes, the error without one, and the image."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from campaigns.models import Campaign, PromptVersion, ReferencePhoto
from campaigns.services import photos
from core import stored_files
from core.errors import Invalid
from core.models import Brand, User
from generation.engines import base
from generation.engines.base import ImageRef, Spec, Task
from generation.models import Asset, AssetVersion, Endpoint, JobSpec
from generation.selectors import concepts, subjects
from generation.selectors.concepts import MAPS
from generation.services.images import rounds
from generation.services.planning import plans
from generation.services.planning.plan_requests import PlanArguments
from review.selectors.lineage import lineage
from tests.generation.test_scenes import create_next_version, frozen_specs, scene_revisions, update_version, with_mugs
from tests.support import factories, tiny_models
from tests.support.tiny_models import SIZE, RecordingContext, encode_png, largest_difference, pixels

pytest.importorskip("torch")
pytest.importorskip("diffusers")
pytestmark = pytest.mark.django_db

DEPTH = {"control": "depth", "control_map": "sitting", "steps": 3}


def add_map(brand: Brand, key: str = "sitting", **fields: Any) -> ReferencePhoto:
    """Add a map to the concept `key`. Create the concept if it does not exist yet."""
    subject = brand.subjects.filter(kind="concept", key=key).first() or factories.SubjectFactory(
        brand=brand, kind="concept", key=key, name=f"A {key} person", attributes={}
    )
    return factories.ReferencePhotoFactory(subject=subject, **fields)


def control_hashes(run: Any) -> list[str | None]:
    return [spec["images"].get("control", {}).get("sha256") for spec in frozen_specs(run)]


@pytest.fixture
def model(tiny_model: Callable[[str], Path]) -> Path:
    return tiny_model("sd")


@pytest.fixture
def endpoint(model: Path, tmp_path: Path) -> Endpoint:
    path = str(tiny_models.controlnet(model, tmp_path / "net"))
    return create_endpoint(model, canny=path, depth=path)


def create_endpoint(model: Path, **controlnets: str) -> Endpoint:
    config = {"model": str(model), "device": "cpu", "dtype": "float32", "controlnets": controlnets}
    return factories.EndpointFactory(engine="diffusers", config=config)


@pytest.fixture
def campaign(brand: Brand) -> Campaign:
    """Two mugs whose attribute `room` names no map, and one small output."""
    made = with_mugs(brand, 2)
    made.output_specs.update(width=SIZE, height=SIZE)
    return made


@pytest.fixture
def version(brand: Brand, manager: User) -> PromptVersion:
    return factories.PromptVersionFactory(
        template__brand=brand, text="{name}", axes={}, parameters=DEPTH, needs={}, created_by=manager
    )


# -- what is frozen ------------------------------------------------------------------------------------------------


def test_the_first_ready_photo_of_the_concept_is_the_map_of_every_job(
    brand: Brand, plan_arguments: Callable[..., Any]
) -> None:
    add_map(brand, position=3)
    add_map(brand, position=1, status="pending")
    first = add_map(brand, position=2)
    specs = frozen_specs(plans.plan(plan_arguments()))
    assert len(specs) == 2 and all(spec["parameters"]["control_map"] == "sitting" for spec in specs)
    assert all(spec["images"] == {"control": {"sha256": first.sha256, "key": first.storage_key}} for spec in specs)


def test_another_photo_counts_from_the_next_plan_on_and_changes_the_fingerprint(
    brand: Brand, plan_arguments: Callable[..., Any]
) -> None:
    old = add_map(brand, position=2)
    before = plans.plan(plan_arguments())
    new = add_map(brand, position=1)
    after = plans.plan(plan_arguments())
    assert (set(control_hashes(before)), set(control_hashes(after))) == ({old.sha256}, {new.sha256})
    prints = [
        set(JobSpec.objects.filter(job__run=run).values_list("fingerprint", flat=True)) for run in (before, after)
    ]
    assert not prints[0] & prints[1]


def test_an_axis_a_list_and_an_attribute_name_maps_and_none_is_none(
    brand: Brand, version: PromptVersion, plan_arguments: Callable[..., Any]
) -> None:
    sitting, status = add_map(brand), add_map(brand, "status")
    update_version(version, parameters={"control": "depth"})
    run = plans.plan(plan_arguments(axes={"control_map": ["sitting", "status"]}))
    assert control_hashes(run) == [sitting.sha256, status.sha256] * 2
    bare = create_next_version(version, parameters={})
    rows = [
        {"subject": "MUG-1", "control": "depth", "control_map": "status"},
        {"subject": "MUG-2", "control_map": "none"},
    ]
    listed = plans.plan(plan_arguments(prompt_version=bare, shape="list", rows=rows))
    assert (
        control_hashes(listed) == [status.sha256, None] and "control_map" not in frozen_specs(listed)[1]["parameters"]
    )
    brand.subjects.filter(key="MUG-1").update(attributes={"pose": "status"})
    brand.subjects.filter(key="MUG-2").update(attributes={"pose": "sitting"})
    by_attribute = create_next_version(bare, parameters={**DEPTH, "control_map": "{pose}"})
    assert control_hashes(plans.plan(plan_arguments(prompt_version=by_attribute))) == [status.sha256, sitting.sha256]


def test_a_named_map_needs_a_control_that_says_what_it_shows(
    version: PromptVersion, brand: Brand, plan_arguments: Callable[..., Any]
) -> None:
    add_map(brand)
    assert plans.preview(plan_arguments(axes={"control_strength": [0.5, 1]})).can_be_planned
    update_version(version, parameters={"control_map": "sitting"})
    assert {problem.message for problem in plans.preview(plan_arguments()).problems} == {
        "control_map names a map, and control does not say what it shows, such as depth or pose."
    }
    assert plans.preview(plan_arguments(axes={"control": ["none", "depth"]})).can_be_planned
    update_version(version, parameters={"control": "depth", "control_map": "none"})
    assert "depth needs a finished map: name a concept" in plans.preview(plan_arguments()).problems[0].message


# -- what is missing -----------------------------------------------------------------------------------------------


def test_without_its_photo_nothing_is_planned_and_the_message_names_the_concept(
    brand: Brand, plan_arguments: Callable[..., Any]
) -> None:
    waiting = add_map(brand, status="pending")
    seen = plans.preview(plan_arguments())
    assert not seen.can_be_planned
    assert {(problem.kind, problem.concept, problem.message) for problem in seen.problems} == {(
        "missing_map", waiting.subject_id,
        "The map “sitting” (A sitting person) has no photo yet: upload the finished map as a photo of this concept.",
    )}  # fmt: skip
    with pytest.raises(Invalid, match="has no photo yet"):
        plans.plan(plan_arguments())
    assert not JobSpec.objects.exists()


def test_an_unknown_concept_a_retired_one_and_another_brands_are_no_maps(
    brand: Brand, other_brand: Brand, plan_arguments: Callable[..., Any]
) -> None:
    add_map(other_brand)
    factories.ReferencePhotoFactory(subject=factories.SubjectFactory(brand=brand, key="sitting"))  # a product
    [message] = {problem.message for problem in plans.preview(plan_arguments()).problems}
    assert "There is no map “sitting”" in message and "upload the finished map as its photo" in message
    add_map(brand, "status")
    assert "It has status." in plans.preview(plan_arguments()).problems[0].message
    retired = add_map(brand)
    brand.subjects.filter(pk=retired.subject_id).update(is_active=False)
    assert "is retired: bring it back" in plans.preview(plan_arguments()).problems[0].message


def test_a_products_own_photo_is_no_map_and_a_concepts_is(
    brand: Brand, campaign: Campaign, version: PromptVersion, endpoint: Endpoint, plan_arguments: Callable[..., Any]
) -> None:
    update_version(version, parameters={"control": "depth"}, needs={"images": ["control"]})
    own = add_map(brand)
    campaign.subjects.add(own.subject)
    seen = plans.preview(plan_arguments())
    assert [(problem.subject, problem.kind) for problem in seen.problems] == [
        ("MUG-1", "missing_map"),
        ("MUG-2", "missing_map"),
    ]
    readiness_by_id = subjects.load_readiness(
        campaign.subjects.order_by("key"), campaign=campaign, version=version, endpoint=endpoint, specs=[]
    )
    assert [readiness.is_ready for readiness in readiness_by_id.values()] == [False, False, True]
    assert control_hashes(plans.plan(plan_arguments(subjects=[own.subject_id]))) == [own.sha256]
    status = add_map(brand, "status")
    run = plans.plan(plan_arguments(axes={"control_map": ["status"]}))
    assert control_hashes(run) == [status.sha256] * 3


def test_readiness_wants_the_map_and_no_photo_of_the_product(
    brand: Brand, campaign: Campaign, version: PromptVersion, endpoint: Endpoint
) -> None:
    campaign.subjects.add(factories.SubjectFactory(brand=brand, key="CUP-1"))  # without a photo
    update_version(version, needs={"images": ["control"]})

    def load_readiness() -> list[subjects.Readiness]:
        arguments = {"campaign": campaign, "version": version, "endpoint": endpoint, "specs": []}
        return list(subjects.load_readiness(campaign.subjects.all(), **arguments).values())

    assert all("no concept of this key" in readiness.map and not readiness.is_ready for readiness in load_readiness())
    add_map(brand)
    assert all(readiness.is_ready for readiness in load_readiness())


def test_an_endpoint_without_depth_or_pose_says_that_it_takes_no_map(
    brand: Brand, version: PromptVersion, model: Path, endpoint: Endpoint, plan_arguments: Callable[..., Any]
) -> None:
    add_map(brand)
    edges = create_endpoint(model, canny=endpoint.config["controlnets"]["canny"])
    assert {problem.message for problem in plans.preview(plan_arguments(endpoint=edges)).problems} > {
        "There is no ControlNet 'depth' at this endpoint; known are canny."
    }
    update_version(version, parameters={"control": "canny", "control_map": "sitting"})
    assert "Unknown parameter 'control_map'" in plans.preview(plan_arguments(endpoint=edges)).problems[0].message
    update_version(version, parameters={"control": "canny"})
    with pytest.raises(Invalid) as refusal:
        plans.preview(plan_arguments(endpoint=edges, axes={"control_map": ["sitting", "none"]}))
    assert "diffusers ignores “control_map”" in refusal.value.problems[0].message
    update_version(version, needs={"images": ["control"]})
    with pytest.raises(Invalid) as refusal:
        plans.preview(plan_arguments(endpoint=edges))
    assert "takes no image “control”" in refusal.value.problems[0].message


def test_the_number_of_queries_does_not_grow_with_products_or_maps(
    brand: Brand, manager: User, version: PromptVersion, endpoint: Endpoint
) -> None:
    update_version(version, parameters={"control": "depth"})
    counts = []
    for count, named in ((1, 1), (2, 1), (12, 6)):  # the first preview fills the caches of the rows
        keys = [f"pose-{count}-{n}" for n in range(named)]
        for key in keys:
            add_map(brand, key)
        campaign = factories.CampaignFactory(brand=brand)
        campaign.subjects.add(*(factories.SubjectFactory(brand=brand, key=f"CUP-{count}-{n}") for n in range(count)))
        factories.OutputSpecFactory(campaign=campaign, width=SIZE, height=SIZE)
        with CaptureQueriesContext(connection) as captured:
            seen = plans.preview(
                PlanArguments(
                    campaign=campaign,
                    prompt_version=version,
                    endpoint=endpoint,
                    stage="pilot",
                    by=manager,
                    axes={"control_map": keys},
                )
            )
        assert seen.can_be_planned and seen.cells == count * named
        counts.append(len(captured))
    assert counts[1] == counts[2]


# -- what is made --------------------------------------------------------------------------------------------------


def test_a_planned_job_is_drawn_after_the_uploaded_map(
    brand: Brand, manager: User, version: PromptVersion, endpoint: Endpoint, plan_arguments: Callable[..., Any]
) -> None:
    for key, left in (("sitting", 4), ("status", 36)):
        grey = np.full((SIZE, SIZE, 3), 30, np.uint8)
        grey[12:60, left : left + 24] = 230
        concept = factories.SubjectFactory(brand=brand, kind="concept", key=key)
        photos.attach(subject_id=concept.pk, data=encode_png(grey), file_name="depth.png", by=manager)
    arguments = plan_arguments(subjects=[brand.subjects.get(key="MUG-1").pk])
    update_version(version, parameters={"control": "depth"})
    followed = frozen_specs(plans.plan(replace(arguments, axes={"control_map": ["sitting", "status"]})))
    plain = frozen_specs(plans.plan(replace(arguments, prompt_version=create_next_version(version, parameters={}))))
    specs = [Spec.from_json({**fields, "seed": 7, "prompt": "a mug"}) for fields in (*followed, *plain)]
    context = RecordingContext({ref.key: stored_files.read(ref.key) for spec in specs for ref in spec.images.values()})
    engine = base.build("diffusers", endpoint.config)
    made = [pixels(engine, [Task(number, spec)], context)[number] for number, spec in enumerate(specs)]
    assert (
        largest_difference(made[0], made[2]) > 5
        and largest_difference(made[1], made[2]) > 5
        and largest_difference(made[0], made[1]) > 5
    )
    assert len({engine.batch_key(spec) for spec in specs[:2]}) == 1


def test_the_lineage_names_the_concept_and_its_very_photo(brand: Brand, plan_arguments: Callable[..., Any]) -> None:
    shown = add_map(brand)
    run = plans.plan(plan_arguments())
    add_map(brand, position=0)
    spec = JobSpec.objects.filter(job__run=run).order_by("job").first()
    version = factories.AssetVersionFactory(asset=Asset.objects.get(cell_id=spec.cell_id), job_id=spec.job_id)
    expected = {"concept": "sitting", "sha256": shown.sha256, "name": "A sitting person"}
    assert lineage(version)["map"] == {**expected, "subject": shown.subject_id, "photo": shown.pk}
    shown.delete()
    assert lineage(version)["map"] == {"concept": "sitting", "sha256": expected["sha256"]}


def test_a_revision_may_follow_another_map(brand: Brand, plan_arguments: Callable[..., Any]) -> None:
    add_map(brand)
    status = add_map(brand, "status")
    run = plans.plan(plan_arguments())
    change = scene_revisions(brand, run, control_map="status")
    assert change.spec["images"] == {"control": {"sha256": status.sha256, "key": status.storage_key}}
    version = AssetVersion.objects.get(job__run=run)
    with pytest.raises(Invalid) as refusal:
        rounds.apply_controls(version=version, controls={"control_map": "none"})
    assert "depth needs a finished map" in refusal.value.problems[0].message
    free = rounds.apply_controls(version=version, controls={"control_map": "none", "control": "none"})
    assert not free.spec["images"] and "control_map" not in free.spec["parameters"]
    assert free.fingerprint != change.fingerprint


# -- where it is chosen --------------------------------------------------------------------------------------------


@pytest.fixture
def editor(page_client: Callable[[User], Client], designer: User, version: PromptVersion, endpoint: Endpoint):
    """Return `editor(verb="preview/", control_control_map="…")`: it posts the editor's form, or gets the page."""
    client = page_client(designer)
    update_version(version, parameters={"control": "depth"}, needs={"engine": "diffusers"})

    def open_editor(verb: str = "", base: PromptVersion = version, **fields: str) -> Any:
        address = f"/brands/{base.template.brand.slug}/prompts/{base.template.slug}/{verb}"
        if not fields:
            return client.get(address)
        plain = {
            "base": base.number, "text": "{name}", "engine": "diffusers", "candidates": 1, "seed": 0,
            "seed_strategy": "per_subject", "on_fail": "flag", "control_control": "depth",
        }  # fmt: skip
        return client.post(address, {**plain, **fields})

    return open_editor


def test_the_editor_offers_the_brands_maps_as_images(brand: Brand, other_brand: Brand, editor: Any) -> None:
    page = editor().content.decode()
    assert "No map yet." in page and "A campaign manager adds a concept, with the finished map as its photo." in page
    shown, waiting = add_map(brand), add_map(brand, "running", status="pending")
    add_map(other_brand, "theirs")
    page = editor().content.decode()
    assert f"/files/photo/{shown.pk}/?v=" in page and 'name="control_control_map" value="sitting"' in page
    assert "theirs" not in page and f'/products/{waiting.subject_id}/">A running person' in page
    assert 'value="control"' in page and "as the map, of concepts and articles" in page


def test_a_map_that_is_chosen_or_written_is_saved_and_shown_again(
    brand: Brand, editor: Any, version: PromptVersion
) -> None:
    add_map(brand)
    assert editor(control_control_map="sitting").status_code == 302
    made = PromptVersion.objects.filter(template=version.template).order_by("-number")[0]
    assert made.parameters == {"control": "depth", "control_map": "sitting"}
    assert 'value="sitting" checked' in editor(base=made).content.decode()
    assert editor(base=made, control_control_map="sitting", control_map_from="{pose}").status_code == 302
    made = PromptVersion.objects.filter(template=version.template).order_by("-number")[0]
    assert made.parameters == {"control": "depth", "control_map": "{pose}"}
    page = editor(base=made).content.decode()
    assert 'name="control_map_from" value="{pose}"' in page and 'value="sitting" checked' not in page
    add_map(brand, "running", status="pending")
    assert "has no photo yet" in editor("preview/", control_control_map="running").content.decode()


def test_a_new_run_offers_maps_for_its_axes_where_the_endpoint_follows_them(
    brand: Brand, campaign: Campaign, version: PromptVersion, endpoint: Endpoint, model: Path, manager: User,
    page_client: Callable[[User], Client],
) -> None:  # fmt: skip
    shown, waiting = add_map(brand), add_map(brand, "running", status="pending")
    client = page_client(manager)
    address = f"/brands/{brand.slug}/campaigns/{campaign.slug}/runs/"
    page = client.get(f"{address}new/?prompt={version.pk}&endpoint={endpoint.pk}").content.decode()
    assert f"/files/photo/{shown.pk}/" in page and 'data-axis="control_map" data-value="sitting"' in page
    form = {
        "prompt": version.pk, "endpoint": endpoint.pk, "stage": "pilot", "shape": "matrix", "pick": "all",
        "sample": "0", "axes_shown": "1", "axis": "control_map", "values": "sitting, running, flying",
    }  # fmt: skip
    update_version(version, parameters={"control": "depth"})
    page = client.post(f"{address}preview/", form).content.decode()
    assert "4 images are left out" in page and "2 products: MUG-1, MUG-2" in page
    assert f'href="/brands/{brand.slug}/products/{waiting.subject_id}/">Open the concept' in page
    assert "?kind=concept" in page and "flying" in page


def test_people_are_offered_the_maps_of_their_brand_only(brand: Brand, manager: User, person: Callable[..., User],
    other_brand: Brand,
) -> None:  # fmt: skip
    first = add_map(brand)
    add_map(brand, position=2)
    offer = concepts.list_choices(MAPS, manager, brand)
    assert [(image.key, image.kind, image.ref) for image in offer.images] == [
        ("sitting", "photo", ImageRef(first.sha256, first.storage_key))
    ]
    stranger = person("designer", brand=other_brand)
    assert (
        concepts.list_choices(MAPS, stranger, brand).images == [] and concepts.list_names(MAPS, stranger, brand) == []
    )
