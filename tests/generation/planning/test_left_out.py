"""Test that images that cannot be made are left out by name, equally in preview, plan and run page."""

from __future__ import annotations

import re
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse

from campaigns.models import Campaign, PromptVersion
from core.errors import Invalid
from core.models import Brand, Event, User
from generation.models import Cell, Endpoint, JobSpec, Run
from generation.services import comparisons, runs
from generation.services.planning import plans
from generation.services.planning.plan_requests import PlanArguments
from tests.generation.planning.planning_helpers import NeedsCutout, update_version, with_cutouts
from tests.support import factories

pytestmark = pytest.mark.django_db

assert NeedsCutout.name == "needs-cutout"  # importing it registers the engine


@pytest.fixture
def cutting(version: PromptVersion) -> Endpoint:
    """Return an endpoint that needs a cut-out of each product; the prompt's axis is its backdrop."""
    update_version(version, parameters={"backdrop": "{backdrop}"}, axes={"backdrop": ["white"]})
    return factories.EndpointFactory(engine="needs-cutout", price_per_image=Decimal("0.04"))


def _no_photo(campaign: Campaign) -> None:
    campaign.subjects.get(key="MUG-2").photos.all().delete()


def _no_cutout(campaign: Campaign) -> None:
    for photo in campaign.subjects.get(key="MUG-2").photos.all():
        photo.cutouts.update(is_accepted=False)


def _no_value(campaign: Campaign) -> None:
    campaign.subjects.filter(key="MUG-2").update(attributes={})


def _blank_value(campaign: Campaign) -> None:
    campaign.subjects.filter(key="MUG-2").update(attributes={"colour": "  "})


def _neither(campaign: Campaign) -> None:
    _no_photo(campaign)
    _no_value(campaign)


LACKING = {
    "no photo": (_no_photo, {"missing_photo"}),
    "no accepted cut-out": (_no_cutout, {"missing_cutout"}),
    "no value": (_no_value, {"missing_value"}),
    "a blank value": (_blank_value, {"missing_value"}),
    "no photo and no value": (_neither, {"missing_photo", "missing_value"}),
}


@pytest.mark.parametrize("lack", LACKING)
def test_one_product_that_lacks_something_does_not_refuse_the_others(
    plan_arguments: Callable[..., PlanArguments], campaign: Campaign, cutting: Endpoint, lack: str
) -> None:
    with_cutouts(campaign)
    take, kinds = LACKING[lack]
    take(campaign)
    seen = plans.preview(plan_arguments(endpoint=cutting))
    assert (seen.can_be_planned, seen.cells, seen.jobs, seen.subjects, seen.left_out_count) == (True, 2, 2, 2, 1)
    run = plans.plan(plan_arguments(endpoint=cutting))
    assert (run.cell_count, run.job_count, run.quoted_cost) == (seen.cells, seen.jobs, seen.cost)
    assert set(Cell.objects.filter(run=run).values_list("subject__key", flat=True)) == {"MUG-1", "MUG-3"}
    assert {(cause["kind"], *cause["subjects"]) for cause in run.left_out} == {(kind, "MUG-2") for kind in kinds}
    assert {cause.kind for cause in seen.left_out} == kinds
    assert Event.objects.get(type="generation.run.planned").payload["left_out"] == 1


def test_an_engines_refusal_leaves_out_its_images_only(
    plan_arguments: Callable[..., PlanArguments], campaign: Campaign, cutting: Endpoint
) -> None:
    with_cutouts(campaign)
    arguments = plan_arguments(endpoint=cutting, axes={"backdrop": ["white", "tartan"]})
    seen = plans.preview(arguments)
    assert (seen.can_be_planned, seen.cells, seen.left_out_count) == (True, 3, 3)
    [cause] = plans.plan(arguments).left_out
    assert (cause["message"], cause["images"], cause["subject_count"]) == ("There is no backdrop “tartan”.", 3, 3)


@pytest.mark.parametrize(
    "wrong",
    [
        {"subjects": [999_999]},
        {"shape": "list", "rows": [{"subject": "MUG-1", "backdrop": "a"}, {"subject": "MUG-9", "backdrop": "a"}]},
        {"shape": "list", "rows": [{"subject": "MUG-1", "backdrop": "a"}, {"subject": "MUG-1", "backdrop": "a"}]},
        {"axes": {"backdrop": ["a"], "seed": ["seven", 1]}},
        {"axes": {"backdrop": ["a"], "seed": ["²"]}},
        {"axes": {"backdrop": ["a"], "seed": ["9" * 300]}},
        {"axes": {"backdrop": ["a", "b" * 600]}},
    ],
)
def test_a_mistake_in_what_is_asked_still_refuses_everything(
    plan_arguments: Callable[..., PlanArguments], count_rows: Callable[[], Any], wrong: dict[str, Any]
) -> None:
    assert not plans.preview(plan_arguments(**wrong)).can_be_planned
    with pytest.raises(Invalid):
        plans.plan(plan_arguments(**wrong))
    assert count_rows() == (0, 0, 0, 0, 0)


def test_an_ab_leaves_nothing_out_because_both_sides_are_of_the_same_products(
    plan_arguments: Callable[..., PlanArguments], campaign: Campaign, version: PromptVersion
) -> None:
    _no_value(campaign)
    other = factories.PromptVersionFactory(
        template=version.template, number=version.number + 1, text="{name} near {backdrop}", needs={}, parameters={}
    )
    with pytest.raises(Invalid):
        comparisons.plan_pair(plan_arguments(), other=other)
    first, second = comparisons.plan_pair(plan_arguments(sample=2), other=other)
    picked = [set(Cell.objects.filter(run=run).values_list("subject__key", flat=True)) for run in (first, second)]
    assert picked == [{"MUG-1", "MUG-3"}] * 2


@pytest.mark.parametrize(("many", "ready", "size"), [(60, 12, 10), (60, 10, 10), (30, 1, 1), (250, 5, 5), (40, 40, 7)])
def test_a_pilot_takes_products_that_are_ready(
    plan_arguments: Callable[..., PlanArguments],
    campaign: Campaign,
    cutting: Endpoint,
    many: int,
    ready: int,
    size: int,
) -> None:
    # The sample is ordered by the hash of the key. Here the first product of that order is never ready.
    subjects = [
        factories.SubjectFactory(brand=campaign.brand, key=f"PILOT-{number}", attributes={"colour": "sage"})
        for number in range(many)
    ]
    campaign.subjects.set(subjects)
    for subject in subjects[many // 2 : many // 2 + ready] if ready < many else subjects:
        factories.CutoutFactory(photo=factories.ReferencePhotoFactory(subject=subject))
    seen = plans.preview(plan_arguments(endpoint=cutting, sample=size))
    assert (seen.can_be_planned, seen.subjects, seen.left_out_count) == (True, size, 0)
    run = plans.plan(plan_arguments(endpoint=cutting, sample=size))
    assert (run.cell_count, run.left_out) == (size, [])
    assert any("passed over" in note for note in seen.notes) is (ready < many)


def test_a_pilot_of_more_products_than_any_database_holds_takes_them_all(
    plan_arguments: Callable[..., PlanArguments],
) -> None:
    assert plans.preview(plan_arguments(sample=2**64)).subjects == plans.preview(plan_arguments()).subjects


def test_a_pilot_names_what_the_rest_lacks_where_too_few_are_ready(
    plan_arguments: Callable[..., PlanArguments], campaign: Campaign, cutting: Endpoint
) -> None:
    factories.CutoutFactory(photo=factories.ReferencePhotoFactory(subject=campaign.subjects.get(key="MUG-3")))
    seen = plans.preview(plan_arguments(endpoint=cutting, sample=2))
    assert (seen.subjects, seen.left_out_count) == (1, 1)
    assert plans.preview(plan_arguments(endpoint=cutting, sample=2)).left_out == seen.left_out


# -- one price -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("reused", "rejected"), [(0, 0), (1, 0), (3, 0), (0, 2), (2, 1)])
def test_preview_run_and_button_show_the_price_that_release_reserves(
    plan_arguments: Callable[..., PlanArguments],
    campaign: Campaign,
    page_client: Callable[[User], Client],
    manager: User,
    reused: int,
    rejected: int,
) -> None:
    prints = list(JobSpec.objects.filter(job__run=plans.plan(plan_arguments())).values_list("fingerprint", flat=True))
    for at, fingerprint in enumerate(prints[: reused + rejected]):
        factories.MasterFactory(brand=campaign.brand, fingerprint=fingerprint, was_rejected=at >= reused)
    seen = plans.preview(plan_arguments())
    run = plans.plan(plan_arguments())
    price = Decimal("0.04") * (6 - reused - rejected)
    assert (seen.cost, run.quoted_cost) == (price, price)
    page = page_client(manager).get(f"/brands/{campaign.brand.slug}/runs/{run.pk}/").content.decode()
    assert re.search(rf"for {price:.2f} EUR\s*</button>", page)
    runs.release(run_id=run.pk, by=manager)
    released = Event.objects.filter(type="generation.run.released").get()
    assert Decimal(released.payload["reserved"]) == price


def test_the_button_follows_what_was_made_since_planning(
    plan_arguments: Callable[..., PlanArguments],
    campaign: Campaign,
    page_client: Callable[[User], Client],
    manager: User,
) -> None:
    run = plans.plan(plan_arguments())
    fingerprint = JobSpec.objects.filter(job__run=run).first().fingerprint
    factories.MasterFactory(brand=campaign.brand, fingerprint=fingerprint)
    page = page_client(manager).get(f"/brands/{campaign.brand.slug}/runs/{run.pk}/").content.decode()
    assert re.search(r"for 0\.20 EUR\s*</button>", page)
    assert "0.24 EUR" not in page


@pytest.mark.parametrize("budget", ["0.00", "0.01", "0.10", "0.20", "0.23"])
def test_over_budget_is_shown_on_the_runs_page_with_the_missing_amount_and_where_to_change_it(
    plan_arguments: Callable[..., PlanArguments],
    campaign: Campaign,
    page_client: Callable[[User], Client],
    manager: User,
    budget: str,
) -> None:
    Campaign.objects.filter(pk=campaign.pk).update(budget=Decimal(budget))
    short = Decimal("0.24") - Decimal(budget)
    run = plans.plan(plan_arguments(campaign=Campaign.objects.get(pk=campaign.pk)))
    client = page_client(manager)
    answer = client.post(f"/brands/{campaign.brand.slug}/runs/{run.pk}/release/")
    page = answer.content.decode()
    assert answer.status_code == 409
    assert 'id="run-head"' in page  # the run page, not an error page
    assert f"{short:.2f} EUR are short." in page
    assert reverse("campaign_edit", args=[campaign.brand.slug, campaign.slug]) + "#id_budget" in page
    run.refresh_from_db()
    assert run.state == "planned"


# -- words and approval ----------------------------------------------------------------------------------------------


@pytest.fixture
def banned(brand: Brand) -> Brand:
    factories.GuideVersionFactory(brand=brand, status="published", number=1, banned_wording=["cheap", "clay"])
    return brand


@pytest.mark.parametrize("stage", ["pilot", "partial", "full"])
@pytest.mark.parametrize("text", ["cheap {name} on {backdrop}", "{name} on {backdrop}"])
def test_a_banned_word_warns_or_refuses_as_the_lead_decided(
    plan_arguments: Callable[..., PlanArguments],
    version: PromptVersion,
    banned: Brand,
    lead: User,
    api_client: Callable[[User], Any],
    stage: str,
    text: str,
) -> None:
    """Use a text with the banned word, and one that gets it only from a value of its axis."""
    update_version(version, text=text)
    seen = plans.preview(plan_arguments(stage=stage))
    assert seen.can_be_planned
    assert any(finding.lint.kind == "banned" for finding in seen.wording)
    address = f"/api/v1/brands/{banned.slug}/"
    client = api_client(lead)
    mark = client.get(address)["ETag"]
    answer = client.patch(address, {"banned_words": "block"}, format="json", HTTP_IF_MATCH=mark)
    assert (answer.status_code, answer.json()["banned_words"]) == (200, "block")
    banned.refresh_from_db()
    campaign = Campaign.objects.get(pk=plan_arguments().campaign.pk)
    seen = plans.preview(plan_arguments(campaign=campaign, stage=stage))
    assert not seen.can_be_planned
    assert {problem.kind for problem in seen.problems} == {"banned_word"}
    with pytest.raises(Invalid, match="bans"):
        plans.plan(plan_arguments(campaign=campaign, stage=stage))
    assert Run.objects.count() == 0
    assert plans.preview(plan_arguments(campaign=campaign, stage="sandbox")).can_be_planned


@pytest.mark.parametrize(("role", "value", "status"), [
    ("lead", "block", 302), ("admin", "block", 302), ("campaign_manager", "block", 403), ("viewer", "block", 403),
    ("lead", "burn", 422), ("lead", "", 422),
])  # fmt: skip
def test_only_a_lead_decides_about_banned_words(
    banned: Brand,
    person: Callable[..., User],
    page_client: Callable[[User], Client],
    role: str,
    value: str,
    status: int,
) -> None:
    client = page_client(person(role))
    answer = client.post(f"/brands/{banned.slug}/guide/banned-words/", {"banned_words": value})
    banned.refresh_from_db()
    assert (answer.status_code, banned.banned_words) == (status, "block" if status == 302 else "warn")
    assert Event.objects.filter(type="core.brand.banned_words_set").count() == (status == 302)


@pytest.mark.parametrize("status", ["draft", "requested"])
@pytest.mark.parametrize("stage", ["sandbox", "pilot", "partial", "full"])
def test_a_full_run_wants_an_approved_version_or_a_written_reason_of_a_lead(
    plan_arguments: Callable[..., PlanArguments],
    campaign: Campaign,
    version: PromptVersion,
    page_client: Callable[[User], Client],
    manager: User,
    lead: User,
    stage: str,
    status: str,
) -> None:
    Campaign.objects.filter(pk=campaign.pk).update(pilot_decisions=0)
    update_version(version, status=status)
    run = plans.plan(plan_arguments(stage=stage))
    address = f"/brands/{campaign.brand.slug}/runs/{run.pk}/release/"
    answer = page_client(manager).post(address)
    run.refresh_from_db()
    if stage != "full":
        assert (answer.status_code, run.state) == (302, "running")
        return
    assert (answer.status_code, run.state) == (409, "planned")
    assert f"No lead has approved v{version.number}" in answer.content.decode()
    assert page_client(manager).post(address, {"override_reason": "The shop opens today."}).status_code == 403
    assert page_client(lead).post(address, {"override_reason": "The shop opens today."}).status_code == 302
    run.refresh_from_db()
    assert (run.state, run.override_reason) == ("running", "The shop opens today.")
    assert "No lead has approved" in Event.objects.get(type="generation.run.released").payload["pilot"]
