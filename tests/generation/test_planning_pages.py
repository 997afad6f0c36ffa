"""Test the new-run page: its initial values, its preview, and the run that it plans."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from campaigns.models import Campaign, PromptVersion
from core import clock
from core.models import Brand, User
from generation.models import Asset, Cell, Endpoint, Run
from generation.views import run_form
from generation.views.run_form import RunForm
from tests.support import engines, factories

pytestmark = pytest.mark.django_db

assert engines.ReadyEngine.name == "ready"  # importing it registers the engine


@pytest.fixture
def campaign(brand: Brand) -> Campaign:
    mugs = [
        factories.SubjectFactory(brand=brand, key=f"MUG-{n}", name=f"Mug {n}", attributes={"colour": colour})
        for n, colour in enumerate(("sage", "clay", "clay", "teal"))
    ]
    made = factories.CampaignFactory(brand=brand, subjects=mugs, slug="autumn")
    factories.OutputSpecFactory(campaign=made, slug="shop", width=600, height=600)
    factories.OutputSpecFactory(campaign=made, slug="story", width=900, height=1600)
    return made


@pytest.fixture
def version(brand: Brand) -> PromptVersion:
    return factories.PromptVersionFactory(
        template__brand=brand, text="{name} in {colour} on {backdrop}", axes={"backdrop": ["white"]}, parameters={},
        needs={},
    )  # fmt: skip


@pytest.fixture
def endpoint() -> Endpoint:
    return factories.EndpointFactory(engine="ready", price_per_image=Decimal("0.10"))


@pytest.fixture
def filled(version: PromptVersion, endpoint: Endpoint) -> Callable[..., dict[str, Any]]:
    """Return a function that makes the form fields as a browser sends them, some of them changed."""

    def fill(**changes: Any) -> dict[str, Any]:
        plain = {
            "prompt": version.pk,
            "endpoint": endpoint.pk,
            "stage": "pilot",
            "shape": "matrix",
            "pick": "all",
            "sample": "0",
            "axes_shown": "1",
            "axis": ["backdrop", ""],
            "values": ["white", ""],
            "aspects_shown": "1",
            "aspect": ["1:1", "9:16"],
            "release": "hand",
        }
        return plain | changes

    return fill


@pytest.fixture
def pages(page_client: Callable[[User], Client], manager: User) -> Client:
    return page_client(manager)


@pytest.fixture
def base(campaign: Campaign) -> str:
    return f"/brands/{campaign.brand.slug}/campaigns/autumn/runs/"


def test_the_page_opens_with_a_pilot_and_offers_the_common_jobs(
    pages: Client, base: str, version: PromptVersion
) -> None:
    page = pages.get(f"{base}new/")
    form = page.context["form"]
    assert (form.stage, form.sample, form.pick) == ("pilot", "10", "all")
    assert "Social set in four aspects" in page.content.decode()
    assert page.context["axis_rows"] == [("backdrop", "white"), ("", "")]


def test_a_template_prefills_and_offers_the_outputs_that_are_lacking(
    pages: Client, base: str, campaign: Campaign, version: PromptVersion
) -> None:
    page = pages.get(f"{base}new/?template=social")
    assert page.context["form"].aspects == ["1:1", "4:5", "9:16", "16:9"]
    assert [spec.slug for spec in page.context["lacking"]] == [
        "social-square",
        "social-portrait",
        "social-story",
        "social-wide",
    ]
    answer = pages.post(f"{base}new/outputs/", {"template": "social"})
    assert (answer.status_code, answer.url) == (302, f"{base}new/?template=social")
    assert campaign.output_specs.count() == 6
    missing = pages.get(f"{base}new/?template=missing&stage=full&prompt={version.pk}").context["form"]
    assert (missing.pick, missing.stage, missing.sample) == ("missing", "full", "0")


def test_the_preview_counts_prices_and_says_that_there_is_no_history(
    pages: Client, base: str, filled: Callable[..., dict[str, Any]]
) -> None:
    page = pages.post(f"{base}preview/", filled()).content.decode()
    assert "<dd>8</dd>" in page
    assert "0.80 EUR" in page
    assert "no history of this engine yet" in page
    assert Run.objects.count() == 0


@pytest.mark.parametrize(
    ("changes", "count"),
    [
        ({"sample": "2"}, 4),
        ({"aspect": ["9:16"]}, 4),
        ({"pick": "some", "attribute": "colour", "value": "Clay"}, 4),
        ({"pick": "some", "words": "mug-3"}, 2),
        ({"pick": "named", "skus": "MUG-0\nMUG-2, MUG-3"}, 6),
        ({"axis": ["backdrop", "colour"], "values": ["white, ink", "red"]}, 16),
        ({"axis": ["backdrop"], "values": ["off, white; ink"]}, 16),
        ({"shape": "list", "table": "sku\tbackdrop\taspect\nMUG-1\tink\t1:1\nMUG-2\tsand\t9:16\n"}, 2),
    ],
)
def test_the_selected_images_are_the_planned_ones(
    pages: Client, base: str, filled: Callable[..., dict[str, Any]], changes: dict[str, Any], count: int
) -> None:
    seen = pages.post(f"{base}preview/", filled(**changes))
    assert seen.context["preview"].jobs == count
    answer = pages.post(f"{base}new/", filled(**changes))
    assert answer.status_code == 302
    assert Run.objects.get().job_count == count


def test_only_missing_images_are_planned_and_then_none(
    pages: Client, base: str, filled: Callable[..., dict[str, Any]], campaign: Campaign
) -> None:
    run = factories.RunFactory(campaign=campaign)
    for key, aspect, state in (("MUG-0", "1:1", "approved"), ("MUG-1", "9:16", "making"), ("MUG-2", "1:1", "rejected")):
        cell = factories.CellFactory(run=run, subject=campaign.subjects.get(key=key), aspect=aspect)
        factories.AssetFactory(cell=cell, state=state)
    pages.post(f"{base}new/", filled(pick="missing"))
    made = Run.objects.exclude(pk=run.pk).get()
    assert made.cell_count == 6
    assert made.definition["missing_only"] is True
    planned = set(Cell.objects.filter(run=made).values_list("subject__key", "aspect"))
    assert ("MUG-0", "1:1") not in planned
    assert ("MUG-1", "9:16") not in planned
    assert ("MUG-2", "1:1") in planned
    repeated = pages.post(f"{base}new/", filled(pick="missing"))
    assert repeated.status_code == 422
    assert "Nothing is missing" in repeated.content.decode()
    assert Asset.objects.filter(cell__run=made).count() == 6


def test_mistakes_of_a_list_name_their_cell_and_nothing_is_planned(
    pages: Client, base: str, filled: Callable[..., dict[str, Any]]
) -> None:
    table = "sku,backdrop,seed\nMUG-1,ink,seven\nMUG-9,ink,1\n"
    page = pages.post(f"{base}preview/", filled(shape="list", table=table)).content.decode()
    assert "<b>C2</b>: A seed is a whole number" in " ".join(page.split())
    answer = pages.post(f"{base}new/", filled(shape="list", table=table.replace("seven", "7")))
    assert answer.status_code == 422
    assert "there is no active subject" in answer.content.decode()
    assert Run.objects.count() == 0


def test_an_uploaded_list_is_read_and_its_first_rows_shown(
    pages: Client, base: str, filled: Callable[..., dict[str, Any]]
) -> None:
    file = SimpleUploadedFile("list.csv", b"sku;backdrop;aspect\nMUG-1;ink;1:1\n")
    page = pages.post(f"{base}preview/", filled(shape="list", table="", file=file))
    assert page.context["form"].list_rows == [(2, ["MUG-1", "ink", "1:1"])]
    assert page.context["preview"].jobs == 1


def test_unknown_skus_are_named(pages: Client, base: str, filled: Callable[..., dict[str, Any]]) -> None:
    page = pages.post(f"{base}preview/", filled(pick="named", skus="MUG-0; NO-1")).content.decode()
    assert "1 of 2 SKUs are not known" in page
    assert "NO-1" in page


def test_files_that_would_share_a_name_stop_the_plan_and_name_the_placeholder(
    pages: Client, base: str, filled: Callable[..., dict[str, Any]], campaign: Campaign
) -> None:
    campaign.output_specs.filter(slug="shop").update(name_pattern="{brand}_{sku}_{spec}")
    both = {"axis": ["backdrop"], "values": ["white, ink"]}
    page = pages.post(f"{base}preview/", filled(**both))
    assert not page.context["preview"].can_be_planned
    assert "add {variation} to the file name" in page.content.decode()
    answer = pages.post(f"{base}new/", filled(**both))
    assert answer.status_code == 422
    assert Run.objects.count() == 0
    assert pages.post(f"{base}new/", filled(stage="sandbox", **both)).status_code == 302


def test_a_run_is_scheduled_in_the_zone_of_the_person(
    pages: Client, base: str, filled: Callable[..., dict[str, Any]], campaign: Campaign
) -> None:
    year = clock.now().year + (1 if clock.now().month > 6 else 0)
    when = {"release": "at", "release_at": f"{year}-06-01T08:00", "zone": "Europe/Berlin"}
    seen = pages.post(f"{base}preview/", filled(**when)).content.decode()
    assert f"Released by itself on 1 Jun {year}, 06:00 UTC" in seen
    pages.post(f"{base}new/", filled(**when))
    run = Run.objects.get()
    assert run.release_at == datetime(year, 6, 1, 6, tzinfo=UTC)
    assert "Released by itself on" in pages.get(f"/brands/{campaign.brand.slug}/campaigns/autumn/").content.decode()
    page = f"/brands/{campaign.brand.slug}/runs/{run.pk}/schedule/"
    pages.post(page, {"release_at": ""})
    run.refresh_from_db()
    assert run.release_at is None
    pages.post(page, {"release_at": (clock.now() + timedelta(hours=2)).strftime("%Y-%m-%dT%H:%M"), "zone": "UTC"})
    run.refresh_from_db()
    assert run.release_at is not None
    wrong = pages.post(f"{base}new/", filled(release="at", release_at="tomorrow", zone="Nowhere/Land"))
    assert wrong.status_code == 422
    assert Run.objects.count() == 1


def test_a_clone_opens_with_what_was_asked_and_remembers_its_origin(
    pages: Client, base: str, filled: Callable[..., dict[str, Any]]
) -> None:
    pages.post(f"{base}new/", filled(pick="named", skus="MUG-2\nMUG-0", aspect=["1:1"], name="Two mugs"))
    run = Run.objects.get()
    form = pages.get(f"{base}new/?clone={run.pk}").context["form"]
    assert (form.pick, form.skus, form.aspects, form.name) == ("named", "MUG-2\nMUG-0", ["1:1"], "Two mugs")
    pages.post(f"{base}new/", filled(pick="named", skus=form.skus, clone=form.clone))
    assert Run.objects.get(name__contains="pilot").cloned_from == run


def test_an_ab_plans_two_runs_and_shows_them_side_by_side(
    pages: Client, base: str, filled: Callable[..., dict[str, Any]], version: PromptVersion
) -> None:
    other = factories.PromptVersionFactory(
        template=version.template, number=version.number + 1, text="{name} near {backdrop}", needs={}, parameters={}
    )
    sent = filled(template="ab", other=other.pk, sample="2")
    assert pages.post(f"{base}preview/", sent).context["other_preview"].jobs == 4
    answer = pages.post(f"{base}new/", sent, follow=True)
    assert [run.prompt_version for run in Run.objects.order_by("pk")] == [version, other]
    assert len(answer.context["pairs"]) == 4
    assert "not made yet" in answer.content.decode()


def test_the_editor_of_axes_follows_the_prompt(
    pages: Client, base: str, version: PromptVersion, endpoint: Endpoint
) -> None:
    answer = pages.get(f"{base}axes/?prompt={version.pk}&endpoint={endpoint.pk}")
    assert answer["HX-Trigger-After-Settle"] == "axes"
    assert 'value="white"' in answer.content.decode()


def test_axis_values_keep_the_type_that_the_prompt_gave_them() -> None:
    own = {"fill": [0.7, 1], "size": ["10", "XL"], "shadow": [True, False]}
    rows = [(name, run_form.format_axis_values(values)) for name, values in own.items()]
    assert run_form.parse_axes(rows, own) == own
    assert run_form.parse_axes([("fill", "0.5, 2")], own) == {"fill": [0.5, 2]}
    assert run_form.parse_axes([("size", "12")], own) == {"size": ["12"]}
    assert run_form.axis_rows(RunForm(axes=[("a", "b")]), None) == [("a", "b"), ("", "")]


def test_how_many_takes_no_negative_number(pages: Client, base: str, filled: Callable[..., dict[str, Any]]) -> None:
    for sample in ("-3", "2.5", "some"):
        answer = pages.post(f"{base}new/", filled(sample=sample))
        page = " ".join(answer.content.decode().split())
        assert (answer.status_code, Run.objects.count()) == (422, 0)
        assert f'<b>How many</b>: Give a whole number; 0 means all of them. <span class="soft">(“{sample}”)' in page
        assert '<span class="error">Give a whole number; 0 means all of them.</span>' in page
        assert "<b>How many</b>" in pages.post(f"{base}preview/", filled(sample=sample)).content.decode()
    assert pages.post(f"{base}preview/", filled(sample="")).context["preview"].jobs == 8


def test_the_preview_refuses_a_release_time_that_has_passed(
    pages: Client, base: str, filled: Callable[..., dict[str, Any]]
) -> None:
    past = {"release": "at", "release_at": "2020-06-01T08:00", "zone": "UTC"}
    page = pages.post(f"{base}preview/", filled(**past)).content.decode()
    assert "Released by itself on" not in page
    assert "<b>Date and time</b>: This time has passed" in " ".join(page.split())


def test_mistakes_name_the_label_of_their_field(
    pages: Client, base: str, filled: Callable[..., dict[str, Any]]
) -> None:
    page = pages.post(f"{base}preview/", filled(axis=["glitter"], values=["much"])).content.decode()
    assert "<b>Variations, glitter</b>:" in " ".join(page.split()) and "axes/glitter" not in page


def test_the_api_names_every_mistake_by_a_json_pointer(
    filled: Callable[..., dict[str, Any]], campaign: Campaign, manager: User, api_client: Callable[[User], Any]
) -> None:
    given = filled()
    body = {"campaign": campaign.pk, "prompt_version": given["prompt"], "stage": "pilot"}
    body["endpoint"] = Endpoint.objects.get(pk=given["endpoint"]).slug
    client = api_client(manager)
    refused = client.post("/api/v1/runs/preview/", {**body, "axes": {"glitter": ["much"]}}, format="json")
    assert [problem["pointer"] for problem in refused.json()["errors"]] == ["/axes/glitter"]
    unreadable = client.post("/api/v1/runs/preview/", {**body, "stage": "soon"}, format="json")
    assert [problem["pointer"] for problem in unreadable.json()["errors"]] == ["/stage"]


def test_another_brands_campaign_and_prompts_are_not_there(
    base: str,
    filled: Callable[..., dict[str, Any]],
    page_client: Callable[[User], Client],
    person: Callable[..., User],
    other_brand: Brand,
    pages: Client,
) -> None:
    stranger = page_client(person("lead", brand=other_brand))
    assert stranger.get(f"{base}new/").status_code == 404
    foreign = factories.PromptVersionFactory(template__brand=other_brand)
    assert "Choose a prompt version" in pages.post(f"{base}preview/", filled(prompt=foreign.pk)).content.decode()
    run = factories.RunFactory(campaign__brand=other_brand)
    assert pages.get(f"{base}new/?clone={run.pk}").status_code == 404


def test_more_subjects_cost_the_preview_no_more_queries(
    pages: Client, base: str, filled: Callable[..., dict[str, Any]], campaign: Campaign
) -> None:
    def queries() -> int:
        with CaptureQueriesContext(connection) as captured:
            assert pages.post(f"{base}preview/", filled()).status_code == 200
        return len(captured)

    queries()
    few = queries()
    campaign.subjects.add(
        *(factories.SubjectFactory(brand=campaign.brand, attributes={"colour": "sage"}) for _ in range(40))
    )
    assert queries() == few


@pytest.mark.parametrize("sample", ["1", "2", "3", "10", "999"])
def test_a_full_run_is_of_everything_whatever_number_a_pilot_left_behind(
    pages: Client, base: str, filled: Callable[..., dict[str, Any]], sample: str
) -> None:
    assert pages.post(f"{base}preview/", filled(stage="full", sample=sample)).context["preview"].jobs == 8
    pages.post(f"{base}new/", filled(stage="full", sample=sample))
    run = Run.objects.get()
    assert (run.job_count, "sample" in run.definition) == (8, False)


@pytest.mark.parametrize(
    "own",
    [
        {"backdrop": ["ink"]}, {"backdrop": ["ink", "sand"]}, {"mood": ["calm"]},
        {"mood": ["calm"], "hour": [7, 19]}, {},
    ],
)  # fmt: skip
def test_another_prompt_brings_its_own_axes(
    pages: Client, base: str, filled: Callable[..., dict[str, Any]], version: PromptVersion, own: dict[str, Any]
) -> None:
    words = " ".join(f"{{{name}}}" for name in own)
    other = factories.PromptVersionFactory(
        template__brand=version.template.brand, text=f"{{name}} {words}", axes=own, parameters={}, needs={}
    )
    changed = filled(prompt=other.pk, axes_of=version.pk, axis=["backdrop"], values=["white, clay"])
    variants = 1
    for values in own.values():
        variants *= len(values)
    assert pages.post(f"{base}preview/", changed).context["preview"].cells == 8 * variants
    pages.post(f"{base}new/", changed)
    assert Run.objects.get().definition["axes"] == own
    kept = filled(prompt=other.pk, axes_of=other.pk, axis=list(own), values=["dusk"] * len(own))
    assert pages.post(f"{base}preview/", kept).context["preview"].cells == 8
