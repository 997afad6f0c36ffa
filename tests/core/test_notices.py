"""Tests of notices: who gets them, once, and never about their own actions; the page, the bell, and the mail."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from django.db import transaction

from campaigns.events import FeedSourceFailing, PromptApprovalRequested
from campaigns.models import FeedSource
from core import events as core_events
from core.errors import NotFound
from core.models import Notice, User
from core.services import notices
from generation.events import RunReleaseRefused
from generation.models import Job
from generation.services import budget, runs
from review.events import DeliveryFailed
from review.services import consequences
from tests.support import factories
from tests.support.images_in_review import create_image_in_review

pytestmark = pytest.mark.django_db


@pytest.fixture
def owner(person: Any) -> User:
    return person("campaign_manager", first_name="Jonas")


@pytest.fixture
def run(brand: Any, owner: User, manager: User) -> Any:
    """Make a running pilot of the owner's campaign with two jobs, requested by another user."""
    campaign = factories.CampaignFactory(brand=brand, owner=owner, budget=Decimal(100))
    made = factories.RunFactory(campaign=campaign, requested_by=manager)
    for _ in range(2):
        factories.JobSpecFactory(job__run=made, quoted_cost=Decimal(41))
    return made


def notice_sentences(user: User) -> list[str]:
    return list(Notice.objects.filter(user=user).order_by("id").values_list("sentence", flat=True))


def notice_kinds(user: User) -> list[str]:
    return list(Notice.objects.filter(user=user).order_by("id").values_list("kind", flat=True))


def publish(happening: Any, by: User | None = None) -> None:
    with transaction.atomic():
        core_events.publish(happening, by=by)


# -- recipients -----------------------------------------------------------------------------------------------------


def test_the_end_of_a_run_notifies_its_planner_and_the_owner_of_the_campaign(
    run: Any, owner: User, manager: User
) -> None:
    jobs = list(Job.objects.filter(run=run))
    Job.objects.filter(pk=jobs[0].pk).update(status="succeeded")
    Job.objects.filter(pk=jobs[1].pk).update(status="failed")
    assert runs.finish_if_done(run.pk)
    expected = [f"{run.name} is finished: 1 image made, 1 could not be made."]
    assert notice_sentences(owner) == notice_sentences(manager) == expected
    assert Notice.objects.get(user=owner).href == f"/brands/{run.campaign.brand.slug}/runs/{run.pk}/"


def test_the_person_who_paused_a_run_is_not_notified(run: Any, owner: User, manager: User) -> None:
    pausing_name = owner.display_name
    runs.pause(run_id=run.pk, by=owner)
    owner.first_name = "Jonas"
    assert notice_sentences(owner) == []
    assert notice_sentences(manager) == [f"Jonas paused {run.name}. Paused by {pausing_name}."]


def test_the_review_owner_is_notified_when_a_run_pauses_itself(run: Any, person: Any, brand: Any) -> None:
    judge = person("reviewer")
    run.campaign.review_owner = judge
    run.campaign.save()
    for _ in range(7):
        job = factories.JobSpecFactory(job__run=run, job__status="succeeded").job
        asset = factories.AssetFactory(cell=job.cell)
        factories.AssetVersionFactory(asset=asset, job=job, worst_outcome="fail")
    assert runs.pause_if_unhealthy(run.pk)
    [sentence] = notice_sentences(judge)
    assert sentence.startswith(f"{run.name} paused itself. 7 of the last")


def test_a_quick_tryout_notifies_nobody(run: Any, owner: User, manager: User) -> None:
    run.stage = "sandbox"
    run.save()
    Job.objects.filter(run=run).update(status="succeeded")
    assert runs.finish_if_done(run.pk)
    assert notice_sentences(owner) == notice_sentences(manager) == []


def test_the_thresholds_of_a_budget_are_notified_once_each(run: Any, owner: User, lead: User) -> None:
    jobs = list(Job.objects.filter(run=run))
    with transaction.atomic():
        budget.reserve_for_run(run)
        budget.reserve_for_run(run)
    assert notice_kinds(owner) == notice_kinds(lead) == ["budget_80"]
    assert notice_sentences(owner) == [
        f"The budget of {run.campaign.name} is 80 % used: 82.00 of 100.00 EUR are committed."
    ]
    factories.JobSpecFactory(job__run=run, quoted_cost=Decimal(18))
    with transaction.atomic():
        budget.reserve_for_run(run)
    assert notice_kinds(owner) == ["budget_80", "budget_100"]
    assert len(jobs) == 2


def test_a_scheduled_run_that_could_not_begin_says_why(run: Any, owner: User, manager: User) -> None:
    message = "This run needs 90.00 EUR; 10.00 EUR of the campaign's budget of 100.00 EUR is left."
    publish(RunReleaseRefused(brand_id=run.campaign.brand_id, object_id=run.pk, payload={"message": message}))
    assert notice_sentences(manager) == notice_sentences(owner) == [f"{run.name} was to begin and could not: {message}"]


def test_leads_are_asked_for_an_approval_but_not_by_themselves(brand: Any, lead: User, person: Any) -> None:
    version = factories.PromptVersionFactory(template__brand=brand)
    other = person("lead")
    event = PromptApprovalRequested(
        brand_id=brand.pk, object_id=version.template_id, payload={"version": version.pk, "number": version.number}
    )
    publish(event, by=lead)
    assert notice_sentences(lead) == []
    assert notice_sentences(other) == [
        f"{lead.display_name} asks you to approve {version.template.name} v{version.number}."
    ]


def test_a_failing_feed_is_one_notice_however_often_it_fails(brand: Any, manager: User) -> None:
    source = FeedSource.objects.create(
        brand=brand, slug="shop", name="Shop", kind="url", url="https://shop.example/feed.csv", created_by=manager
    )
    for failures in (3, 4):
        payload = {"name": "Shop", "slug": "shop", "failures": failures, "message": f"{failures} times no answer."}
        publish(FeedSourceFailing(brand_id=brand.pk, object_id=source.pk, payload=payload))
        Notice.objects.update(mailed_at="2026-11-01T00:00Z")
    assert notice_sentences(manager) == ["The feed Shop could not be read: 4 times no answer."]


def test_the_owner_is_notified_of_an_image_sent_back_three_times(brand: Any, owner: User) -> None:
    task = create_image_in_review(brand, campaign=factories.CampaignFactory(brand=brand, owner=owner))
    with transaction.atomic():
        consequences.escalate(asset=task.asset, task=task, cause="3 rounds")
    [sentence] = notice_sentences(owner)
    assert "was sent back: 3 rounds. You decide how to go on." in sentence


def test_a_change_that_was_rolled_back_notifies_nobody(run: Any, owner: User, manager: User) -> None:
    with transaction.atomic():
        runs.pause(run_id=run.pk, by=owner)
        assert notice_sentences(manager)
        transaction.set_rollback(True)  # as if the request had failed
    assert notice_sentences(manager) == []


def test_people_outside_the_brand_are_not_notified(brand: Any, person: Any, other_brand: Any) -> None:
    stranger, gone = person("lead", brand=other_brand), person("lead", is_active=False)
    count = notices.notify(brand=brand, users=[stranger, gone, None], kind="x", sentence="A secret.", href="/brands/")
    assert count == 0
    assert not Notice.objects.exists()


def test_a_notice_leads_to_this_site_only(brand: Any, lead: User) -> None:
    for href in ("https://evil.example/", "//evil.example/", "brands/"):
        with pytest.raises(ValueError, match="not a path"):
            notices.notify(brand=brand, users=[lead], kind="x", sentence="Look.", href=href)


def test_an_unread_notice_is_brought_up_to_date_until_it_was_mailed(brand: Any, lead: User) -> None:
    def notify_lead(sentence: str) -> None:
        notices.notify(brand=brand, users=[lead], kind="run_finished", sentence=sentence, href="/runs/1/")

    notify_lead("1 made.")
    notify_lead("2 made.")
    assert notice_sentences(lead) == ["2 made."]
    Notice.objects.update(mailed_at="2026-11-01T00:00Z")
    notify_lead("3 made.")
    assert notice_sentences(lead) == ["2 made.", "3 made."]


def test_a_notice_is_read_by_its_person_only(brand: Any, lead: User, manager: User) -> None:
    notices.notify(brand=brand, users=[lead], kind="x", sentence="Look.", href="/brands/")
    notice = Notice.objects.get()
    with pytest.raises(NotFound):
        notices.mark_read(notice_id=notice.pk, by=manager)
    first = notices.mark_read(notice_id=notice.pk, by=lead).read_at
    assert first is not None
    assert notices.mark_read(notice_id=notice.pk, by=lead).read_at == first
    assert notices.mark_all_read(brand=brand, by=lead) == 0


def test_three_hundred_failed_deliveries_are_one_notice(brand: Any, owner: User) -> None:
    campaign = factories.CampaignFactory(brand=brand, owner=owner)
    for number in range(3):
        asset = factories.AssetFactory(cell__run__campaign=campaign)
        payload = {"delivery": 1, "destination": "shop", "message": f"No room {number}.", "attempt": 9}
        publish(DeliveryFailed(brand_id=brand.pk, object_id=asset.pk, payload=payload))
    [sentence] = notice_sentences(owner)
    assert sentence.endswith("could not be delivered to shop: No room 2.")


def test_a_destination_that_switched_itself_off_notifies_those_who_can_repair_it(
    brand: Any, lead: User, integrator: User, viewer: User
) -> None:
    from review.services import destinations

    destination = factories.DestinationFactory(brand=brand, name="The shop")
    with transaction.atomic():
        destinations.disable(destination, reason="410 Gone")
    assert notice_sentences(lead) == notice_sentences(integrator) == ["The shop was switched off: 410 Gone"]
    assert notice_sentences(viewer) == []


# -- the page and the bell ------------------------------------------------------------------------------------------


def test_the_list_shows_unread_ones_first_and_only_mine(
    brand: Any, lead: User, manager: User, page_client: Any
) -> None:
    for number in range(3):
        notices.notify(brand=brand, users=[lead], kind=f"k{number}", sentence=f"Notice {number}.", href="/brands/")
    notices.notify(brand=brand, users=[manager], kind="x", sentence="Not yours.", href="/brands/")
    notices.mark_read(notice_id=Notice.objects.get(sentence="Notice 2.").pk, by=lead)
    page = page_client(lead).get(f"/brands/{brand.slug}/notices/")
    assert [notice.sentence for notice in page.context["notices"]] == ["Notice 1.", "Notice 0.", "Notice 2."]
    assert b"Not yours." not in page.content
    assert b'aria-label="Notices: 2 new"' in page.content


def test_one_click_reads_a_notice_and_leads_to_its_page(
    brand: Any, lead: User, manager: User, page_client: Any
) -> None:
    notices.notify(brand=brand, users=[lead], kind="x", sentence="Look.", href=f"/brands/{brand.slug}/library/")
    notice = Notice.objects.get()
    address = f"/brands/{brand.slug}/notices/{notice.pk}/"
    assert page_client(manager).get(address).status_code == 404
    answer = page_client(lead).get(address)
    assert (answer.status_code, answer["Location"]) == (302, f"/brands/{brand.slug}/library/")
    notice.refresh_from_db()
    assert notice.read_at is not None


def test_the_bell_makes_few_queries(
    brand: Any, lead: User, page_client: Any, django_assert_max_num_queries: Any
) -> None:
    for number in range(120):
        notices.notify(brand=brand, users=[lead], kind=f"k{number}", sentence="Look.", href="/brands/")
    client = page_client(lead)
    client.get(f"/brands/{brand.slug}/notices/unread/")
    with django_assert_max_num_queries(6):
        answer = client.get(f"/brands/{brand.slug}/notices/unread/")
    assert answer.json() == {"unread": 99}


def test_all_are_read_at_once_and_mail_is_switched_off(brand: Any, lead: User, page_client: Any) -> None:
    for number in range(3):
        notices.notify(brand=brand, users=[lead], kind=f"k{number}", sentence="Look.", href="/brands/")
    client = page_client(lead)
    client.post(f"/brands/{brand.slug}/notices/read/")
    assert not Notice.objects.filter(read_at=None).exists()
    client.post(f"/brands/{brand.slug}/notices/mail/", {"wanted": "no"})
    lead.refresh_from_db()
    assert lead.notices_by_email is False
    client.post(f"/brands/{brand.slug}/notices/mail/", {"wanted": "yes"})
    lead.refresh_from_db()
    assert lead.notices_by_email is True


def test_the_list_of_another_brand_does_not_exist(brand: Any, other_brand: Any, person: Any, page_client: Any) -> None:
    stranger = page_client(person("admin", brand=other_brand))
    assert stranger.get(f"/brands/{brand.slug}/notices/").status_code == 404
    assert stranger.get(f"/brands/{brand.slug}/notices/unread/").status_code == 404
