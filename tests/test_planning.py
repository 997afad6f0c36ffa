"""Planning: what is previewed, what is refused and which rows a plan writes."""

from __future__ import annotations

import json
import threading
import uuid
from collections.abc import Callable
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.db import connection, connections
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from campaigns.errors import Conflict, Invalid, NotAllowed
from campaigns.models import Brand, Campaign, Event, PromptVersion, Subject, User
from campaigns.services import prompts as prompt_services
from generation.engines.base import Capabilities, Spec, register
from generation.models import Asset, Attempt, Cell, Endpoint, Job, JobSpec, LedgerEntry, Master, Run, Worker
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


def test_files_that_would_share_a_name_are_refused_with_the_missing_placeholder(
    ask: Callable[..., dict[str, Any]], campaign: Campaign, count_rows: Callable[[], Any]
) -> None:
    campaign.output_specs.filter(slug="shop").update(name_pattern="{sku}")
    campaign.output_specs.filter(slug="thumb").update(name_pattern="{sku}_{variation}_small")
    seen = planning.preview(**ask())
    [collision] = seen.collisions
    assert (collision.spec, collision.count, collision.name, collision.lacking) == ("shop", 3, "MUG-1.jpg", "variation")
    assert not seen.can_be_planned
    with pytest.raises(Invalid, match=r"add \{variation\} to the file name") as refusal:
        planning.plan(**ask())
    assert refusal.value.problems[0].pointer == "output_specs/shop/name_pattern"
    assert count_rows() == (0, 0, 0, 0, 0)
    assert planning.plan(**ask(stage="sandbox")).cell_count == 6
    assert planning.plan(**ask(axes={"backdrop": ["white"]})).cell_count == 3


def test_names_collide_as_they_are_written_on_a_disk(ask: Callable[..., dict[str, Any]], campaign: Campaign) -> None:
    campaign.output_specs.filter(slug="thumb").delete()
    campaign.output_specs.update(name_pattern="{sku}_{variation}")
    Subject.objects.filter(key="MUG-2").update(key="mug 1")
    seen = planning.preview(**ask(axes={"backdrop": ["Off White", "off-white"]}))
    [collision] = seen.collisions
    assert (collision.count, collision.lacking) == (4, "")
    assert "lost in a file's name" in collision.message


def test_two_outputs_of_one_picture_may_not_share_a_name(
    ask: Callable[..., dict[str, Any]], campaign: Campaign
) -> None:
    campaign.output_specs.update(name_pattern="{sku}_{asset_type}_{variation}")
    [collision] = planning.preview(**ask()).collisions
    assert (collision.spec, collision.count, collision.lacking) == ("thumb", 6, "spec")
    campaign.output_specs.filter(slug="thumb").update(image_format="webp")
    assert planning.preview(**ask()).can_be_planned


def test_a_name_pattern_that_cannot_be_filled_is_refused_before_anything_is_made(
    ask: Callable[..., dict[str, Any]], campaign: Campaign
) -> None:
    campaign.output_specs.filter(slug="shop").update(name_pattern="{sku}_{colour}")
    with pytest.raises(Invalid) as refusal:
        planning.preview(**ask())
    assert "There is no {colour}" in refusal.value.problems[0].message


# -- how long and how dear -----------------------------------------------------------------------------------------


def attempts(endpoint: Endpoint, seconds: list[float], *, batch_key: str = "old", paid: str | None = None) -> None:
    """Succeeded attempts, one after the other on one worker, each as long as it says."""
    run = factories.RunFactory(endpoint=endpoint)
    at = timezone.now()
    for number, took in enumerate(seconds):
        frozen = factories.JobSpecFactory(
            job__run=run, job__batch_key=batch_key, job__status="succeeded", quoted_cost=Decimal("0.04"),
            candidate=number + 1,
        )  # fmt: skip
        started, at = at, at + timedelta(seconds=took)
        # Claimed while the one before was at work, as claims are: only the time since that one's end counts.
        claimed = started - timedelta(seconds=30) if number else started
        Attempt.objects.create(
            job=frozen.job, number=1, lease_token=uuid.uuid4(), endpoint=endpoint, worker="gpu-1", outcome="succeeded",
            started_at=claimed, ended_at=at,
        )  # fmt: skip
        if paid is not None:
            LedgerEntry.objects.create(
                campaign=run.campaign, run=run, job=frozen.job, kind="settle", amount=Decimal(paid)
            )


def test_without_history_a_preview_says_so(ask: Callable[..., dict[str, Any]]) -> None:
    seen = planning.preview(**ask())
    assert (seen.measured, seen.seconds_low, seen.cost_high) == (0, None, None)
    attempts(factories.EndpointFactory(), [1.0] * 3)
    assert planning.preview(**ask()).measured == 0


def test_time_and_cost_lie_between_what_the_endpoints_pictures_took_lately(
    ask: Callable[..., dict[str, Any]], endpoint: Endpoint
) -> None:
    attempts(endpoint, [float(seconds) for seconds in range(1, 12)], paid="0.06")
    seen = planning.preview(**ask())
    assert seen.measured == 11
    assert seen.seconds_low == pytest.approx(6 * 2.0)
    assert seen.seconds_high == pytest.approx(6 * 10.0)
    assert (seen.cost_low, seen.cost_high) == (Decimal("0.24"), Decimal("0.36"))


def test_workers_share_the_work_and_what_is_queued_may_go_first(
    ask: Callable[..., dict[str, Any]], endpoint: Endpoint
) -> None:
    attempts(endpoint, [2.0] * 10)
    now = timezone.now()
    for name in ("gpu-1", "gpu-2"):
        Worker.objects.create(name=name, lanes=["gpu"], host="h", pid=1, started_at=now, seen_at=now)
    factories.JobFactory.create_batch(4)
    seen = planning.preview(**ask())
    assert (seen.workers, seen.ahead) == (2, 4)
    assert seen.seconds_low == pytest.approx(6 * 2.0 / 2)
    assert seen.seconds_high == pytest.approx((6 + 4) * 2.0 / 2)


def test_a_size_made_often_enough_counts_for_itself(ask: Callable[..., dict[str, Any]], endpoint: Endpoint) -> None:
    planning.plan(**ask())
    own = Job.objects.values_list("batch_key", flat=True).first()
    attempts(endpoint, [9.0] * 20, batch_key="another size")
    assert planning.preview(**ask()).seconds_low == pytest.approx(6 * 9.0)
    attempts(endpoint, [1.0] * 8, batch_key=own)
    seen = planning.preview(**ask())
    assert (seen.measured, seen.seconds_high) == (8, pytest.approx(6 * 1.0))


def test_a_budget_that_only_the_dearest_would_exceed_is_told(
    ask: Callable[..., dict[str, Any]], campaign: Campaign, endpoint: Endpoint
) -> None:
    attempts(endpoint, [1.0] * 10, paid="0.08")
    Campaign.objects.filter(pk=campaign.pk).update(budget=Decimal("0.30"))
    campaign.refresh_from_db()
    seen = planning.preview(**ask())
    assert (seen.fits_budget, seen.may_exceed_budget) == (True, True)
    Campaign.objects.filter(pk=campaign.pk).update(budget=Decimal("0.20"))
    campaign.refresh_from_db()
    assert not planning.preview(**ask()).fits_budget


def test_cells_with_an_approved_picture_are_counted(ask: Callable[..., dict[str, Any]]) -> None:
    run = planning.plan(**ask())
    Asset.objects.filter(cell__run=run, subject__key="MUG-1").update(state="approved")
    assert planning.preview(**ask()).approved_before == 2
    assert planning.preview(**ask(missing_only=True)).cells == 0


# -- what of the campaign ------------------------------------------------------------------------------------------


def test_only_chosen_aspects_are_planned(ask: Callable[..., dict[str, Any]], campaign: Campaign) -> None:
    factories.OutputSpecFactory(campaign=campaign, slug="story", width=900, height=1600)
    run = planning.plan(**ask(aspects=["9:16"]))
    assert set(Cell.objects.filter(run=run).values_list("aspect", flat=True)) == {"9:16"}
    assert run.definition["aspects"] == ["9:16"]
    for wrong in (["3:2"], []):
        with pytest.raises(Invalid):
            planning.preview(**ask(aspects=wrong))


def test_what_is_missing_is_planned_once(ask: Callable[..., dict[str, Any]], campaign: Campaign) -> None:
    factories.OutputSpecFactory(campaign=campaign, slug="story", width=900, height=1600)
    first = planning.plan(**ask(aspects=["1:1"], sample=1))
    rest = planning.plan(**ask(missing_only=True))
    pairs = [set(Cell.objects.filter(run=run).values_list("subject", "aspect")) for run in (first, rest)]
    assert not pairs[0] & pairs[1]
    assert len(pairs[0] | pairs[1]) == 6
    with pytest.raises(Invalid, match="Nothing is missing"):
        planning.plan(**ask(missing_only=True))


def test_a_sample_of_what_is_missing_takes_subjects_that_lack_something(ask: Callable[..., dict[str, Any]]) -> None:
    planning.plan(**ask(sample=1))
    assert planning.preview(**ask(missing_only=True, sample=2)).subjects == 2


@pytest.mark.django_db(transaction=True)
def test_two_people_who_plan_what_is_missing_at_once_do_not_plan_it_twice(
    ask: Callable[..., dict[str, Any]], version: PromptVersion
) -> None:
    # Each with a version of their own: a version's lock keeps only its own plans apart.
    other = factories.PromptVersionFactory(
        template=version.template, number=version.number + 1, text=version.text, axes=version.axes, needs={},
        parameters={},
    )  # fmt: skip
    start = threading.Barrier(2)
    answers: list[str] = []

    def plan(chosen: PromptVersion) -> None:
        start.wait()
        try:
            answers.append(planning.plan(**ask(missing_only=True, prompt_version=chosen)).state)
        except Invalid as refusal:
            answers.append(str(refusal)[:18])
        finally:
            connections.close_all()

    people = [threading.Thread(target=plan, args=[chosen]) for chosen in (version, other)]
    for one in people:
        one.start()
    for one in people:
        one.join()
    assert sorted(answers) == ["Nothing is missing", "planned"]
    assert Cell.objects.count() == 6


def test_a_run_is_planned_again_with_another_version_and_stage(
    ask: Callable[..., dict[str, Any]], version: PromptVersion, manager: User
) -> None:
    first = planning.plan(**ask(sample=2, axes={"backdrop": ["ink"]}, name="First"))
    other = factories.PromptVersionFactory(
        template=version.template, number=version.number + 1, text="{name} near {backdrop}", parameters={}, needs={}
    )
    again = planning.plan_again(run_id=first.pk, by=manager, prompt_version=other, stage="partial")
    assert (again.cloned_from, again.prompt_version, again.stage, again.name) == (first, other, "partial", "First")
    cells = [
        list(Cell.objects.filter(run=run).values_list("subject", "values_key", "aspect")) for run in (first, again)
    ]
    assert cells[0] == cells[1]


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
