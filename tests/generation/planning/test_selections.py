"""Test which part of a campaign is planned."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest
from django.db import connections

from campaigns.models import Campaign, PromptVersion
from core.errors import Invalid, NotAllowed
from core.models import Brand, User
from generation.models import Cell
from generation.services.planning import plans
from tests.support import factories

pytestmark = pytest.mark.django_db


def test_only_chosen_aspects_are_planned(ask: Callable[..., dict[str, Any]], campaign: Campaign) -> None:
    factories.OutputSpecFactory(campaign=campaign, slug="story", width=900, height=1600)
    run = plans.plan(**ask(aspects=["9:16"]))
    assert set(Cell.objects.filter(run=run).values_list("aspect", flat=True)) == {"9:16"}
    assert run.definition["aspects"] == ["9:16"]
    for wrong in (["3:2"], []):
        with pytest.raises(Invalid):
            plans.preview(**ask(aspects=wrong))


def test_what_is_missing_is_planned_once(ask: Callable[..., dict[str, Any]], campaign: Campaign) -> None:
    factories.OutputSpecFactory(campaign=campaign, slug="story", width=900, height=1600)
    first = plans.plan(**ask(aspects=["1:1"], sample=1))
    rest = plans.plan(**ask(missing_only=True))
    pairs = [set(Cell.objects.filter(run=run).values_list("subject", "aspect")) for run in (first, rest)]
    assert not pairs[0] & pairs[1]
    assert len(pairs[0] | pairs[1]) == 6
    with pytest.raises(Invalid, match="Nothing is missing"):
        plans.plan(**ask(missing_only=True))


def test_a_sample_of_what_is_missing_takes_subjects_that_lack_something(ask: Callable[..., dict[str, Any]]) -> None:
    plans.plan(**ask(sample=1))
    assert plans.preview(**ask(missing_only=True, sample=2)).subjects == 2


@pytest.mark.django_db(transaction=True)
def test_two_people_who_plan_what_is_missing_at_once_do_not_plan_it_twice(
    ask: Callable[..., dict[str, Any]], version: PromptVersion
) -> None:
    # Each person uses another version, because the lock of a version serialises only its own plans.
    other = factories.PromptVersionFactory(
        template=version.template, number=version.number + 1, text=version.text, axes=version.axes, needs={},
        parameters={},
    )  # fmt: skip
    start = threading.Barrier(2)
    answers: list[str] = []

    def plan(chosen: PromptVersion) -> None:
        start.wait()
        try:
            answers.append(plans.plan(**ask(missing_only=True, prompt_version=chosen)).state)
        except Invalid as refusal:
            answers.append(str(refusal)[:18])
        finally:
            connections.close_all()

    people = [threading.Thread(target=plan, args=[chosen]) for chosen in (version, other)]
    for thread in people:
        thread.start()
    for thread in people:
        thread.join()
    assert sorted(answers) == ["Nothing is missing", "planned"]
    assert Cell.objects.count() == 6


def test_a_run_is_planned_again_with_another_version_and_stage(
    ask: Callable[..., dict[str, Any]], version: PromptVersion, manager: User
) -> None:
    first = plans.plan(**ask(sample=2, axes={"backdrop": ["ink"]}, name="First"))
    other = factories.PromptVersionFactory(
        template=version.template, number=version.number + 1, text="{name} near {backdrop}", parameters={}, needs={}
    )
    clone = plans.plan_again(run_id=first.pk, by=manager, prompt_version=other, stage="partial")
    assert (clone.cloned_from, clone.prompt_version, clone.stage, clone.name) == (first, other, "partial", "First")
    cells = [
        list(Cell.objects.filter(run=run).values_list("subject", "values_key", "aspect")) for run in (first, clone)
    ]
    assert cells[0] == cells[1]


def test_a_sample_is_the_same_every_time_and_spread_over_the_subjects(ask: Callable[..., dict[str, Any]]) -> None:
    first, second = (plans.preview(**ask(sample=2)) for _ in range(2))
    assert first.subjects == 2
    assert first.first == second.first


def test_another_brands_prompt_endpoint_and_people_are_refused(
    ask: Callable[..., dict[str, Any]], other_brand: Brand, designer: User, person: Callable[..., User]
) -> None:
    with pytest.raises(Invalid):
        plans.preview(**ask(prompt_version=factories.PromptVersionFactory(template__brand=other_brand)))
    with pytest.raises(Invalid):
        plans.preview(**ask(endpoint=factories.EndpointFactory(engine="ready", brand=other_brand)))
    with pytest.raises(NotAllowed):
        plans.preview(**ask(by=person("campaign_manager", brand=other_brand)))
    with pytest.raises(NotAllowed):
        plans.preview(**ask(by=designer))
    assert plans.preview(**ask(by=designer, stage="sandbox")).can_be_planned
    stranger = factories.SubjectFactory(brand=other_brand)
    assert plans.preview(**ask(subjects=[stranger.pk])).problems[0].kind == "unknown_subject"
