"""Test what a preview reports before planning, and what it refuses."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest

from campaigns.models import Campaign, PromptVersion, Subject
from core.errors import Invalid
from core.models import Brand
from generation.engines.base import Capabilities
from generation.models import JobSpec, Run
from generation.services.planning import fingerprints, plan_requests, plans
from generation.services.planning.plan_requests import PlanArguments
from tests.generation.planning.planning_helpers import NeedsCutout, update_version, with_cutouts
from tests.support import factories

pytestmark = pytest.mark.django_db


def test_a_preview_counts_prices_and_shows_the_first_prompts(plan_arguments: Callable[..., PlanArguments]) -> None:
    seen = plans.preview(plan_arguments())
    assert (seen.subjects, seen.cells, seen.jobs, seen.reused) == (3, 6, 6, 0)
    assert (seen.cost, seen.currency, seen.seconds) == (Decimal("0.24"), "EUR", 12.0)
    assert [shown.text for shown in seen.first] == [
        "Mug 1 in sage on white",
        "Mug 1 in sage on clay",
        "Mug 2 in clay on white",
    ]
    first = seen.first[0]
    assert (first.width, first.height) == (600, 600)
    assert first.text[slice(first.spans[1].start, first.spans[1].end)] == "sage"
    assert seen.can_be_planned
    assert Run.objects.count() == 0


def test_a_preview_makes_the_seeds_that_the_plan_freezes(plan_arguments: Callable[..., PlanArguments]) -> None:
    seen = plans.preview(plan_arguments())
    run = plans.plan(plan_arguments())
    frozen = JobSpec.objects.filter(job__run=run).order_by("job").values_list("spec__seed", flat=True)
    assert [shown.seed for shown in seen.first] == list(frozen)[:3]


def test_missing_values_and_photos_are_reported_per_subject_before_any_row_exists(
    plan_arguments: Callable[..., PlanArguments],
    campaign: Campaign,
    version: PromptVersion,
    count_rows: Callable[[], Any],
) -> None:
    campaign.subjects.filter(key="MUG-2").update(attributes={"colour": " "})
    photo = factories.ReferencePhotoFactory(subject=campaign.subjects.get(key="MUG-1"))
    factories.CutoutFactory(photo=photo, is_accepted=False)
    update_version(version, parameters={"backdrop": "{backdrop}"})
    endpoint = factories.EndpointFactory(engine="needs-cutout")
    seen = plans.preview(plan_arguments(endpoint=endpoint, axes={"backdrop": ["white"]}))
    assert {(problem.subject, problem.kind) for problem in seen.problems} == {
        ("MUG-1", "missing_cutout"),
        ("MUG-2", "missing_photo"),
        ("MUG-2", "missing_value"),
        ("MUG-3", "missing_photo"),
    }
    assert not seen.can_be_planned
    with pytest.raises(Invalid) as refusal:
        plans.plan(plan_arguments(endpoint=endpoint, axes={"backdrop": ["white"]}))
    assert refusal.value.extra["problem_count"] == 4
    assert "there are 4 problems, the first with" in refusal.value.message
    assert {problem.pointer for problem in refusal.value.problems} == {f"subjects/MUG-{n}" for n in (1, 2, 3)}
    assert count_rows() == (0, 0, 0, 0, 0)
    version.refresh_from_db()
    assert version.used_at is None


def test_an_engines_own_refusals_are_reported_per_image(
    plan_arguments: Callable[..., PlanArguments], campaign: Campaign, version: PromptVersion
) -> None:
    with_cutouts(campaign)
    endpoint = factories.EndpointFactory(engine="needs-cutout")
    seen = plans.preview(plan_arguments(endpoint=endpoint, axes={"backdrop": ["white", "tartan"]}))
    assert seen.problem_count == 3
    assert seen.problems[0].message == "There is no backdrop “tartan”."
    assert seen.problems[0].values == {"backdrop": "tartan"}


def test_an_axis_that_the_engine_ignores_is_refused(
    plan_arguments: Callable[..., PlanArguments], campaign: Campaign, version: PromptVersion
) -> None:
    with_cutouts(campaign)
    update_version(version, needs={"engine": "needs-cutout"})
    endpoint = factories.EndpointFactory(engine="needs-cutout")
    with pytest.raises(Invalid) as refusal:
        plans.preview(plan_arguments(endpoint=endpoint, axes={"angle": ["left", "right"]}))
    [problem] = refusal.value.problems
    assert problem.pointer == "axes/angle"
    assert "ignores “angle”" in problem.message
    assert "photo" in problem.message


def test_an_axis_in_the_words_is_ignored_by_an_engine_that_reads_no_words(
    plan_arguments: Callable[..., PlanArguments], campaign: Campaign, version: PromptVersion
) -> None:
    with_cutouts(campaign)
    update_version(version, text="{name} with {mood}")
    assert plans.preview(plan_arguments(axes={"mood": ["calm", "loud"]})).can_be_planned
    with pytest.raises(Invalid):
        plans.preview(
            plan_arguments(endpoint=factories.EndpointFactory(engine="needs-cutout"), axes={"mood": ["calm", "loud"]})
        )


def test_the_photo_axis_chooses_the_photo_by_its_role(
    plan_arguments: Callable[..., PlanArguments], campaign: Campaign, version: PromptVersion
) -> None:
    with_cutouts(campaign)
    update_version(version, text="{name}")
    inner = {}
    for subject in campaign.subjects.all():
        photo = factories.ReferencePhotoFactory(subject=subject, role="inner", position=2)
        inner[subject.pk] = factories.CutoutFactory(photo=photo).sha256
    endpoint = factories.EndpointFactory(engine="needs-cutout")
    run = plans.plan(plan_arguments(endpoint=endpoint, axes={"photo": ["front", "inner"]}))
    for job in JobSpec.objects.filter(job__run=run).select_related("cell"):
        is_inner = job.cell.axis_values["photo"] == "inner"
        assert (job.spec["images"]["cutout"]["sha256"] == inner[job.cell.subject_id]) is is_inner


def test_an_axis_that_the_engine_obeys_by_name_becomes_a_parameter(
    plan_arguments: Callable[..., PlanArguments], campaign: Campaign, version: PromptVersion
) -> None:
    with_cutouts(campaign)
    update_version(version, text="{name}")
    run = plans.plan(
        plan_arguments(endpoint=factories.EndpointFactory(engine="needs-cutout"), axes={"fill": [0.7, 0.8]})
    )
    filled = sorted(JobSpec.objects.filter(job__run=run).values_list("spec__parameters__fill", flat=True))
    assert filled == [0.7] * 3 + [0.8] * 3


def test_words_and_seeds_that_an_engine_ignores_make_no_other_image(
    plan_arguments: Callable[..., PlanArguments], campaign: Campaign, version: PromptVersion
) -> None:
    with_cutouts(campaign)
    update_version(version, text="{name}", candidates=3)
    endpoint = factories.EndpointFactory(engine="needs-cutout")
    other = factories.PromptVersionFactory(
        template__brand=campaign.brand, text="Only {name}", seed=7, needs={}, axes={}, parameters={}
    )
    seen = plans.preview(plan_arguments(endpoint=endpoint, axes={"backdrop": ["white"]}))
    assert seen.jobs == 3
    assert any("candidates would be equal" in note for note in seen.notes)
    planned = [
        plans.plan(plan_arguments(endpoint=endpoint, axes={"backdrop": ["white"]}, prompt_version=chosen))
        for chosen in (version, other)
    ]
    first, second = (list(JobSpec.objects.filter(job__run=run).order_by("job")) for run in planned)
    assert [job.fingerprint for job in first] == [job.fingerprint for job in second]
    assert first[0].spec["prompt"] != second[0].spec["prompt"]
    engine = NeedsCutout({})
    maker = fingerprints.get_maker(endpoint, engine)
    recomputed = fingerprints.fingerprint_spec(
        brand_id=campaign.brand_id, maker=maker, engine=engine, spec=first[0].spec
    )
    assert recomputed == first[0].fingerprint


def test_a_colour_named_as_in_the_brands_palette_is_the_brands(
    plan_arguments: Callable[..., PlanArguments], campaign: Campaign, brand: Brand
) -> None:
    with_cutouts(campaign)
    factories.GuideVersionFactory(brand=brand, status="published", palette=[{"name": "Clay", "hex": "#b5651d"}])
    run = plans.plan(
        plan_arguments(endpoint=factories.EndpointFactory(engine="packshot"), axes={"backdrop": ["clay", "white"]})
    )
    backdrops = JobSpec.objects.filter(job__run=run).values_list("spec__parameters__backdrop", flat=True)
    assert set(backdrops) == {"#b5651d", "white"}


def test_the_guides_standard_fills_what_the_prompt_leaves_open(
    plan_arguments: Callable[..., PlanArguments], campaign: Campaign, brand: Brand
) -> None:
    with_cutouts(campaign)
    factories.GuideVersionFactory(brand=brand, status="published", fill_ratio=0.66, backdrop="linen")
    endpoint = factories.EndpointFactory(engine="needs-cutout")
    run = plans.plan(plan_arguments(endpoint=endpoint, axes={"backdrop": ["white"]}))
    spec = JobSpec.objects.filter(job__run=run).first().spec
    assert spec["parameters"] == {"backdrop": "white", "fill": 0.66}


def test_the_master_is_as_large_as_the_largest_spec_within_the_engines_limits(
    plan_arguments: Callable[..., PlanArguments], campaign: Campaign
) -> None:
    with_cutouts(campaign)
    factories.OutputSpecFactory(campaign=campaign, slug="story", width=300, height=500)
    seen = plans.preview(plan_arguments(endpoint=factories.EndpointFactory(engine="needs-cutout")))
    assert seen.cells == 12
    assert {(shown.aspect, shown.width, shown.height) for shown in seen.first} >= {("1:1", 512, 512), ("3:5", 320, 512)}
    assert any("enlarged" in note for note in seen.notes)


def test_wording_is_counted_and_marked_in_the_first_prompt(
    plan_arguments: Callable[..., PlanArguments], brand: Brand
) -> None:
    factories.GuideVersionFactory(
        brand=brand, status="published", banned_wording=["clay"], required_wording=["stoneware"]
    )
    seen = plans.preview(plan_arguments())
    by_kind = {finding.lint.kind: finding for finding in seen.wording}
    assert by_kind["required"].count == 6
    assert by_kind["banned"].count == 4
    marked = by_kind["banned"]
    assert marked.text[marked.lint.start : marked.lint.end] == "clay"
    assert seen.can_be_planned


def test_files_that_would_share_a_name_are_refused_with_the_missing_placeholder(
    plan_arguments: Callable[..., PlanArguments], campaign: Campaign, count_rows: Callable[[], Any]
) -> None:
    campaign.output_specs.filter(slug="shop").update(name_pattern="{sku}")
    campaign.output_specs.filter(slug="thumb").update(name_pattern="{sku}_{variation}_small")
    seen = plans.preview(plan_arguments())
    [collision] = seen.collisions
    assert (collision.spec, collision.count, collision.name, collision.lacking) == ("shop", 3, "MUG-1.jpg", "variation")
    assert not seen.can_be_planned
    with pytest.raises(Invalid, match=r"add \{variation\} to the file name") as refusal:
        plans.plan(plan_arguments())
    assert refusal.value.problems[0].pointer == "output_specs/shop/name_pattern"
    assert count_rows() == (0, 0, 0, 0, 0)
    assert plans.plan(plan_arguments(stage="sandbox")).cell_count == 6
    assert plans.plan(plan_arguments(axes={"backdrop": ["white"]})).cell_count == 3


def test_names_collide_as_they_are_written_on_a_disk(
    plan_arguments: Callable[..., PlanArguments], campaign: Campaign
) -> None:
    campaign.output_specs.filter(slug="thumb").delete()
    campaign.output_specs.update(name_pattern="{sku}_{variation}")
    Subject.objects.filter(key="MUG-2").update(key="mug 1")
    seen = plans.preview(plan_arguments(axes={"backdrop": ["Off White", "off-white"]}))
    [collision] = seen.collisions
    assert (collision.count, collision.lacking) == (4, "")
    assert "lost in a file's name" in collision.message


def test_two_outputs_of_one_image_may_not_share_a_name(
    plan_arguments: Callable[..., PlanArguments], campaign: Campaign
) -> None:
    campaign.output_specs.update(name_pattern="{sku}_{asset_type}_{variation}")
    [collision] = plans.preview(plan_arguments()).collisions
    assert (collision.spec, collision.count, collision.lacking) == ("thumb", 6, "spec")
    campaign.output_specs.filter(slug="thumb").update(image_format="webp")
    assert plans.preview(plan_arguments()).can_be_planned


def test_a_name_pattern_that_cannot_be_filled_is_refused_before_anything_is_made(
    plan_arguments: Callable[..., PlanArguments], campaign: Campaign
) -> None:
    campaign.output_specs.filter(slug="shop").update(name_pattern="{sku}_{colour}")
    with pytest.raises(Invalid) as refusal:
        plans.preview(plan_arguments())
    assert "There is no {colour}" in refusal.value.problems[0].message


@pytest.mark.parametrize("multiple", [1, 8, 64])
def test_no_side_of_a_master_is_nothing_however_long_the_other_is(multiple: int) -> None:
    capabilities = Capabilities(
        is_remote=True, obeys=frozenset(), controls=(), max_width=1536, max_height=1536, size_multiple=multiple
    )
    assert plan_requests.master_size(5, 99_999, capabilities) == (multiple, 1536)
