"""Test failures of a run: grouped by cause, with one remedy per group, and retried as a group."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from campaigns.models import Campaign
from core.errors import Conflict, NotAllowed
from core.models import Event, User
from generation import causes
from generation.causes import Remedy
from generation.engines.base import ErrorKind
from generation.models import Asset, Job, LedgerEntry, Run
from generation.selectors import budgets, failures
from generation.services.dispatch import retries
from generation.services.remote import submissions
from tests.support import factories

pytestmark = pytest.mark.django_db


@pytest.fixture
def run(brand: Any, manager: User) -> Run:
    """A finished pilot at 2.00 per image, without jobs."""
    campaign = factories.CampaignFactory(brand=brand, owner=manager)
    return factories.RunFactory(campaign=campaign, state="finished", requested_by=manager)


def create_failed_job(run: Run, kind: str, message: str, *, status: str = "failed", **job: Any) -> Job:
    """Create a job with this status and error, its frozen spec and its asset."""
    made = factories.JobSpecFactory(
        job__run=run, job__status=status, job__error_kind=kind, job__error=message, quoted_cost=Decimal(2),
        **{f"job__{name}": value for name, value in job.items()},
    ).job  # fmt: skip
    factories.AssetFactory(cell=made.cell, state="failed" if status != "held" else "making")
    return made


@pytest.fixture
def page_of(client: Any) -> Any:
    """Return a function that reads the page of a run as a user."""

    def read(user: User, run: Run) -> str:
        client.force_login(user)
        text: str = client.get(reverse("run", args=[run.campaign.brand.slug, run.pk])).content.decode()
        return text

    return read


def group_summaries(run: Run) -> list[tuple[str, int, str]]:
    return [(group.cause.code, group.count, str(group.remedy)) for group in failures.groups(run)]


# -- causes ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "kind", "message", "code", "mend"),
    [
        ("failed", "input", "The cut-out is empty: nothing in it is opaque.", "cutout", Remedy.CUTOUTS),
        ("failed", "moderation", "Your request was rejected by our safety system.", "moderation", Remedy.PROMPT),
        ("failed", "input", "fill 7 is out of range", "input", Remedy.PROMPT),
        ("failed", "input", "sdxl could not be loaded: no such file", "endpoint", Remedy.OPERATOR),
        ("failed", "input", "Endpoint gpu-1 cannot be used: no model", "endpoint", Remedy.OPERATOR),
        ("failed", "memory", "CUDA out of memory", "memory", Remedy.AGAIN),
        ("failed", "transient", "ReadTimeout", "transient", Remedy.AGAIN),
        ("failed", "lost", "The service does not know it.", "lost", Remedy.AGAIN),
        ("failed", "rate", "429", "rate", Remedy.AGAIN),
        ("quarantined", "lost", "The worker died or was cut off.", "quarantined", Remedy.ONE_AGAIN),
        ("held", "quota", "No credit left.", "quota", Remedy.AGAIN),
        ("cancelled", "rejected_before", "This very image…", "rejected_before", Remedy.PROMPT),
        ("failed", "something new", "?", "unknown", Remedy.AGAIN),
    ],
)
def test_a_cause_is_known_by_kind_and_words(status: str, kind: str, message: str, code: str, mend: Remedy) -> None:
    cause = causes.find_cause(status=status, error_kind=kind, message=message)
    assert (cause.code, cause.remedy) == (code, mend)


def test_every_kind_of_error_has_a_cause_of_its_own() -> None:
    codes = {
        causes.find_cause(status="failed", error_kind=kind, message="x").code
        for kind in ErrorKind
        if kind != "cancelled"
    }
    assert "unknown" not in codes
    assert len(codes) == len(ErrorKind) - 1


def test_causes_fit_into_a_cell_and_have_a_shape_that_is_drawn() -> None:
    from config import env

    symbols = (env.ROOT / "templates" / "icons.svg").read_text()
    for cause in causes.CAUSES.values():
        assert len(cause.word) <= 14, cause.code
        assert f'id="i-{cause.icon}"' in symbols, cause.icon


def test_messages_that_differ_in_names_and_numbers_are_one() -> None:
    cause = causes.CAUSES["transient"]
    a = causes.grouping_text(cause, 'No answer from "gpu-1" after 30.5 s (request 8f14e45fceea167a)')
    b = causes.grouping_text(cause, 'No answer from "gpu-22" after 61 s (request 6512bd43d9caa6e0)')
    assert a == b == "No answer from … after # s (request #)"


# -- groups ---------------------------------------------------------------------------------------------------------


def test_equal_failures_are_one_group_whatever_their_numbers(run: Run) -> None:
    jobs = [create_failed_job(run, "transient", f"No answer after {seconds} s.") for seconds in (30, 31, 32)]
    create_failed_job(run, "transient", "The server hung up.")
    create_failed_job(run, "input", "The cut-out is empty: nothing in it is opaque.")
    assert group_summaries(run)[0] == ("transient", 3, "again")
    assert sorted(group_summaries(run)[1:]) == [("cutout", 1, "cutouts"), ("transient", 1, "again")]
    group = failures.groups(run)[0]
    assert sorted(group.job_ids) == [job.pk for job in jobs]
    assert {example["subject"].key for example in group.examples} == {job.cell.subject.key for job in jobs}


def test_an_image_that_a_check_objects_to_is_for_the_reviewers(run: Run) -> None:
    job = factories.JobSpecFactory(job__run=run, job__status="succeeded").job
    asset = factories.AssetFactory(cell=job.cell, state="in_review")
    version = factories.AssetVersionFactory(asset=asset, job=job, worst_outcome="fail")
    factories.FindingFactory(version=version, check_name="sharpness", outcome="fail", message="It is blurred.")
    factories.FindingFactory(version=version, check_name="light", outcome="flag", message="A little dark.")
    Asset.objects.filter(pk=asset.pk).update(current_version=version)
    [group] = failures.groups(run)
    assert (group.cause.code, group.message, group.remedy) == ("checks", "It is blurred.", Remedy.REVIEW)
    assert group.examples[0]["version_id"] == version.pk
    Asset.objects.filter(pk=asset.pk).update(state="approved")
    assert failures.groups(run) == []


def test_a_retry_beyond_the_budget_needs_money_first(run: Run) -> None:
    Campaign.objects.filter(pk=run.campaign_id).update(budget=Decimal(3))
    run.campaign.refresh_from_db()
    create_failed_job(run, "transient", "No answer.")
    assert group_summaries(run) == [("transient", 1, "again")]
    create_failed_job(run, "transient", "No answer.")
    [group] = failures.groups(run)
    assert (group.remedy, group.short_of) == (Remedy.BUDGET, Decimal(1))


def test_groups_cost_the_same_however_many_failed(run: Run) -> None:
    def queries() -> int:
        with CaptureQueriesContext(
            connection,
        ) as caught:
            failures.groups(run)
        return len(caught)

    create_failed_job(run, "transient", "No answer.")
    few = queries()
    for number in range(6):
        create_failed_job(run, "input", f"parameter {'abcdef'[number]} is wrong")
    assert queries() == few <= 5


# -- retries --------------------------------------------------------------------------------------------------------


def test_a_group_is_tried_again_and_the_rest_stays(run: Run, manager: User) -> None:
    transient_jobs = [create_failed_job(run, "transient", f"No answer after {n} s.") for n in (3, 4)]
    other = create_failed_job(run, "moderation", "Refused.")
    group = next(group for group in failures.groups(run) if group.cause.code == "transient")
    assert retries.retry(run_id=run.pk, by=manager, group=group.key) == 2
    assert {job.status for job in Job.objects.filter(pk__in=[job.pk for job in transient_jobs])} == {"queued"}
    assert Job.objects.get(pk=other.pk).status == "failed"
    assert Asset.objects.get(cell=transient_jobs[0].cell).state == "making"
    run.refresh_from_db()
    assert run.state == "running"
    [entry] = LedgerEntry.objects.filter(run=run)
    assert (entry.kind, entry.amount) == ("reserve", Decimal(4))
    assert Event.objects.get(type="generation.run.retried").payload == {"queued": 2, "reserved": "4.000000"}


def test_the_second_to_try_a_group_again_gets_a_message(run: Run, manager: User, lead: User) -> None:
    create_failed_job(run, "transient", "No answer.")
    [group] = failures.groups(run)
    retries.retry(run_id=run.pk, by=manager, group=group.key)
    with pytest.raises(Conflict, match="somebody may have tried it again"):
        retries.retry(run_id=run.pk, by=lead, group=group.key)
    assert LedgerEntry.objects.filter(run=run).count() == 1


def test_quarantined_jobs_are_tried_one_by_one(run: Run, manager: User) -> None:
    jobs = [
        create_failed_job(run, "lost", "The worker died (3 of 3).", status="quarantined", deaths=3) for _ in range(3)
    ]
    [group] = failures.groups(run)
    assert group.remedy == Remedy.ONE_AGAIN
    assert retries.retry(run_id=run.pk, by=manager, group=group.key, at_most=1) == 1
    first, *rest = [Job.objects.get(pk=job.pk) for job in jobs]
    assert (first.status, first.deaths) == ("queued", 0)
    assert [job.status for job in rest] == ["quarantined"] * 2


def test_what_waits_for_an_account_goes_on(run: Run, manager: User) -> None:
    Run.objects.filter(pk=run.pk).update(state="running")
    jobs = [create_failed_job(run, kind, "No credit.", status="held", hold_reason="quota") for kind in ("quota", "")]
    [group] = failures.groups(run)
    assert (group.cause.code, group.count) == ("quota", 2)
    assert retries.retry(run_id=run.pk, by=manager, group=group.key) == 2
    assert set(Job.objects.filter(pk__in=[job.pk for job in jobs]).values_list("status", "hold_reason")) == {
        ("queued", "")
    }


def test_what_counts_as_spent_uncertain_is_freed_once_the_account_shows_that_it_was_not_charged(
    run: Run, manager: User, reviewer: User, page_of: Any
) -> None:
    job = create_failed_job(run, "uncertain", "No answer.", status="held", hold_reason="uncertain")
    LedgerEntry.objects.create(campaign=run.campaign, run=run, job=job, kind="uncertain", amount=Decimal("0.24"))
    [group] = failures.groups(run)
    assert (group.cause.code, group.uncertain) == ("uncertain", Decimal("0.24"))
    address = reverse("run_act", args=[run.campaign.brand.slug, run.pk, "not-charged"])
    assert "It was not charged" not in page_of(reviewer, run)
    assert address in page_of(manager, run)
    with pytest.raises(NotAllowed):
        submissions.mark_not_charged(run_id=run.pk, by=reviewer)
    spent = budgets.status(run.campaign).spent
    assert submissions.mark_not_charged(run_id=run.pk, by=manager) == Decimal("0.24")
    assert spent - budgets.status(run.campaign).spent == Decimal("0.24")
    assert "It was not charged" not in page_of(manager, run)
    assert Event.objects.get(type="generation.run.uncertainty_resolved").payload == {"amount": "0.240000"}
    with pytest.raises(Conflict):
        submissions.mark_not_charged(run_id=run.pk, by=manager)


def test_jobs_of_another_run_are_not_tried_with_this_one(run: Run, manager: User, brand: Any) -> None:
    other = factories.RunFactory(campaign=run.campaign, state="finished")
    mine, theirs = create_failed_job(run, "transient", "x"), create_failed_job(other, "transient", "x")
    assert retries.retry(run_id=run.pk, by=manager, job_ids=[mine.pk, theirs.pk]) == 1
    assert Job.objects.get(pk=theirs.pk).status == "failed"
    succeeded = factories.JobSpecFactory(job__run=run, job__status="succeeded").job
    with pytest.raises(Conflict):
        retries.retry(run_id=run.pk, by=manager, job_ids=[succeeded.pk])


def test_a_group_beyond_the_budget_stays_as_it_is(run: Run, manager: User) -> None:
    job = create_failed_job(run, "transient", "No answer.")
    Campaign.objects.filter(pk=run.campaign_id).update(budget=Decimal(1))
    [group] = failures.groups(run)
    with pytest.raises(Conflict, match=r"2\.00 EUR"):
        retries.retry(run_id=run.pk, by=manager, group=group.key)
    assert Job.objects.get(pk=job.pk).status == "failed"
    assert budgets.status(run.campaign).reserved == 0


def test_a_reviewer_cannot_try_again(run: Run, reviewer: User) -> None:
    create_failed_job(run, "transient", "No answer.")
    [group] = failures.groups(run)
    with pytest.raises(NotAllowed):
        retries.retry(run_id=run.pk, by=reviewer, group=group.key)
