"""Test scheduled runs: new or changed products are planned automatically, once, within daily limits, for review."""

from __future__ import annotations

import io
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.urls import reverse
from django.utils import timezone

from campaigns.choices import PromptStatus
from campaigns.models import Campaign, FeedSource, Subject
from campaigns.services import imports, sources
from core import clock
from core.errors import Invalid, NotAllowed, NotFound
from core.models import Event
from generation.choices import AssetState, JobState, RunState, Stage
from generation.models import Asset, Job, Run, ScheduledRun
from generation.services.planning import scheduled_runs
from tests.support import factories
from tests.support.racing import race_without_errors

pytestmark = pytest.mark.django_db(transaction=True)


def with_photo(subject: Subject, *, confidence: float = 1.0, accepted: bool = True) -> Subject:
    photo = factories.ReferencePhotoFactory(subject=subject, width=2000, height=2000)
    factories.CutoutFactory(photo=photo, box=[0, 0, 1900, 1900], confidence=confidence, is_accepted=accepted)
    return subject


@pytest.fixture
def campaign(brand: Any) -> Campaign:
    """Return a campaign with two mugs with photos, and one output."""
    mugs = [with_photo(factories.SubjectFactory(brand=brand, key=f"MUG-{n}")) for n in (1, 2)]
    made = factories.CampaignFactory(brand=brand, subjects=mugs)
    factories.OutputSpecFactory(campaign=made, slug="shop", width=600, height=600)
    return made


@pytest.fixture
def endpoint(brand: Any) -> Any:
    return factories.EndpointFactory(engine="packshot", lane="cpu", price_per_image=Decimal("0.50"))


@pytest.fixture
def version(brand: Any) -> Any:
    return factories.PromptVersionFactory(template__brand=brand)


@pytest.fixture
def run_fields(campaign: Campaign, manager: Any, version: Any, endpoint: Any) -> dict[str, Any]:
    return {
        "campaign": campaign, "by": manager, "name": "New mugs", "prompt_version": version, "endpoint": endpoint,
        "daily_budget": Decimal("5"),
    }  # fmt: skip


@pytest.fixture
def scheduled_run(run_fields: dict[str, Any]) -> ScheduledRun:
    return scheduled_runs.create(**run_fields)


def new_mug(campaign: Campaign, number: int, **photo: Any) -> Subject:
    mug = with_photo(factories.SubjectFactory(brand=campaign.brand, key=f"NEW-{number:02}"), **photo)
    campaign.subjects.add(mug)
    return mug


def look_for_products(scheduled_run: ScheduledRun) -> Run | None:
    run = scheduled_runs.check_now(scheduled_run.pk)
    scheduled_run.refresh_from_db()
    return run


def product_keys(run: Run | None) -> list[str]:
    assert run is not None
    return sorted(run.cells.values_list("subject__key", flat=True).distinct())


def test_from_now_on_means_that_what_is_there_is_left_alone(scheduled_run: ScheduledRun) -> None:
    assert look_for_products(scheduled_run) is None
    assert Run.objects.count() == 0 and scheduled_run.message == ""


def test_a_new_product_is_planned_released_and_goes_the_way_of_all_images(
    scheduled_run: ScheduledRun, campaign: Campaign, manager: Any
) -> None:
    new_mug(campaign, 1)
    run = look_for_products(scheduled_run)
    assert product_keys(run) == ["NEW-01"]
    assert run is not None
    run.refresh_from_db()
    assert (run.stage, run.state, run.scheduled_run, run.requested_by) == (
        Stage.PARTIAL, RunState.RUNNING, scheduled_run, manager,
    )  # fmt: skip
    assert run.name.startswith("New mugs, ")
    assert Job.objects.get(run=run).status == JobState.QUEUED
    assert Asset.objects.get(cell__run=run).state == AssetState.MAKING, "nothing is decided before a person looks"
    assert scheduled_run.message.startswith("1 image of 1 product began at ")
    assert look_for_products(scheduled_run) is None, "it is taken up once"
    assert Run.objects.count() == 1


def test_everything_counts_as_new_where_people_want_that(run_fields: dict[str, Any]) -> None:
    assert product_keys(look_for_products(scheduled_runs.create(**run_fields, is_from_now_on=False))) == [
        "MUG-1",
        "MUG-2",
    ]


@pytest.mark.parametrize("what", ["attributes", "name", "cutout"])
def test_a_change_that_shows_in_the_image_is_taken_up(
    scheduled_run: ScheduledRun, campaign: Campaign, what: str
) -> None:
    mug = campaign.subjects.get(key="MUG-1")
    if what == "attributes":
        mug.attributes = mug.attributes | {"colour": "clay"}
    elif what == "name":
        mug.name = "Mug, taller"
    else:
        cutout = mug.photos.get().cutouts.get()
        cutout.sha256 = factories.digest("repaired")
        cutout.save()
    mug.save()
    assert product_keys(look_for_products(scheduled_run)) == ["MUG-1"]


def test_a_change_that_does_not_show_is_none(scheduled_run: ScheduledRun, campaign: Campaign) -> None:
    mug = campaign.subjects.get(key="MUG-1")
    factories.VariantFactory(subject=mug)
    factories.ReferencePhotoFactory(subject=mug, status="pending", sha256="", storage_key="")
    mug.attributes = dict(reversed(list(mug.attributes.items())))
    mug.save()  # touches updated_at
    assert look_for_products(scheduled_run) is None


def test_what_is_not_ready_waits_and_is_reported(scheduled_run: ScheduledRun, campaign: Campaign) -> None:
    campaign.subjects.add(factories.SubjectFactory(brand=campaign.brand, key="BARE"))
    new_mug(campaign, 1, confidence=0.4)
    new_mug(campaign, 2)
    run = look_for_products(scheduled_run)
    assert product_keys(run) == ["NEW-02"]
    assert scheduled_run.message.endswith("2 products are not ready.")
    picked = scheduled_runs.select_subjects(scheduled_run)
    assert (
        sorted(reason.split(" ")[0] for reason in picked.unready.values()) == ["Its", "It"] or len(picked.unready) == 2
    )
    bare = Subject.objects.get(key="BARE")
    assert "no photo" in picked.unready[bare.pk]
    with_photo(bare)
    assert product_keys(look_for_products(scheduled_run)) == ["BARE"]


def test_a_missing_value_makes_a_product_not_ready(scheduled_run: ScheduledRun, campaign: Campaign) -> None:
    mug = new_mug(campaign, 1)
    Subject.objects.filter(pk=mug.pk).update(attributes={})
    assert look_for_products(scheduled_run) is None
    assert scheduled_run.message == "1 product is not ready."
    assert "colour" in scheduled_runs.select_subjects(scheduled_run).unready[mug.pk]


def test_the_daily_budget_ends_the_day_and_the_rest_goes_on_tomorrow(
    run_fields: dict[str, Any], campaign: Campaign
) -> None:
    scheduled_run = scheduled_runs.create(**(run_fields | {"daily_budget": Decimal("1.20")}))
    for number in range(5):
        new_mug(campaign, number)
    assert product_keys(look_for_products(scheduled_run)) == ["NEW-00", "NEW-01"]
    assert "3 products wait for tomorrow: the daily budget of 1.20 EUR goes no further." in scheduled_run.message
    assert look_for_products(scheduled_run) is None
    with clock.at(timezone.now() + timedelta(days=1)):
        assert product_keys(look_for_products(scheduled_run)) == ["NEW-02", "NEW-03"]
    with clock.at(timezone.now() + timedelta(days=2)):
        assert product_keys(look_for_products(scheduled_run)) == ["NEW-04"]
        assert "tomorrow" not in scheduled_run.message


def test_the_number_of_images_a_day_counts_over_all_runs_of_the_day(
    run_fields: dict[str, Any], campaign: Campaign
) -> None:
    scheduled_run = scheduled_runs.create(**run_fields, daily_images=3)
    new_mug(campaign, 1)
    assert product_keys(look_for_products(scheduled_run)) == ["NEW-01"]
    for number in (2, 3, 4):
        new_mug(campaign, number)
    assert product_keys(look_for_products(scheduled_run)) == ["NEW-02", "NEW-03"]
    assert "1 product waits for tomorrow: the scheduled run makes at most 3 images a day." in scheduled_run.message


def test_the_campaigns_own_budget_holds_too(run_fields: dict[str, Any], campaign: Campaign) -> None:
    Campaign.objects.filter(pk=campaign.pk).update(budget=Decimal("0.70"))
    scheduled_run = scheduled_runs.create(**run_fields)
    for number in (1, 2):
        new_mug(campaign, number)
    assert product_keys(look_for_products(scheduled_run)) == ["NEW-01"]
    assert "the campaign's budget goes no further" in scheduled_run.message


def test_a_product_that_exceeds_every_daily_limit_is_reported_as_too_large(
    run_fields: dict[str, Any], campaign: Campaign
) -> None:
    scheduled_run = scheduled_runs.create(**(run_fields | {"daily_budget": Decimal("0.40")}))
    mug = new_mug(campaign, 1)
    assert look_for_products(scheduled_run) is None
    assert (
        scheduled_runs.select_subjects(scheduled_run).unready[mug.pk]
        == "It needs 1 image for 0.50 EUR, more than a day's limit."
    )


def test_a_reason_for_waiting_is_removed_when_it_no_longer_applies(
    scheduled_run: ScheduledRun, campaign: Campaign
) -> None:
    mug = factories.SubjectFactory(brand=campaign.brand, key="BARE")
    campaign.subjects.add(mug)
    look_for_products(scheduled_run)
    assert scheduled_run.message == "1 product is not ready."
    campaign.subjects.remove(mug)
    look_for_products(scheduled_run)
    assert scheduled_run.message == ""


def test_two_clocks_at_once_make_one_run(scheduled_run: ScheduledRun, campaign: Campaign) -> None:
    for number in range(3):
        new_mug(campaign, number)
    race_without_errors(*[scheduled_runs.check_all] * 6)
    assert Run.objects.count() == 1
    assert sorted(Run.objects.get().cells.values_list("subject__key", flat=True)) == ["NEW-00", "NEW-01", "NEW-02"]


def test_an_import_that_commits_late_is_not_missed(scheduled_run: ScheduledRun, campaign: Campaign) -> None:
    """A long import commits a change that is dated before the last check."""
    look_for_products(scheduled_run)
    mug = campaign.subjects.get(key="MUG-1")
    Subject.objects.filter(pk=mug.pk).update(
        attributes={**mug.attributes, "colour": "rust"}, updated_at=timezone.now() - timedelta(minutes=10)
    )
    assert product_keys(look_for_products(scheduled_run)) == ["MUG-1"]


def test_new_products_of_the_source_join_the_campaign(
    run_fields: dict[str, Any], brand: Any, manager: Any, campaign: Campaign
) -> None:
    pim = sources.create(brand=brand, by=manager, name="PIM", kind="push")
    other = sources.create(brand=brand, by=manager, name="Other", kind="push")

    def import_sku(source: FeedSource, sku: str) -> None:
        imports.import_feed(
            brand=brand, by=manager, file=io.BytesIO(f"SKU,Title,Colour\n{sku},Mug,sage\n".encode()),
            file_name="feed.csv", source=source,
        )  # fmt: skip

    import_sku(pim, "BEFORE")
    scheduled_run = scheduled_runs.create(**run_fields, source=pim)
    import_sku(pim, "FRESH")
    import_sku(other, "ELSEWHERE")
    with_photo(Subject.objects.get(key="FRESH"))
    assert product_keys(look_for_products(scheduled_run)) == ["FRESH"]
    assert set(campaign.subjects.values_list("key", flat=True)) == {"MUG-1", "MUG-2", "FRESH"}
    campaign.subjects.remove(Subject.objects.get(key="FRESH"))
    look_for_products(scheduled_run)
    assert "FRESH" not in campaign.subjects.values_list("key", flat=True), "who took it out meant it"


def test_a_stopped_scheduled_run_makes_nothing_and_takes_up_what_changed_when_it_is_resumed(
    scheduled_run: ScheduledRun, campaign: Campaign, manager: Any
) -> None:
    scheduled_runs.set_enabled(scheduled_run_id=scheduled_run.pk, by=manager, is_enabled=False)
    new_mug(campaign, 1)
    assert scheduled_runs.check_all() == 0
    scheduled_runs.set_enabled(scheduled_run_id=scheduled_run.pk, by=manager, is_enabled=True)
    assert scheduled_runs.check_all() == 1


def test_a_person_who_lost_the_right_makes_nothing_any_more_and_the_scheduled_run_explains_it(
    scheduled_run: ScheduledRun, campaign: Campaign, manager: Any
) -> None:
    new_mug(campaign, 1)
    manager.memberships.all().delete()
    assert look_for_products(scheduled_run) is None
    assert scheduled_run.message.startswith("Nothing was made: You may not run")
    assert Run.objects.count() == 0


def test_an_endpoint_that_is_switched_off_is_reported(
    scheduled_run: ScheduledRun, campaign: Campaign, endpoint: Any
) -> None:
    new_mug(campaign, 1)
    endpoint.is_enabled = False
    endpoint.save()
    assert look_for_products(scheduled_run) is None
    assert scheduled_run.message.startswith("Nothing was made:")


@pytest.mark.parametrize(
    ("wrong", "pointer"),
    [
        ({"name": " "}, "name"),
        ({"daily_images": 0}, "daily_images"),
        ({"daily_budget": Decimal(-1)}, "daily_budget"),
    ],
)
def test_odd_scheduled_runs_are_refused(run_fields: dict[str, Any], wrong: dict[str, Any], pointer: str) -> None:
    with pytest.raises(Invalid) as refused:
        scheduled_runs.create(**(run_fields | wrong))
    assert [problem.pointer for problem in refused.value.problems] == [pointer]


def test_a_draft_prompt_is_never_made_without_anybody_looking_on(run_fields: dict[str, Any], version: Any) -> None:
    version.status = PromptStatus.DRAFT
    version.save()
    with pytest.raises(Invalid) as refused:
        scheduled_runs.create(**run_fields)
    assert refused.value.problems[0].pointer == "prompt_version"


def test_scheduled_runs_are_for_those_who_may_run(
    scheduled_run: ScheduledRun, run_fields: dict[str, Any], reviewer: Any, person: Any, other_brand: Any
) -> None:
    with pytest.raises(NotAllowed):
        scheduled_runs.create(**(run_fields | {"by": reviewer}))
    with pytest.raises(NotAllowed):
        scheduled_runs.set_enabled(scheduled_run_id=scheduled_run.pk, by=reviewer, is_enabled=False)
    with pytest.raises(NotFound):
        scheduled_runs.change(scheduled_run_id=scheduled_run.pk, by=person("lead", brand=other_brand), name="Mine")


def test_scheduled_runs_are_recorded_in_the_audit_trail(scheduled_run: ScheduledRun, manager: Any) -> None:
    scheduled_runs.change(scheduled_run_id=scheduled_run.pk, by=manager, daily_images=7)
    payloads = [event.payload for event in Event.objects.filter(type="generation.scheduled_run.saved").order_by("id")]
    assert [payload["daily_images"] for payload in payloads] == [100, 7]


# -- the page ---------------------------------------------------------------------------------------------------------


def test_the_page_creates_scheduled_runs_and_shows_what_they_did(
    brand: Any, campaign: Campaign, manager: Any, version: Any, endpoint: Any, page_client: Any
) -> None:
    client = page_client(manager)
    page = reverse("scheduled_runs", args=[brand.slug, campaign.slug])
    assert "Nothing is made by itself yet" in client.get(page).content.decode()
    form = {
        "name": "New mugs", "prompt_version": version.pk, "endpoint": endpoint.pk, "daily_budget": "5",
        "daily_images": "10", "begins": "now",
    }  # fmt: skip
    assert client.post(page, form).status_code == 302
    scheduled_run = ScheduledRun.objects.get()
    new_mug(campaign, 1)
    campaign.subjects.add(factories.SubjectFactory(brand=brand, key="BARE"))
    look_for_products(scheduled_run)
    shown = client.get(page).content.decode()
    assert "<b>1</b> of 10 images" in shown and "BARE" in shown and "It has no photo yet" in shown
    wrong = client.post(page, form | {"daily_images": "0"})
    assert wrong.status_code == 422 and "1 to 10,000" in wrong.content.decode()
    for verb, is_enabled in (("stop", False), ("resume", True)):
        assert (
            client.post(
                reverse("scheduled_run_act", args=[brand.slug, campaign.slug, scheduled_run.pk, verb])
            ).status_code
            == 302
        )
        scheduled_run.refresh_from_db()
        assert scheduled_run.is_enabled == is_enabled
    changed = client.post(
        reverse("scheduled_run_edit", args=[brand.slug, campaign.slug, scheduled_run.pk]), form | {"name": "Mugs"}
    )
    scheduled_run.refresh_from_db()
    assert (changed.status_code, scheduled_run.name) == (302, "Mugs")


def test_viewers_see_scheduled_runs_and_change_none(
    brand: Any, campaign: Campaign, viewer: Any, scheduled_run: ScheduledRun, page_client: Any
) -> None:
    client = page_client(viewer)
    page = reverse("scheduled_runs", args=[brand.slug, campaign.slug])
    shown = client.get(page).content.decode()
    assert "New mugs" in shown and "<form" not in shown.split("<main")[1]
    assert client.post(page, {"name": "Mine"}).status_code == 403
    assert (
        client.post(
            reverse("scheduled_run_act", args=[brand.slug, campaign.slug, scheduled_run.pk, "stop"])
        ).status_code
        == 403
    )
