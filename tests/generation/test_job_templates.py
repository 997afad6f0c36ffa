"""Test job templates, A/B pairs and clones: their defaults, and what they add only on request."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from campaigns.models import Campaign, OutputSpec, PromptVersion
from core.errors import Conflict, Invalid, NotAllowed, NotFound
from core.models import Brand, User
from generation.choices import Stage
from generation.models import Cell, Endpoint, JobSpec, Run
from generation.selectors import runs
from generation.services import comparisons
from generation.services.planning import job_templates, plans
from generation.services.planning.plan_requests import PlanArguments
from tests.support import engines, factories

pytestmark = pytest.mark.django_db

assert engines.ReadyEngine.name == "ready"  # importing it registers the engine


@pytest.fixture
def campaign(brand: Brand) -> Campaign:
    mugs = [factories.SubjectFactory(brand=brand, key=f"MUG-{n}", name=f"Mug {n}") for n in range(3)]
    made = factories.CampaignFactory(brand=brand, subjects=mugs)
    factories.OutputSpecFactory(campaign=made, slug="shop", width=600, height=600)
    return made


@pytest.fixture
def endpoint() -> Endpoint:
    return factories.EndpointFactory(engine="ready")


@pytest.fixture
def version(brand: Brand) -> PromptVersion:
    return factories.PromptVersionFactory(
        template__brand=brand, number=1, text="{name} on {backdrop}", axes={"backdrop": ["white"]}, parameters={},
        needs={},
    )  # fmt: skip


@pytest.fixture
def plan_arguments(campaign: Campaign, version: PromptVersion, endpoint: Endpoint, manager: User) -> dict[str, Any]:
    return {"campaign": campaign, "prompt_version": version, "endpoint": endpoint, "stage": "pilot", "by": manager}


# -- templates -----------------------------------------------------------------------------------------------------


def test_every_template_wants_outputs_whose_names_differ() -> None:
    for template in job_templates.ALL:
        assert len({spec.slug for spec in template.specs}) == len(template.specs)
        assert template.stage in Stage.values
    assert len(job_templates.aspects(job_templates.BY_SLUG["social"])) == 4


def test_outputs_are_added_beside_those_that_are_there(campaign: Campaign, manager: User) -> None:
    factories.OutputSpecFactory(campaign=campaign, slug="story", width=1440, height=2560)
    factories.OutputSpecFactory(campaign=campaign, slug="social-square", width=100, height=100)
    with pytest.raises(NotFound):
        job_templates.add_outputs(campaign_id=campaign.pk, slug="nothing", by=manager)
    template = job_templates.BY_SLUG["social"]
    lacking = job_templates.find_missing_outputs(template, list(campaign.output_specs.all()))
    assert [spec.slug for spec in lacking] == ["social-square", "social-portrait", "social-wide"]
    before = set(campaign.output_specs.values_list("pk", "slug"))
    job_templates.add_outputs(campaign_id=campaign.pk, slug="social", by=manager)
    after = set(campaign.output_specs.values_list("pk", "slug"))
    assert before < after
    assert {slug for _, slug in after - before} == {"social-square-2", "social-portrait", "social-wide"}
    with pytest.raises(Conflict):
        job_templates.add_outputs(campaign_id=campaign.pk, slug="social", by=manager)


def test_only_people_who_may_edit_the_campaign_add_outputs(campaign: Campaign, designer: User) -> None:
    with pytest.raises(NotAllowed):
        job_templates.add_outputs(campaign_id=campaign.pk, slug="blog", by=designer)
    assert OutputSpec.objects.count() == 1


# -- two versions --------------------------------------------------------------------------------------------------


def seeds(run: Run) -> list[int]:
    return list(JobSpec.objects.filter(job__run=run).order_by("job").values_list("spec__seed", flat=True))


def test_two_versions_get_the_same_subjects_values_and_seeds(
    plan_arguments: dict[str, Any], version: PromptVersion, brand: Brand
) -> None:
    other = factories.PromptVersionFactory(
        template=version.template, number=2, text="{name}, softly lit, on {backdrop}", axes={}, needs={}, parameters={}
    )
    first, second = comparisons.plan_pair(PlanArguments(sample=2, **plan_arguments), other=other)
    assert (first.prompt_version, second.prompt_version, second.cloned_from) == (version, other, first)
    assert seeds(first) == seeds(second)
    cells = [
        list(Cell.objects.filter(run=run).values_list("subject", "values_key", "aspect")) for run in (first, second)
    ]
    assert cells[0] == cells[1]
    assert len(cells[0]) == 2
    sides = runs.compare_runs(first, second)
    assert [(pair["one"].cell.run_id, pair["two"].cell.run_id) for pair in sides["pairs"]] == [
        (first.pk, second.pk)
    ] * 2


def test_versions_with_seeds_of_their_own_get_one_seed_for_both(
    plan_arguments: dict[str, Any], version: PromptVersion, brand: Brand
) -> None:
    other = factories.PromptVersionFactory(
        template__brand=brand, text="{name} on {backdrop}", seed_strategy="random", seed=7, needs={}, parameters={}
    )
    first, second = comparisons.plan_pair(PlanArguments(**plan_arguments), other=other)
    assert seeds(first) == seeds(second)
    assert len(set(seeds(first))) == 1


def test_a_pair_is_planned_whole_or_not_at_all(
    plan_arguments: dict[str, Any], version: PromptVersion, brand: Brand
) -> None:
    with pytest.raises(Invalid, match="two versions"):
        comparisons.plan_pair(PlanArguments(**plan_arguments), other=version)
    other = factories.PromptVersionFactory(template__brand=brand, text="{name} on {backdrop} in {glaze}", needs={})
    with pytest.raises(Invalid):
        comparisons.plan_pair(PlanArguments(**plan_arguments), other=other)
    with pytest.raises(Invalid, match="sandbox or a pilot"):
        comparisons.plan_pair(PlanArguments(**plan_arguments | {"stage": "full"}), other=other)
    assert Run.objects.count() == 0


# -- clones --------------------------------------------------------------------------------------------------------


def test_a_clone_says_what_was_asked_with_keys_for_ids(
    plan_arguments: dict[str, Any], campaign: Campaign, manager: User
) -> None:
    ids = list(campaign.subjects.order_by("key").values_list("pk", flat=True)[:2])
    run = plans.plan(
        PlanArguments(**plan_arguments, subjects=ids, axes={"backdrop": ["white", "clay"]}, aspects=["1:1"]),
        name="First",
    )
    run, copy = plans.copy_run(run_id=run.pk, by=manager)
    assert [subject.key for subject in copy.subjects or ()] == ["MUG-0", "MUG-1"]
    assert (copy.axes, copy.aspects) == ({"backdrop": ["white", "clay"]}, ["1:1"])
    assert (run.name, copy.prompt_version, copy.stage) == ("First", plan_arguments["prompt_version"], "pilot")
    _run, everything = plans.copy_run(run_id=plans.plan(PlanArguments(**plan_arguments, sample=2)).pk, by=manager)
    assert (everything.subjects, everything.sample, everything.missing_only) == (None, 2, False)


def test_a_list_is_cloned_row_by_row(plan_arguments: dict[str, Any], campaign: Campaign, manager: User) -> None:
    first = campaign.subjects.get(key="MUG-0")
    rows = [{"subject": first.pk, "backdrop": "ink"}, {"subject": "MUG-1", "backdrop": "sand", "seed": 4}]
    _run, copy = plans.copy_run(
        run_id=plans.plan(PlanArguments(**plan_arguments, shape="list", rows=rows)).pk, by=manager
    )
    assert copy.rows == [{"subject": "MUG-0", "backdrop": "ink"}, rows[1]]


def test_strangers_clone_nothing(
    plan_arguments: dict[str, Any], person: Callable[..., User], other_brand: Brand, manager: User
) -> None:
    run = plans.plan(PlanArguments(**plan_arguments))
    with pytest.raises(NotFound):
        plans.copy_run(run_id=run.pk, by=person("lead", brand=other_brand))
    theirs = factories.RunFactory(campaign__brand=other_brand)
    with pytest.raises(NotFound):
        plans.plan(PlanArguments(**plan_arguments), cloned_from=theirs)
