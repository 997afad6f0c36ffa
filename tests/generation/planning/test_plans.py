"""Test which rows a plan writes, and what it freezes."""

from __future__ import annotations

import json
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from campaigns.models import Campaign, PromptVersion
from campaigns.services import prompts as prompt_services
from core.errors import Conflict
from core.models import Brand, Event, User
from generation.engines.base import Spec
from generation.models import Asset, Cell, Endpoint, Job, JobSpec, Master, Run
from generation.services.planning import fingerprints, plans
from generation.services.planning.plan_requests import PlanArguments
from tests.generation.planning.planning_helpers import update_version
from tests.support import engines, factories

pytestmark = pytest.mark.django_db


def test_a_plan_writes_cells_jobs_specs_and_assets_and_one_event(
    plan_arguments: Callable[..., PlanArguments], version: PromptVersion, count_rows: Callable[[], Any], brand: Brand
) -> None:
    update_version(version, candidates=2)
    run = plans.plan(plan_arguments())
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
    plan_arguments: Callable[..., PlanArguments], version: PromptVersion, endpoint: Endpoint, brand: Brand
) -> None:
    update_version(version, candidates=2, negative="no text", parameters={"steps": 4})
    run = plans.plan(plan_arguments())
    jobs = list(JobSpec.objects.filter(job__run=run).order_by("job"))
    assert len({job.fingerprint for job in jobs}) == len(jobs)
    spec = Spec.from_json(jobs[1].spec)
    assert (spec.prompt, spec.negative, spec.width, spec.candidate) == ("Mug 1 in sage on white", "no text", 600, 2)
    assert spec.parameters == {"steps": 4}
    assert spec.seed != jobs[0].spec["seed"]
    engine = engines.ReadyEngine(endpoint.config)
    maker = fingerprints.get_maker(endpoint, engine)
    for job in jobs:
        recomputed = fingerprints.fingerprint_spec(brand_id=brand.pk, maker=maker, engine=engine, spec=job.spec)
        assert recomputed == job.fingerprint


def test_planning_the_same_again_gives_the_same_fingerprints_and_another_brand_other_ones(
    plan_arguments: Callable[..., PlanArguments], endpoint: Endpoint, brand: Brand, other_brand: Brand
) -> None:
    def prints(run: Run) -> list[str]:
        return list(JobSpec.objects.filter(job__run=run).order_by("job").values_list("fingerprint", flat=True))

    first = plans.plan(plan_arguments())
    assert prints(plans.plan(plan_arguments())) == prints(first)
    spec = JobSpec.objects.filter(job__run=first).first().spec
    engine = engines.ReadyEngine({})
    arguments = {"maker": fingerprints.get_maker(endpoint, engine), "engine": engine, "spec": spec}
    own_print, other_print = (
        fingerprints.fingerprint_spec(brand_id=owner.pk, **arguments) for owner in (brand, other_brand)
    )
    assert own_print != other_print


def test_random_seeds_differ_and_are_recorded(
    plan_arguments: Callable[..., PlanArguments], version: PromptVersion
) -> None:
    update_version(version, seed_strategy="random")
    assert plans.preview(plan_arguments()).first[0].seed is None
    runs = [plans.plan(plan_arguments()) for _ in range(2)]
    first, second = (
        list(JobSpec.objects.filter(job__run=run).order_by("job").values_list("spec__seed", flat=True)) for run in runs
    )
    assert first != second
    assert len(set(first)) == 6


def test_a_list_makes_one_image_per_row_and_names_the_rows_that_are_wrong(
    plan_arguments: Callable[..., PlanArguments], campaign: Campaign, version: PromptVersion
) -> None:
    clay = campaign.subjects.get(key="MUG-2")
    rows = [{"subject": "MUG-1", "backdrop": "white"}, {"subject": clay.pk, "backdrop": "ink", "colour": "red"}]
    run = plans.plan(plan_arguments(shape="list", rows=rows))
    texts = JobSpec.objects.filter(job__run=run).order_by("job").values_list("spec__prompt", flat=True)
    assert list(texts) == ["Mug 1 in sage on white", "Mug 2 in red on ink"]
    assert run.definition == {"rows": rows}
    wrong = [*rows, {"subject": "MUG-9", "backdrop": "white"}, {"subject": "MUG-1", "backdrop": "white"}]
    seen = plans.preview(plan_arguments(shape="list", rows=wrong))
    assert [(problem.subject, problem.kind) for problem in seen.problems] == [
        ("MUG-1", "duplicate"),
        ("MUG-9", "unknown_subject"),
    ]


def test_a_known_master_is_counted_as_reused_and_costs_nothing(
    plan_arguments: Callable[..., PlanArguments], brand: Brand
) -> None:
    run = plans.plan(plan_arguments())
    prints = list(JobSpec.objects.filter(job__run=run).order_by("job").values_list("fingerprint", flat=True))
    factories.MasterFactory(brand=brand, fingerprint=prints[0])
    factories.MasterFactory(brand=brand, fingerprint=prints[1], was_rejected=True)
    factories.MasterFactory(fingerprint=prints[2])
    seen = plans.preview(plan_arguments())
    assert (seen.reused, seen.rejected_before, seen.cost) == (1, 1, Decimal("0.16"))
    assert Master.objects.count() == 3


def test_a_used_prompt_version_never_changes(
    plan_arguments: Callable[..., PlanArguments], version: PromptVersion, manager: User
) -> None:
    PromptVersion.objects.filter(pk=version.pk).update(status="draft")
    changed = prompt_services.edit_draft_version(version_id=version.pk, by=manager, negative="no people")
    assert changed.negative == "no people"
    plans.plan(plan_arguments())
    with pytest.raises(Conflict):
        prompt_services.edit_draft_version(version_id=version.pk, by=manager, negative="no hands")


def test_the_queries_of_a_plan_do_not_grow_with_its_jobs(
    plan_arguments: Callable[..., PlanArguments], campaign: Campaign, version: PromptVersion
) -> None:
    def queries(count: int) -> list[str]:
        campaign.subjects.set(factories.SubjectFactory.create_batch(count, brand=campaign.brand))
        with CaptureQueriesContext(connection) as captured:
            plans.plan(plan_arguments())
        return [query["sql"][:80] for query in captured.captured_queries]

    update_version(version, candidates=4)
    queries(1)  # the first use of a version needs extra queries
    few, many = queries(3), queries(60)
    assert len(few) == len(many)
    assert len(few) <= 25, few


def test_a_plan_of_many_chunks_is_whole(
    plan_arguments: Callable[..., PlanArguments], campaign: Campaign, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plans, "JOBS_PER_COPY", 7)
    monkeypatch.setattr("generation.services.planning.drafts.CHUNK", 3)
    campaign.subjects.add(*factories.SubjectFactory.create_batch(20, brand=campaign.brand))
    run = plans.plan(plan_arguments())
    assert run.job_count == 46
    assert list(Cell.objects.filter(run=run).values_list("position", flat=True)) == list(range(46))
    for job in JobSpec.objects.filter(job__run=run).select_related("cell__subject", "job"):
        assert job.cell_id == job.job.cell_id
        assert job.spec["prompt"].startswith(job.cell.subject.name)
        assert job.cell.axis_values["backdrop"] in job.spec["prompt"]


def test_a_definition_can_be_read_back_as_plain_json(
    plan_arguments: Callable[..., PlanArguments], campaign: Campaign
) -> None:
    ids = list(campaign.subjects.order_by("key").values_list("pk", flat=True))[:2]
    run = plans.plan(plan_arguments(subjects=ids))
    assert json.loads(json.dumps(run.definition)) == {"subjects": ids, "axes": {"backdrop": ["white", "clay"]}}
