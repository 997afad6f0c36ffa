"""Planning: what is previewed, what is refused and which rows a plan writes."""

from __future__ import annotations

import json
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from campaigns.errors import Conflict, Invalid, NotAllowed
from campaigns.models import Brand, Campaign, Event, PromptVersion, User
from campaigns.services import prompts as prompt_services
from generation.engines.base import Capabilities, Spec, register
from generation.models import Asset, Cell, Endpoint, Job, JobSpec, Master, Run
from generation.services import fingerprints, planning
from tests import engines, factories

pytestmark = pytest.mark.django_db


class NeedsCutout(engines.Ready):
    """A ready engine that sets a cut-out on a backdrop of at most 512 pixels, in steps of 64."""

    name = "needs-cutout"

    def capabilities(self) -> Capabilities:
        return Capabilities(
            is_remote=False,
            obeys=frozenset({"backdrop", "fill"}),
            controls=(),
            needs_images=frozenset({"cutout"}),
            optional_images=frozenset({"photo"}),
            obeys_prompt=False,
            max_width=512,
            max_height=512,
            size_multiple=64,
        )

    def validate(self, spec: Spec) -> list[str]:
        return ["There is no backdrop “tartan”."] if spec.parameters.get("backdrop") == "tartan" else []


register("needs-cutout", lambda: NeedsCutout)


@pytest.fixture
def campaign(brand: Brand) -> Campaign:
    """Three mugs and two output specs of one aspect."""
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
def ask(campaign: Campaign, version: PromptVersion, endpoint: Endpoint, manager: User) -> Callable[..., dict[str, Any]]:
    """The arguments of preview and plan, some of them changed."""

    def arguments(**changes: Any) -> dict[str, Any]:
        asked = {"campaign": campaign, "prompt_version": version, "endpoint": endpoint, "stage": "pilot", "by": manager}
        return asked | changes

    return arguments


def with_cutouts(campaign: Campaign) -> None:
    for subject in campaign.subjects.all():
        factories.CutoutFactory(photo=factories.ReferencePhotoFactory(subject=subject))


def remake(version: PromptVersion, **fields: Any) -> PromptVersion:
    PromptVersion.objects.filter(pk=version.pk).update(**fields)
    version.refresh_from_db()
    return version


@pytest.fixture
def count_rows() -> Callable[[], tuple[int, ...]]:
    return lambda: tuple(model.objects.count() for model in (Run, Cell, Job, JobSpec, Asset))


# -- preview -------------------------------------------------------------------------------------------------------


def test_a_preview_counts_prices_and_shows_the_first_prompts(ask: Callable[..., dict[str, Any]]) -> None:
    seen = planning.preview(**ask())
    assert (seen.subjects, seen.cells, seen.jobs, seen.reused) == (3, 6, 6, 0)
    assert (seen.cost, seen.currency, seen.seconds) == (Decimal("0.24"), "EUR", 12.0)
    assert [shown.text for shown in seen.first] == [
        "Mug 1 in sage on white",
        "Mug 1 in sage on clay",
        "Mug 2 in clay on white",
    ]
    assert (seen.first[0].width, seen.first[0].height) == (600, 600)
    assert seen.first[0].text[slice(seen.first[0].spans[1].start, seen.first[0].spans[1].end)] == "sage"
    assert seen.can_be_planned
    assert Run.objects.count() == 0


def test_a_preview_makes_the_seeds_that_the_plan_freezes(ask: Callable[..., dict[str, Any]]) -> None:
    seen = planning.preview(**ask())
    run = planning.plan(**ask())
    frozen = JobSpec.objects.filter(job__run=run).order_by("job").values_list("spec__seed", flat=True)
    assert [shown.seed for shown in seen.first] == list(frozen)[:3]


def test_missing_values_and_photos_are_told_per_subject_before_any_row_exists(
    ask: Callable[..., dict[str, Any]], campaign: Campaign, version: PromptVersion, count_rows: Callable[[], Any]
) -> None:
    campaign.subjects.filter(key="MUG-2").update(attributes={"colour": " "})
    photo = factories.ReferencePhotoFactory(subject=campaign.subjects.get(key="MUG-1"))
    factories.CutoutFactory(photo=photo, is_accepted=False)
    remake(version, parameters={"backdrop": "{backdrop}"})
    endpoint = factories.EndpointFactory(engine="needs-cutout")
    seen = planning.preview(**ask(endpoint=endpoint, axes={"backdrop": ["white"]}))
    assert {(problem.subject, problem.kind) for problem in seen.problems} == {
        ("MUG-1", "missing_cutout"),
        ("MUG-2", "missing_photo"),
        ("MUG-2", "missing_value"),
        ("MUG-3", "missing_photo"),
    }
    assert not seen.can_be_planned
    with pytest.raises(Invalid) as refusal:
        planning.plan(**ask(endpoint=endpoint, axes={"backdrop": ["white"]}))
    assert refusal.value.extra["problem_count"] == 4
    assert {problem.pointer for problem in refusal.value.problems} == {f"subjects/MUG-{n}" for n in (1, 2, 3)}
    assert count_rows() == (0, 0, 0, 0, 0)
    version.refresh_from_db()
    assert version.used_at is None


def test_an_engines_own_refusals_are_told_per_picture(
    ask: Callable[..., dict[str, Any]], campaign: Campaign, version: PromptVersion
) -> None:
    with_cutouts(campaign)
    endpoint = factories.EndpointFactory(engine="needs-cutout")
    seen = planning.preview(**ask(endpoint=endpoint, axes={"backdrop": ["white", "tartan"]}))
    assert seen.problem_count == 3
    assert seen.problems[0].message == "There is no backdrop “tartan”."
    assert seen.problems[0].values == {"backdrop": "tartan"}


def test_an_axis_that_the_engine_ignores_is_refused(
    ask: Callable[..., dict[str, Any]], campaign: Campaign, version: PromptVersion
) -> None:
    with_cutouts(campaign)
    remake(version, needs={"engine": "needs-cutout"})
    endpoint = factories.EndpointFactory(engine="needs-cutout")
    with pytest.raises(Invalid) as refusal:
        planning.preview(**ask(endpoint=endpoint, axes={"angle": ["left", "right"]}))
    [problem] = refusal.value.problems
    assert problem.pointer == "axes/angle"
    assert "ignores “angle”" in problem.message
    assert "photo" in problem.message


def test_an_axis_in_the_words_is_ignored_by_an_engine_that_reads_no_words(
    ask: Callable[..., dict[str, Any]], campaign: Campaign, version: PromptVersion
) -> None:
    with_cutouts(campaign)
    remake(version, text="{name} with {mood}")
    assert planning.preview(**ask(axes={"mood": ["calm", "loud"]})).can_be_planned
    with pytest.raises(Invalid):
        planning.preview(
            **ask(endpoint=factories.EndpointFactory(engine="needs-cutout"), axes={"mood": ["calm", "loud"]})
        )


def test_the_photo_axis_chooses_the_photo_by_its_role(
    ask: Callable[..., dict[str, Any]], campaign: Campaign, version: PromptVersion
) -> None:
    with_cutouts(campaign)
    remake(version, text="{name}")
    inner = {}
    for subject in campaign.subjects.all():
        photo = factories.ReferencePhotoFactory(subject=subject, role="inner", position=2)
        inner[subject.pk] = factories.CutoutFactory(photo=photo).sha256
    endpoint = factories.EndpointFactory(engine="needs-cutout")
    run = planning.plan(**ask(endpoint=endpoint, axes={"photo": ["front", "inner"]}))
    for job in JobSpec.objects.filter(job__run=run).select_related("cell"):
        is_inner = job.cell.axis_values["photo"] == "inner"
        assert (job.spec["images"]["cutout"]["sha256"] == inner[job.cell.subject_id]) is is_inner


def test_an_axis_that_the_engine_obeys_by_name_becomes_a_parameter(
    ask: Callable[..., dict[str, Any]], campaign: Campaign, version: PromptVersion
) -> None:
    with_cutouts(campaign)
    remake(version, text="{name}")
    run = planning.plan(**ask(endpoint=factories.EndpointFactory(engine="needs-cutout"), axes={"fill": [0.7, 0.8]}))
    filled = sorted(JobSpec.objects.filter(job__run=run).values_list("spec__parameters__fill", flat=True))
    assert filled == [0.7] * 3 + [0.8] * 3


def test_words_and_seeds_that_an_engine_ignores_make_no_other_picture(
    ask: Callable[..., dict[str, Any]], campaign: Campaign, version: PromptVersion
) -> None:
    with_cutouts(campaign)
    remake(version, text="{name}", candidates=3)
    endpoint = factories.EndpointFactory(engine="needs-cutout")
    other = factories.PromptVersionFactory(
        template__brand=campaign.brand, text="Only {name}", seed=7, needs={}, axes={}, parameters={}
    )
    seen = planning.preview(**ask(endpoint=endpoint, axes={"backdrop": ["white"]}))
    assert seen.jobs == 3
    assert any("candidates would be equal" in note for note in seen.notes)
    planned = [
        planning.plan(**ask(endpoint=endpoint, axes={"backdrop": ["white"]}, prompt_version=one))
        for one in (version, other)
    ]
    first, second = (list(JobSpec.objects.filter(job__run=run).order_by("job")) for run in planned)
    assert [job.fingerprint for job in first] == [job.fingerprint for job in second]
    assert first[0].spec["prompt"] != second[0].spec["prompt"]
    again = fingerprints.of_spec(
        brand_id=campaign.brand_id, endpoint=endpoint, engine=NeedsCutout({}), spec=first[0].spec
    )
    assert again == first[0].fingerprint


def test_a_colour_named_as_in_the_brands_palette_is_the_brands(
    ask: Callable[..., dict[str, Any]], campaign: Campaign, brand: Brand
) -> None:
    with_cutouts(campaign)
    factories.GuideVersionFactory(brand=brand, status="published", palette=[{"name": "Clay", "hex": "#b5651d"}])
    run = planning.plan(
        **ask(endpoint=factories.EndpointFactory(engine="packshot"), axes={"backdrop": ["clay", "white"]})
    )
    backdrops = JobSpec.objects.filter(job__run=run).values_list("spec__parameters__backdrop", flat=True)
    assert set(backdrops) == {"#b5651d", "white"}


def test_the_guides_standard_fills_what_the_prompt_leaves_open(
    ask: Callable[..., dict[str, Any]], campaign: Campaign, brand: Brand
) -> None:
    with_cutouts(campaign)
    factories.GuideVersionFactory(brand=brand, status="published", fill_ratio=0.66, backdrop="linen")
    endpoint = factories.EndpointFactory(engine="needs-cutout")
    run = planning.plan(**ask(endpoint=endpoint, axes={"backdrop": ["white"]}))
    spec = JobSpec.objects.filter(job__run=run).first().spec
    assert spec["parameters"] == {"backdrop": "white", "fill": 0.66}


def test_the_master_is_as_large_as_the_largest_spec_within_the_engines_limits(
    ask: Callable[..., dict[str, Any]], campaign: Campaign
) -> None:
    with_cutouts(campaign)
    factories.OutputSpecFactory(campaign=campaign, slug="story", width=300, height=500)
    seen = planning.preview(**ask(endpoint=factories.EndpointFactory(engine="needs-cutout")))
    assert seen.cells == 12
    assert {(shown.aspect, shown.width, shown.height) for shown in seen.first} >= {("1:1", 512, 512), ("3:5", 320, 512)}
    assert any("enlarged" in note for note in seen.notes)


def test_wording_is_counted_and_marked_in_the_first_prompt(ask: Callable[..., dict[str, Any]], brand: Brand) -> None:
    factories.GuideVersionFactory(
        brand=brand, status="published", banned_wording=["clay"], required_wording=["stoneware"]
    )
    seen = planning.preview(**ask())
    found = {finding.lint.kind: finding for finding in seen.wording}
    assert found["required"].count == 6
    assert found["banned"].count == 4
    marked = found["banned"]
    assert marked.text[marked.lint.start : marked.lint.end] == "clay"
    assert seen.can_be_planned


def test_files_that_would_share_a_name_are_told(ask: Callable[..., dict[str, Any]], campaign: Campaign) -> None:
    campaign.output_specs.filter(slug="shop").update(name_pattern="{sku}")
    campaign.output_specs.filter(slug="thumb").update(name_pattern="{sku}_{variation}_small")
    [collision] = planning.preview(**ask()).collisions
    assert (collision.spec, collision.count) == ("shop", 3)


def test_a_sample_is_the_same_every_time_and_spread_over_the_subjects(ask: Callable[..., dict[str, Any]]) -> None:
    first, second = (planning.preview(**ask(sample=2)) for _ in range(2))
    assert first.subjects == 2
    assert first.first == second.first


def test_another_brands_prompt_endpoint_and_people_are_refused(
    ask: Callable[..., dict[str, Any]], other_brand: Brand, designer: User, person: Callable[..., User]
) -> None:
    with pytest.raises(Invalid):
        planning.preview(**ask(prompt_version=factories.PromptVersionFactory(template__brand=other_brand)))
    with pytest.raises(Invalid):
        planning.preview(**ask(endpoint=factories.EndpointFactory(engine="ready", brand=other_brand)))
    with pytest.raises(NotAllowed):
        planning.preview(**ask(by=person("campaign_manager", brand=other_brand)))
    with pytest.raises(NotAllowed):
        planning.preview(**ask(by=designer))
    assert planning.preview(**ask(by=designer, stage="sandbox")).can_be_planned
    stranger = factories.SubjectFactory(brand=other_brand)
    assert planning.preview(**ask(subjects=[stranger.pk])).problems[0].kind == "unknown_subject"


# -- plan ----------------------------------------------------------------------------------------------------------


def test_a_plan_writes_cells_jobs_specs_and_assets_and_one_event(
    ask: Callable[..., dict[str, Any]], version: PromptVersion, count_rows: Callable[[], Any], brand: Brand
) -> None:
    remake(version, candidates=2)
    run = planning.plan(**ask())
    assert count_rows() == (1, 6, 12, 12, 6)
    assert (run.state, run.cell_count, run.job_count, run.quoted_cost) == ("planned", 6, 12, Decimal("0.48"))
    assert set(Job.objects.values_list("status", "hold_reason", "lane")) == {("held", "not_released", "gpu")}
    assert set(Asset.objects.values_list("state", "is_sandbox", "campaign", "brand")) == {
        ("making", False, run.campaign_id, brand.pk)
    }
    assert list(Cell.objects.filter(run=run).values_list("position", flat=True)) == [0, 1, 2, 3, 4, 5]
    [event] = Event.objects.filter(type="generation.run.planned")
    assert (event.brand_id, event.object_id) == (brand.pk, run.pk)
    assert event.payload["jobs"] == 12
    version.refresh_from_db()
    assert version.used_at is not None


def test_a_frozen_spec_holds_everything_that_decides_the_pixels(
    ask: Callable[..., dict[str, Any]], version: PromptVersion, endpoint: Endpoint, brand: Brand
) -> None:
    remake(version, candidates=2, negative="no text", parameters={"steps": 4})
    run = planning.plan(**ask())
    jobs = list(JobSpec.objects.filter(job__run=run).order_by("job"))
    assert len({job.fingerprint for job in jobs}) == len(jobs)
    spec = Spec.from_json(jobs[1].spec)
    assert (spec.prompt, spec.negative, spec.width, spec.candidate) == ("Mug 1 in sage on white", "no text", 600, 2)
    assert spec.parameters == {"steps": 4}
    assert spec.seed != jobs[0].spec["seed"]
    engine = engines.Ready(endpoint.config)
    for job in jobs:
        again = fingerprints.of_spec(brand_id=brand.pk, endpoint=endpoint, engine=engine, spec=job.spec)
        assert again == job.fingerprint


def test_planning_the_same_again_gives_the_same_fingerprints_and_another_brand_other_ones(
    ask: Callable[..., dict[str, Any]], endpoint: Endpoint, brand: Brand, other_brand: Brand
) -> None:
    def prints(run: Run) -> list[str]:
        return list(JobSpec.objects.filter(job__run=run).order_by("job").values_list("fingerprint", flat=True))

    first = planning.plan(**ask())
    assert prints(planning.plan(**ask())) == prints(first)
    spec = JobSpec.objects.filter(job__run=first).first().spec
    engine = engines.Ready({})
    assert fingerprints.of_spec(brand_id=brand.pk, endpoint=endpoint, engine=engine, spec=spec) != fingerprints.of_spec(
        brand_id=other_brand.pk, endpoint=endpoint, engine=engine, spec=spec
    )


def test_random_seeds_differ_and_are_recorded(ask: Callable[..., dict[str, Any]], version: PromptVersion) -> None:
    remake(version, seed_strategy="random")
    assert planning.preview(**ask()).first[0].seed is None
    runs = [planning.plan(**ask()) for _ in range(2)]
    first, second = (
        list(JobSpec.objects.filter(job__run=run).order_by("job").values_list("spec__seed", flat=True)) for run in runs
    )
    assert first != second
    assert len(set(first)) == 6


def test_a_list_makes_one_picture_per_row_and_names_the_rows_that_are_wrong(
    ask: Callable[..., dict[str, Any]], campaign: Campaign, version: PromptVersion
) -> None:
    clay = campaign.subjects.get(key="MUG-2")
    rows = [{"subject": "MUG-1", "backdrop": "white"}, {"subject": clay.pk, "backdrop": "ink", "colour": "red"}]
    run = planning.plan(**ask(shape="list", rows=rows))
    texts = JobSpec.objects.filter(job__run=run).order_by("job").values_list("spec__prompt", flat=True)
    assert list(texts) == ["Mug 1 in sage on white", "Mug 2 in red on ink"]
    assert run.definition == {"rows": rows}
    wrong = [*rows, {"subject": "MUG-9", "backdrop": "white"}, {"subject": "MUG-1", "backdrop": "white"}]
    seen = planning.preview(**ask(shape="list", rows=wrong))
    assert [(problem.subject, problem.kind) for problem in seen.problems] == [
        ("MUG-1", "duplicate"),
        ("MUG-9", "unknown_subject"),
    ]


def test_a_known_master_is_counted_as_reused_and_costs_nothing(
    ask: Callable[..., dict[str, Any]], brand: Brand
) -> None:
    run = planning.plan(**ask())
    known = list(JobSpec.objects.filter(job__run=run).order_by("job").values_list("fingerprint", flat=True))
    factories.MasterFactory(brand=brand, fingerprint=known[0])
    factories.MasterFactory(brand=brand, fingerprint=known[1], was_rejected=True)
    factories.MasterFactory(fingerprint=known[2])
    seen = planning.preview(**ask())
    assert (seen.reused, seen.rejected_before, seen.cost) == (1, 1, Decimal("0.16"))
    assert Master.objects.count() == 3


def test_a_used_prompt_version_never_changes(
    ask: Callable[..., dict[str, Any]], version: PromptVersion, manager: User
) -> None:
    PromptVersion.objects.filter(pk=version.pk).update(status="draft")
    changed = prompt_services.change_version(version_id=version.pk, by=manager, negative="no people")
    assert changed.negative == "no people"
    planning.plan(**ask())
    with pytest.raises(Conflict):
        prompt_services.change_version(version_id=version.pk, by=manager, negative="no hands")


def test_the_queries_of_a_plan_do_not_grow_with_its_jobs(
    ask: Callable[..., dict[str, Any]], campaign: Campaign, version: PromptVersion
) -> None:
    def queries(count: int) -> list[str]:
        campaign.subjects.set(factories.SubjectFactory.create_batch(count, brand=campaign.brand))
        with CaptureQueriesContext(connection) as captured:
            planning.plan(**ask())
        return [query["sql"][:80] for query in captured.captured_queries]

    remake(version, candidates=4)
    queries(1)  # the first use of the version says so once
    few, many = queries(3), queries(60)
    assert len(few) == len(many)
    assert len(few) <= 25, few


def test_a_plan_of_many_chunks_is_whole(
    ask: Callable[..., dict[str, Any]], campaign: Campaign, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(planning, "JOBS_PER_COPY", 7)
    monkeypatch.setattr("generation.services.drafts.CHUNK", 3)
    campaign.subjects.add(*factories.SubjectFactory.create_batch(20, brand=campaign.brand))
    run = planning.plan(**ask())
    assert run.job_count == 46
    assert list(Cell.objects.filter(run=run).values_list("position", flat=True)) == list(range(46))
    for job in JobSpec.objects.filter(job__run=run).select_related("cell__subject", "job"):
        assert job.cell_id == job.job.cell_id
        assert job.spec["prompt"].startswith(job.cell.subject.name)
        assert job.cell.axis_values["backdrop"] in job.spec["prompt"]


def test_a_definition_can_be_read_back_as_plain_json(ask: Callable[..., dict[str, Any]], campaign: Campaign) -> None:
    ids = list(campaign.subjects.order_by("key").values_list("pk", flat=True))[:2]
    run = planning.plan(**ask(subjects=ids))
    assert json.loads(json.dumps(run.definition)) == {"subjects": ids, "axes": {"backdrop": ["white", "clay"]}}
