"""Test scenes: how a prompt names one, which image planning uses, and the message where there is none."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from campaigns.models import Campaign, PromptVersion
from core.errors import Invalid
from core.models import Brand, User
from generation.models import Asset, AssetVersion, Endpoint, JobSpec, ScheduledRun
from generation.selectors import concepts, subjects
from generation.selectors.concepts import SCENES
from generation.services import studio
from generation.services.images import rounds
from generation.services.planning import fingerprints, plans, scheduled_runs
from generation.services.planning.plan_requests import PlanArguments
from review.selectors.lineage import lineage
from tests.support import factories

pytestmark = pytest.mark.django_db


def image(brand: Brand, key: str = "marble-table", *, state: str = "approved", **fields: Any) -> AssetVersion:
    """Create an image of the concept `key`; add the concept if it does not exist."""
    subject = brand.subjects.filter(kind="concept", key=key).first() or factories.SubjectFactory(
        brand=brand, kind="concept", key=key, name=f"An empty {key.replace('-', ' ')}", attributes={}
    )
    cell = factories.CellFactory(run__campaign__brand=brand, subject=subject)
    version = factories.AssetVersionFactory(asset=factories.AssetFactory(cell=cell, state=state, **fields))
    Asset.objects.filter(pk=version.asset_id).update(current_version=version)
    return version


@pytest.fixture
def endpoint() -> Endpoint:
    return factories.EndpointFactory(engine="packshot")


@pytest.fixture
def campaign(brand: Brand) -> Campaign:
    """Return a campaign with three mugs with cut-outs, and one output."""
    return with_mugs(brand, 3)


def with_mugs(brand: Brand, count: int) -> Campaign:
    mugs = [
        factories.SubjectFactory(brand=brand, key=f"MUG-{n}", name=f"Mug {n}", attributes={"room": "marble-table"})
        for n in range(1, count + 1)
    ]
    for mug in mugs:
        factories.CutoutFactory(photo=factories.ReferencePhotoFactory(subject=mug))
    made = factories.CampaignFactory(brand=brand, subjects=mugs)
    factories.OutputSpecFactory(campaign=made, slug="shop", width=400, height=400)
    return made


@pytest.fixture
def version(brand: Brand, manager: User) -> PromptVersion:
    return factories.PromptVersionFactory(
        template__brand=brand, text="", axes={}, parameters={"scene": "marble-table"}, needs={}, created_by=manager
    )


def update_version(version: PromptVersion, **fields: Any) -> PromptVersion:
    PromptVersion.objects.filter(pk=version.pk).update(**fields)
    version.refresh_from_db()
    return version


def create_next_version(version: PromptVersion, **fields: Any) -> PromptVersion:
    """Create the next version of a prompt, because a version that a plan used must not change."""
    return factories.PromptVersionFactory(
        template=version.template, number=version.number + 1, text="", axes={}, needs={}, **fields
    )


def frozen_specs(run: Any) -> list[dict[str, Any]]:
    return [frozen_spec.spec for frozen_spec in JobSpec.objects.filter(job__run=run).order_by("job")]


def test_the_approved_image_of_the_concept_is_frozen_into_every_job(
    brand: Brand, plan_arguments: Callable[..., Any]
) -> None:
    shown = image(brand)
    assert plans.preview(plan_arguments()).can_be_planned
    specs = frozen_specs(plans.plan(plan_arguments()))
    expected = {"sha256": shown.master.sha256, "key": shown.master.storage_key}
    assert len(specs) == 3 and all(spec["images"]["scene"] == expected for spec in specs)
    assert all(spec["parameters"]["scene"] == "marble-table" and "cutout" in spec["images"] for spec in specs)


def test_the_newest_approved_image_counts_and_what_was_planned_keeps_its_own(
    brand: Brand, plan_arguments: Callable[..., Any]
) -> None:
    first = image(brand)
    before = plans.plan(plan_arguments())
    second = image(brand)
    image(brand, state="in_review")
    image(brand, state="rejected")
    image(brand, is_sandbox=True)
    after = plans.plan(plan_arguments())
    assert {spec["images"]["scene"]["sha256"] for spec in frozen_specs(before)} == {first.master.sha256}
    assert {spec["images"]["scene"]["sha256"] for spec in frozen_specs(after)} == {second.master.sha256}
    prints = [
        list(JobSpec.objects.filter(job__run=run).values_list("fingerprint", flat=True)) for run in (before, after)
    ]
    assert not set(prints[0]) & set(prints[1])
    Asset.objects.filter(pk=second.asset_id).update(state="revoked")
    assert {spec["images"]["scene"]["sha256"] for spec in frozen_specs(plans.plan(plan_arguments()))} == {
        first.master.sha256
    }


def test_an_axis_names_a_scene_per_image_and_none_is_the_plain_packshot(
    brand: Brand, version: PromptVersion, plan_arguments: Callable[..., Any]
) -> None:
    update_version(version, parameters={"backdrop": "oat"})
    plain = plans.plan(plan_arguments(axes={}))
    marble, pink = image(brand), image(brand, "pink-wall")
    run = plans.plan(plan_arguments(axes={"scene": ["marble-table", "pink-wall", "none"]}))
    assert [spec["images"].get("scene", {}).get("sha256") for spec in frozen_specs(run)] == 3 * [
        marble.master.sha256,
        pink.master.sha256,
        None,
    ]
    prints = JobSpec.objects.filter(job__run=run, cell__axis_values__scene="none").values_list("fingerprint", flat=True)
    assert set(prints) == set(JobSpec.objects.filter(job__run=plain).values_list("fingerprint", flat=True))


def test_rows_of_a_list_and_attributes_of_products_name_scenes_too(
    brand: Brand, version: PromptVersion, plan_arguments: Callable[..., Any]
) -> None:
    marble, pink = image(brand), image(brand, "pink-wall")
    update_version(version, parameters={})
    rows = [{"subject": "MUG-1", "scene": "pink-wall"}, {"subject": "MUG-2"}, {"subject": "MUG-3", "scene": "attic"}]
    seen = plans.preview(plan_arguments(shape="list", rows=rows))
    assert [(problem.subject, problem.kind) for problem in seen.problems] == [("MUG-3", "missing_scene")]
    specs = frozen_specs(plans.plan(plan_arguments(shape="list", rows=rows[:2])))
    assert [spec["images"].get("scene", {}).get("sha256") for spec in specs] == [pink.master.sha256, None]
    version = create_next_version(version, parameters={"scene": "{room}"})
    run = plans.plan(plan_arguments(prompt_version=version))
    assert {spec["images"]["scene"]["sha256"] for spec in frozen_specs(run)} == {marble.master.sha256}


@pytest.mark.parametrize("state", ["in_review", "rejected", "revoked", "making"])
def test_without_an_approved_image_nothing_is_planned_and_the_message_names_the_concept(
    brand: Brand, plan_arguments: Callable[..., Any], state: str
) -> None:
    waiting = image(brand, state=state)
    seen = plans.preview(plan_arguments())
    assert not seen.can_be_planned and seen.problem_count == 3
    assert {problem.message for problem in seen.problems} == {
        "The scene “marble-table” (An empty marble table) has no approved image yet: make one of this concept and "
        "approve it."
    }
    assert {problem.concept for problem in seen.problems} == {waiting.asset.subject_id}
    with pytest.raises(Invalid, match=r"The scene “marble-table”.* approve it"):
        plans.plan(plan_arguments())
    assert not JobSpec.objects.filter(job__run__campaign=plan_arguments().campaign).exists()


def test_an_unknown_concept_and_a_retired_one_are_distinguished(
    brand: Brand, plan_arguments: Callable[..., Any]
) -> None:
    image(brand, "oak-table"), image(brand, "pink-wall")
    [message] = {problem.message for problem in plans.preview(plan_arguments()).problems}
    assert "has no concept of this key" in message and "oak-table, pink-wall" in message
    retired = image(brand)
    brand.subjects.filter(pk=retired.asset.subject_id).update(is_active=False)
    [message] = {problem.message for problem in plans.preview(plan_arguments()).problems}
    assert "is retired" in message


def test_a_scene_of_another_brand_is_never_taken(
    brand: Brand, other_brand: Brand, plan_arguments: Callable[..., Any]
) -> None:
    image(other_brand)
    assert plans.preview(plan_arguments()).problem_count == 3
    ours = image(brand)
    image(other_brand)
    assert {spec["images"]["scene"]["sha256"] for spec in frozen_specs(plans.plan(plan_arguments()))} == {
        ours.master.sha256
    }


def test_a_product_of_the_same_key_is_no_scene(brand: Brand, plan_arguments: Callable[..., Any]) -> None:
    product = factories.SubjectFactory(brand=brand, key="marble-table")
    version = factories.AssetVersionFactory(
        asset__cell__subject=product, asset__cell__run__campaign__brand=brand, asset__state="approved"
    )
    Asset.objects.filter(pk=version.asset_id).update(current_version=version)
    assert "no concept of this key" in plans.preview(plan_arguments()).problems[0].message


def test_the_number_of_queries_does_not_grow_with_products_or_scenes(
    brand: Brand, manager: User, version: PromptVersion, endpoint: Endpoint
) -> None:
    update_version(version, parameters={})
    counts = []
    for count, named in ((1, 1), (2, 1), (12, 6)):  # the first call fills the caches of the rows
        keys = [f"scene-{count}-{n}" for n in range(named)]
        for key in keys:
            image(brand, key)
        campaign = factories.CampaignFactory(brand=brand)
        for n in range(count):
            mug = factories.SubjectFactory(brand=brand, key=f"CUP-{count}-{n}", attributes={})
            factories.CutoutFactory(photo=factories.ReferencePhotoFactory(subject=mug))
            campaign.subjects.add(mug)
        factories.OutputSpecFactory(campaign=campaign, width=400, height=400)
        with CaptureQueriesContext(connection) as captured:
            seen = plans.preview(
                PlanArguments(
                    campaign=campaign,
                    prompt_version=version,
                    endpoint=endpoint,
                    stage="pilot",
                    by=manager,
                    axes={"scene": keys},
                )
            )
        assert seen.can_be_planned and seen.cells == count * named
        counts.append(len(captured))
    assert counts[1] == counts[2]


def test_no_backdrop_is_varied_before_a_scene(brand: Brand, plan_arguments: Callable[..., Any]) -> None:
    image(brand)
    with pytest.raises(Invalid) as refusal:
        plans.preview(plan_arguments(axes={"backdrop": ["white", "clay"]}))
    assert "backdrop is not seen before a scene" in refusal.value.problems[0].message
    assert plans.preview(plan_arguments(axes={"light": ["left", "right"]})).cells == 6


def test_the_guides_backdrop_is_left_out_before_a_scene_and_its_light_stays(
    brand: Brand, version: PromptVersion, plan_arguments: Callable[..., Any]
) -> None:
    image(brand)
    factories.GuideVersionFactory(brand=brand, backdrop="clay", light="hard left", status="published")
    [first, *_] = frozen_specs(plans.plan(plan_arguments()))
    assert first["parameters"].get("light") == "hard left" and "backdrop" not in first["parameters"]
    [first, *_] = frozen_specs(plans.plan(plan_arguments(prompt_version=create_next_version(version, parameters={}))))
    assert "backdrop" in first["parameters"]


def test_a_clone_takes_the_scene_as_it_is_approved_now(
    brand: Brand, manager: User, plan_arguments: Callable[..., Any]
) -> None:
    image(brand)
    run = plans.plan(plan_arguments())
    newer = image(brand)
    clone = plans.plan_again(run_id=run.pk, by=manager)
    assert {spec["images"]["scene"]["sha256"] for spec in frozen_specs(clone)} == {newer.master.sha256}


def test_a_scheduled_run_waits_for_its_scene_and_says_so(
    brand: Brand, campaign: Campaign, version: PromptVersion, endpoint: Endpoint, manager: User
) -> None:
    update_version(version, status="approved")
    order = scheduled_runs.create(
        campaign=campaign, by=manager, name="Before marble", prompt_version=version, endpoint=endpoint,
        daily_budget=Decimal(5), is_from_now_on=False,
    )  # fmt: skip
    assert scheduled_runs.check_now(order.pk) is None
    assert "3 products are not ready" in ScheduledRun.objects.get(pk=order.pk).message
    assert all("no concept of this key" in reason for reason in scheduled_runs.select_subjects(order).unready.values())
    shown = image(brand)
    run = scheduled_runs.check_now(order.pk)
    assert {spec["images"]["scene"]["sha256"] for spec in frozen_specs(run)} == {shown.master.sha256}


def test_a_try_out_is_refused_without_its_scene(
    brand: Brand, campaign: Campaign, version: PromptVersion, endpoint: Endpoint, manager: User
) -> None:
    arguments = {
        "template": version.template, "fields": {}, "based_on": version, "endpoint": endpoint, "by": manager,
        "subjects": [campaign.subjects.order_by("key").first().pk],
    }  # fmt: skip
    with pytest.raises(Invalid, match="has no concept of this key"):
        studio.try_prompt(**arguments)
    shown = image(brand)
    [spec] = frozen_specs(studio.try_prompt(**arguments)[0])
    assert spec["images"]["scene"]["sha256"] == shown.master.sha256


def test_readiness_says_that_a_scene_is_missing(
    brand: Brand, campaign: Campaign, version: PromptVersion, endpoint: Endpoint
) -> None:
    def load_readiness() -> list[subjects.Readiness]:
        arguments = {"campaign": campaign, "version": version, "endpoint": endpoint, "specs": []}
        return list(subjects.load_readiness(campaign.subjects.all(), **arguments).values())

    image(brand, state="in_review")
    assert all(
        not readiness.is_ready and "no approved image" in readiness.sentences[0] for readiness in load_readiness()
    )
    image(brand)
    assert all(not readiness.scene for readiness in load_readiness())


def scene_revisions(brand: Brand, run: Any, **controls: Any) -> rounds.SpecChange:
    spec = JobSpec.objects.filter(job__run=run).order_by("job").first()
    version = factories.AssetVersionFactory(
        asset=Asset.objects.get(cell_id=spec.cell_id), job_id=spec.job_id, candidate=1
    )
    return rounds.apply_controls(version=version, controls=controls)


def test_a_revision_may_name_another_scene_or_none(brand: Brand, plan_arguments: Callable[..., Any]) -> None:
    image(brand)
    pink = image(brand, "pink-wall")
    run = plans.plan(plan_arguments())
    change = scene_revisions(brand, run, scene="pink-wall")
    assert change.spec["images"]["scene"] == {"sha256": pink.master.sha256, "key": pink.master.storage_key}
    assert change.spec["parameters"]["scene"] == "pink-wall" and "cutout" in change.spec["images"]
    version = AssetVersion.objects.get(job__run=run)
    plain = rounds.apply_controls(version=version, controls={"scene": "none"})
    assert "scene" not in plain.spec["images"] and "scene" not in plain.spec["parameters"]
    with pytest.raises(Invalid) as refusal:
        rounds.apply_controls(version=version, controls={"scene": "attic"})
    assert "no concept of this key" in refusal.value.problems[0].message
    with pytest.raises(Invalid, match="same image again"):
        rounds.apply_controls(version=version, controls={"scene": "marble-table"})
    softer = rounds.apply_controls(version=version, controls={"scene_blur": 0.8})
    assert softer.spec["images"] == JobSpec.objects.get(job=version.job_id).spec["images"]
    assert len({variant.fingerprint for variant in (change, plain, softer)}) == 3


def test_the_lineage_names_the_image_that_stands_behind_the_product(
    brand: Brand, other_brand: Brand, plan_arguments: Callable[..., Any]
) -> None:
    shown = image(brand)
    run = plans.plan(plan_arguments())
    newer = image(brand)
    assert newer.pk > shown.pk
    spec = JobSpec.objects.filter(job__run=run).order_by("job").first()
    version = factories.AssetVersionFactory(asset=Asset.objects.get(cell_id=spec.cell_id), job_id=spec.job_id)
    facts = lineage(version)
    assert facts["scene"] == {
        "concept": "marble-table", "name": "An empty marble table", "sha256": shown.master.sha256,
        "asset": shown.asset_id, "version": shown.pk, "round": 1, "candidate": shown.candidate, "engine": "",
    }  # fmt: skip
    assert facts["images"]["scene"] == shown.master.sha256
    assert facts["digital_source_type"] == "compositeWithTrainedAlgorithmicMedia"


def test_people_are_offered_their_brands_scenes_and_see_which_concepts_have_none(
    brand: Brand, other_brand: Brand, manager: User, person: Callable[..., User]
) -> None:
    assert concepts.list_choices(SCENES, manager, brand) == concepts.ConceptChoices([], 0, [], 0)
    marble, _ = image(brand), image(other_brand, "their-wall")
    newer = image(brand)
    image(brand, "oak-table", state="in_review")
    offered = concepts.list_choices(SCENES, manager, brand)
    assert [(scene.key, scene.file.pk) for scene in offered.images] == [("marble-table", newer.master_id)]
    assert newer.pk > marble.pk
    assert [concept.key for concept in offered.without_image] == ["oak-table"] and offered.without_image_count == 1
    assert concepts.list_names(SCENES, manager, brand) == [("marble-table", "An empty marble table")]
    stranger = person("designer", brand=other_brand)
    assert concepts.list_choices(SCENES, stranger, brand).images == []
    assert concepts.list_names(SCENES, stranger, brand) == []


def test_the_fingerprint_of_a_plain_packshot_is_what_it_was(endpoint: Endpoint, brand: Brand) -> None:
    """Images from before scenes existed are reused."""
    from generation.engines import base

    engine = base.build("packshot", {})
    spec = base.Spec("", 400, 400, 0, parameters={"backdrop": "oat"}, images={"cutout": base.ImageRef("a", "b")})
    text = fingerprints.canonical({**spec.to_json(), "prompt": "", "negative": "", "seed": 0})
    shared = fingerprints.canonical([brand.pk, "packshot", "packshot", "1", "final"])
    maker = fingerprints.get_maker(endpoint, engine)
    made = fingerprints.fingerprint_spec(brand_id=brand.pk, maker=maker, engine=engine, spec=spec.to_json())
    assert made == fingerprints.fingerprint(shared, text)
