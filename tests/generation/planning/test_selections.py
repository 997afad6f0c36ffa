"""Test which part of a campaign is planned."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import pytest

from campaigns.models import Campaign, PromptVersion
from core.errors import Invalid, NotAllowed
from core.models import Brand, User
from generation.models import Cell
from generation.services.planning import plans
from generation.services.planning.plan_requests import PlanArguments
from tests.support import factories
from tests.support.racing import race_without_errors

pytestmark = pytest.mark.django_db


def test_only_chosen_aspects_are_planned(plan_arguments: Callable[..., PlanArguments], campaign: Campaign) -> None:
    factories.OutputSpecFactory(campaign=campaign, slug="story", width=900, height=1600)
    run = plans.plan(plan_arguments(aspects=["9:16"]))
    assert set(Cell.objects.filter(run=run).values_list("aspect", flat=True)) == {"9:16"}
    assert run.definition["aspects"] == ["9:16"]
    for wrong in (["3:2"], []):
        with pytest.raises(Invalid):
            plans.preview(plan_arguments(aspects=wrong))


def test_missing_images_are_planned_once(plan_arguments: Callable[..., PlanArguments], campaign: Campaign) -> None:
    factories.OutputSpecFactory(campaign=campaign, slug="story", width=900, height=1600)
    first = plans.plan(plan_arguments(aspects=["1:1"], sample=1))
    rest = plans.plan(plan_arguments(missing_only=True))
    pairs = [set(Cell.objects.filter(run=run).values_list("subject", "aspect")) for run in (first, rest)]
    assert not pairs[0] & pairs[1]
    assert len(pairs[0] | pairs[1]) == 6
    with pytest.raises(Invalid, match="Nothing is missing"):
        plans.plan(plan_arguments(missing_only=True))


def test_a_sample_of_what_is_missing_takes_subjects_that_lack_something(
    plan_arguments: Callable[..., PlanArguments],
) -> None:
    plans.plan(plan_arguments(sample=1))
    assert plans.preview(plan_arguments(missing_only=True, sample=2)).subjects == 2


@pytest.mark.django_db(transaction=True)
def test_two_people_who_plan_missing_images_at_once_do_not_plan_them_twice(
    plan_arguments: Callable[..., PlanArguments], version: PromptVersion
) -> None:
    # Each person uses another version, because the lock of a version serialises only its own plans.
    other = factories.PromptVersionFactory(
        template=version.template, number=version.number + 1, text=version.text, axes=version.axes, needs={},
        parameters={},
    )  # fmt: skip

    def plan(chosen: PromptVersion) -> str:
        try:
            return plans.plan(plan_arguments(missing_only=True, prompt_version=chosen)).state
        except Invalid as refusal:
            return str(refusal)[:18]

    answers = race_without_errors(partial(plan, version), partial(plan, other))
    assert sorted(answers) == ["Nothing is missing", "planned"]
    assert Cell.objects.count() == 6


def test_a_run_is_planned_again_with_another_version_and_stage(
    plan_arguments: Callable[..., PlanArguments], version: PromptVersion, manager: User
) -> None:
    first = plans.plan(plan_arguments(sample=2, axes={"backdrop": ["ink"]}), name="First")
    other = factories.PromptVersionFactory(
        template=version.template, number=version.number + 1, text="{name} near {backdrop}", parameters={}, needs={}
    )
    clone = plans.plan_again(run_id=first.pk, by=manager, prompt_version=other, stage="partial")
    assert (clone.cloned_from, clone.prompt_version, clone.stage, clone.name) == (first, other, "partial", "First")
    cells = [
        list(Cell.objects.filter(run=run).values_list("subject", "values_key", "aspect")) for run in (first, clone)
    ]
    assert cells[0] == cells[1]


def test_a_sample_is_the_same_every_time_and_spread_over_the_subjects(
    plan_arguments: Callable[..., PlanArguments],
) -> None:
    first, second = (plans.preview(plan_arguments(sample=2)) for _ in range(2))
    assert first.subjects == 2
    assert first.first == second.first


def test_another_brands_prompt_endpoint_and_people_are_refused(
    plan_arguments: Callable[..., PlanArguments], other_brand: Brand, designer: User, person: Callable[..., User]
) -> None:
    with pytest.raises(Invalid):
        plans.preview(plan_arguments(prompt_version=factories.PromptVersionFactory(template__brand=other_brand)))
    with pytest.raises(Invalid):
        plans.preview(plan_arguments(endpoint=factories.EndpointFactory(engine="ready", brand=other_brand)))
    with pytest.raises(NotAllowed):
        plans.preview(plan_arguments(by=person("campaign_manager", brand=other_brand)))
    with pytest.raises(NotAllowed):
        plans.preview(plan_arguments(by=designer))
    assert plans.preview(plan_arguments(by=designer, stage="sandbox")).can_be_planned
    stranger = factories.SubjectFactory(brand=other_brand)
    assert plans.preview(plan_arguments(subjects=[stranger.pk])).problems[0].kind == "unknown_subject"
